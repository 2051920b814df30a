package check

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// oldest is the first kernel with everything the programs use; older ones lack
// bpf_iter for task_file with BTF pointers that can be read (5.10 is the oldest
// long-term kernel that has it).
var oldest = version{5, 10}

func (h Host) kernel() Result {
	const name = "kernel"
	release, err := h.Release()
	if err != nil {
		return warn(name, err.Error(), "whether the kernel is new enough is not known", "look at `uname -r`: 5.10 or newer is needed")
	}
	v, known := parseVersion(release)
	switch {
	case !known:
		return warn(name, fmt.Sprintf("Linux %s, a release without a version", release),
			"whether the kernel is new enough is not known", "5.10 or newer is needed")
	case v.less(oldest):
		return unavailable(name, "Linux "+release, "the programs need 5.10 or newer", "boot Linux 5.10 or newer")
	}
	return ok(name, "Linux "+release)
}

const btfPath = "sys/kernel/btf/vmlinux"

const btfRemedy = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (all current distributions have it); in a container make /sys visible"

func (h Host) btf() Result {
	const name = "btf"
	const lost = "the programs cannot be fitted to this kernel"
	f, err := os.Open(h.path(btfPath))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unavailable(name, "no /"+btfPath, lost, btfRemedy)
	case errors.Is(err, fs.ErrPermission):
		return notPermitted(name, "/"+btfPath+" must not be read", lost, "run as root, or make the file readable")
	case err != nil:
		return unavailable(name, err.Error(), lost, btfRemedy)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return unavailable(name, err.Error(), lost, btfRemedy)
	}
	return ok(name, fmt.Sprintf("/%s, %d KiB", btfPath, (info.Size()+1023)/1024))
}

// tracepointNames are the tracepoints that the programs attach to. The kernel's
// BTF has a type btf_trace_NAME for each (include/trace/bpf_probe.h, 5.5).
var tracepointNames = []string{"inet_sock_set_state", "tcp_retransmit_skb"}

func (h Host) tracepoints() Result {
	const name = "tracepoints"
	names, err := h.btfStrings()
	if err != nil {
		return warn(name, err.Error(), "which tracepoints the kernel has is not known", btfRemedy)
	}
	var missing []string
	for _, tp := range tracepointNames {
		if !bytes.Contains(names, []byte("\x00btf_trace_"+tp+"\x00")) {
			missing = append(missing, tp)
		}
	}
	if len(missing) > 0 {
		return unavailable(name, "BTF has no "+strings.Join(missing, " and no "), "the programs have nothing to attach to",
			"boot a kernel with CONFIG_TRACEPOINTS=y and CONFIG_BPF_EVENTS=y")
	}
	return ok(name, strings.Join(tracepointNames, ", "))
}

// btfHeader is struct btf_header (include/uapi/linux/btf.h).
type btfHeader struct {
	Magic            uint16
	Version, Flags   uint8
	HdrLen           uint32
	TypeOff, TypeLen uint32
	StrOff, StrLen   uint32
}

const btfMagic = 0xeb9f

// btfStrings returns the names in the kernel's BTF, each between two zeros.
func (h Host) btfStrings() ([]byte, error) {
	text, err := os.ReadFile(h.path(btfPath))
	if err != nil {
		return nil, fmt.Errorf("reading BTF: %w", err)
	}
	var header btfHeader
	if _, err := binary.Decode(text, binary.NativeEndian, &header); err != nil || header.Magic != btfMagic {
		return nil, errors.New("/" + btfPath + " is not BTF")
	}
	start := uint64(header.HdrLen) + uint64(header.StrOff)
	end := start + uint64(header.StrLen)
	if end > uint64(len(text)) {
		return nil, errors.New("/" + btfPath + " is cut short")
	}
	return text[start:end], nil
}

const securityFS = "sys/kernel/security"

// lockdown reads the kernel's own restriction of root. Only confidentiality
// forbids programs to read kernel memory (security/lockdown/lockdown.c,
// LOCKDOWN_BPF_READ_KERNEL).
func (h Host) lockdown() Result {
	const name = "lockdown"
	text, err := h.read(securityFS + "/lockdown")
	if err != nil {
		// Lockdown cannot be on where it is not built in, and where
		// securityfs is not mounted the load itself tells.
		return ok(name, "not built in, or securityfs is not mounted")
	}
	mode := text
	if _, after, found := strings.Cut(text, "["); found {
		mode, _, _ = strings.Cut(after, "]")
	}
	if mode == "confidentiality" {
		return unavailable(name, mode, "no program may read kernel memory, so nothing is seen",
			"boot with lockdown=integrity or without lockdown")
	}
	return ok(name, mode)
}
