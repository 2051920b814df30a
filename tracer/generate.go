package tracer

// The object is little endian only: amd64 and arm64 share it. -Wpadded makes
// unnamed padding in event.h an error, because Go decodes it field by field.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc ${BPF_CLANG} -strip ${BPF_STRIP} -target bpfel -type event -type event_type -type sock_flag -type mover_is -type retransmit_kind -type holder -type syn_cause -type sock_stacks -type user_stack -type stack_of limbo ../bpf/limbo.bpf.c -- -O2 -g -mcpu=v2 -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter -I../headers -isystem ../headers
