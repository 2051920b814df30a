package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// fakeKernel answers with its errors.
type fakeKernel struct {
	load, lacking, iterate, causes, diag error
	hooks                                StackHooks
}

func (k fakeKernel) LoadPrograms(context.Context) (lacking, err error) { return k.lacking, k.load }

func (k fakeKernel) OpenIterators(context.Context) error { return k.iterate }
func (k fakeKernel) TellSYNCauses(context.Context) error { return k.causes }

func (k fakeKernel) AskSockDiag(context.Context) (int, string, error) { return 3, "much", k.diag }

func (k fakeKernel) TakeStacks(context.Context) StackHooks { return k.hooks }

func find(t *testing.T, r *Report, name string) Result {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no line %q", name)
	return Result{}
}

func TestWellHost(t *testing.T) {
	r := Run(t.Context(), host(t, "6.18.44", wellFacts()), fakeKernel{})
	for _, c := range r.Checks {
		if c.Status != OK {
			t.Errorf("%+v", c)
		}
	}
	if r.ExitCode() != 0 || len(r.Failed()) != 0 {
		t.Errorf("exit code %d, failed %v", r.ExitCode(), r.Failed())
	}
}

func TestFindings(t *testing.T) {
	eperm := fmt.Errorf("loading programs: %w", syscall.EPERM)
	tests := []struct {
		name    string
		release string
		change  facts
		kernel  fakeKernel
		line    string
		want    Status
		found   string
		lost    string // a part of the consequence
		exit    int
	}{
		{name: "sock_diag too", line: "sockdiag", want: OK, found: "answers, in 3 network namespaces; not needed where eBPF loads"},
		{
			name: "sock_diag in its place", change: facts{"sys/kernel/btf/vmlinux": "-"}, line: "sockdiag", want: Warn,
			found: "answers, in 3 network namespaces", exit: 69,
		},
		{
			name: "no sock_diag", kernel: fakeKernel{diag: errors.New("opening sock_diag: protocol\nnot supported")}, line: "sockdiag", want: Warn,
			found: "opening sock_diag: protocol not supported",
		},
		{name: "a table for all", change: facts{"proc/sys/net/ipv4/tcp_child_ehash_entries": "0\n"}, line: "connection_table", want: OK, found: "one for all network namespaces"},
		{
			name: "tables of their own", change: facts{"proc/sys/net/ipv4/tcp_child_ehash_entries": "4096\n"},
			line: "connection_table", want: Warn, found: "new network namespaces get their own (tcp_child_ehash_entries 4096)",
		},
		{name: "old kernel", release: "5.4.0-1-amd64", line: "kernel", want: Fail, found: "Linux 5.4.0-1-amd64", exit: 69},
		{name: "odd release", release: "custom", line: "kernel", want: Warn, found: "Linux custom, a release without a version"},
		{name: "oldest kernel", release: "5.10.1", line: "kernel", want: OK, found: "Linux 5.10.1"},

		{name: "no BTF", change: facts{btfPath: "-"}, line: "btf", want: Fail, found: "no /sys/kernel/btf/vmlinux", exit: 69},
		{name: "BTF is not BTF", change: facts{btfPath: "hello"}, line: "tracepoints", want: Warn, found: "/sys/kernel/btf/vmlinux is not BTF"},
		{name: "BTF is cut", change: facts{btfPath: btfWith("x")[:25]}, line: "tracepoints", want: Warn, found: "/sys/kernel/btf/vmlinux is cut short"},
		{
			name: "one tracepoint is missing", change: facts{btfPath: btfWith("btf_trace_inet_sock_set_state")},
			line: "tracepoints", want: Fail, found: "BTF has no tcp_retransmit_skb", exit: 69,
		},
		{
			name: "a longer name is another", change: facts{btfPath: btfWith("btf_trace_inet_sock_set_state2", "btf_trace_tcp_retransmit_skb")},
			line: "tracepoints", want: Fail, found: "BTF has no inet_sock_set_state", exit: 69,
		},

		{name: "no capabilities", change: facts{"proc/self/status": status(noCaps)}, line: "cap_bpf", want: Fail, found: "not held", exit: 77},
		{name: "no capabilities: perfmon", change: facts{"proc/self/status": status(noCaps)}, line: "cap_perfmon", want: Fail, found: "not held", exit: 77},
		{name: "no capabilities: not tried", change: facts{"proc/self/status": status(noCaps)}, line: "programs", want: Warn, found: "not tried", exit: 77},
		{name: "only sys_admin", change: facts{"proc/self/status": status("0000000000200000")}, line: "cap_bpf", want: OK, found: "not held; cap_sys_admin includes it"},
		{name: "bpf and perfmon", change: facts{"proc/self/status": status("000000c000000000")}, line: "cap_sys_admin", want: OK, found: "not held; cap_bpf and cap_perfmon are enough"},
		{name: "bpf and perfmon: ptrace", change: facts{"proc/self/status": status("000000c000000000")}, line: "cap_sys_ptrace", want: Warn, found: "not held"},
		{name: "no sys_resource", change: facts{"proc/self/status": status("000000c000000000")}, line: "cap_sys_resource", want: OK, found: "not held; not needed since Linux 5.11"},
		{name: "no /proc", change: facts{"proc/self/status": "-"}, line: "capabilities", want: Warn, found: "/proc/self/status does not tell"},
		{name: "user namespace", change: facts{"proc/self/ns/user": "->user:[4026532999]"}, line: "user_namespace", want: Fail, found: "another one than the host's (4026532999)", exit: 77},

		{name: "memlock on 5.10", release: "5.10", change: facts{"proc/self/status": status("000000c000000000")}, line: "memlock", want: Fail, found: "64 KiB", exit: 77},
		{name: "memlock on 5.10 with sys_resource", release: "5.10", line: "memlock", want: OK, found: "raised by the program itself"},

		{name: "lockdown", change: facts{securityFS + "/lockdown": "none integrity [confidentiality]"}, line: "lockdown", want: Fail, found: "confidentiality", exit: 69},
		{name: "integrity", change: facts{securityFS + "/lockdown": "none [integrity] confidentiality"}, line: "lockdown", want: OK, found: "integrity"},

		{name: "verifier", kernel: fakeKernel{load: errors.New("loading:\n  bad\tinsn")}, line: "programs", want: Fail, found: "loading: bad insn", exit: 69},
		{name: "denied", kernel: fakeKernel{load: eperm}, line: "programs", want: Fail, found: "loading programs: operation not permitted", exit: 77},
		{name: "iterators", kernel: fakeKernel{iterate: eperm}, line: "iterators", want: Fail, found: "loading programs: operation not permitted", exit: 77},
		{
			name: "selinux denies", kernel: fakeKernel{load: eperm}, line: "lsm", want: Warn, exit: 77,
			change: facts{securityFS + "/lsm": "lockdown,selinux", "sys/fs/selinux/enforce": "1", "proc/self/attr/current": "system_u:system_r:container_t:s0"},
			found:  "lockdown, selinux; selinux enforcing as system_u:system_r:container_t:s0",
		},
		{
			name: "apparmor lets it pass", line: "lsm", want: OK,
			change: facts{"proc/self/attr/apparmor/current": "docker-default (enforce)"},
			found:  "lockdown, capability, yama, apparmor; apparmor profile docker-default (enforce): the load was not denied",
		},
		{name: "no securityfs", change: facts{securityFS + "/lsm": "-", securityFS + "/lockdown": "-"}, line: "lsm", want: OK, found: "not readable (securityfs is not mounted), and nothing denied the load"},
		{name: "no securityfs and denied", kernel: fakeKernel{load: eperm}, change: facts{securityFS + "/lsm": "-"}, line: "lsm", want: Warn, found: "not readable: securityfs is not mounted", exit: 77},
		{name: "seccomp", change: facts{"proc/self/status": strings.Replace(status(allCaps), "Seccomp:\t0", "Seccomp:\t2", 1)}, line: "seccomp", want: OK, found: "a filter, which lets bpf(2) pass"},
		{name: "seccomp denies", kernel: fakeKernel{load: eperm}, change: facts{"proc/self/status": strings.Replace(status(allCaps), "Seccomp:\t0", "Seccomp:\t2", 1)}, line: "seccomp", want: Warn, found: "a filter", exit: 77},

		{
			name: "causes of SYNs are refused", kernel: fakeKernel{causes: errors.New("loading:\n  bad\tinsn")},
			line: "syn_causes", want: Warn, found: "loading: bad insn",
		},
		{name: "causes of SYNs are not tried", kernel: fakeKernel{load: eperm}, line: "syn_causes", want: Warn, found: "not tried", exit: 77},
		{name: "before drop reasons", release: "5.16.1", line: "syn_causes", want: Warn, found: "kfree_skb gives no reason before Linux 5.17"},
		{
			name: "before drop reasons, symbols hidden", release: "5.10", change: facts{kallsymsPath: hiddenSymbols},
			line: "syn_causes", want: Warn, found: "kfree_skb gives no reason before Linux 5.17, and /proc/kallsyms no addresses",
		},
		{name: "first with drop reasons", release: "5.17", line: "syn_causes", want: OK, found: "kfree_skb, with drop reasons and locations"},
		{name: "symbols hidden", change: facts{kallsymsPath: hiddenSymbols}, line: "syn_causes", want: Warn, found: "kfree_skb, with drop reasons; /proc/kallsyms gives no addresses"},
		{name: "no symbols", change: facts{kallsymsPath: "-"}, line: "syn_causes", want: Warn, found: "kfree_skb, with drop reasons; /proc/kallsyms gives no addresses"},

		{
			name: "the second program is refused", kernel: fakeKernel{lacking: errors.New("loading\nit: no")},
			line: "programs", want: Warn, found: "loaded and attached, but loading it: no",
		},
		{name: "what needs the programs is tried all the same", kernel: fakeKernel{lacking: eperm}, line: "syn_causes", want: OK, found: "kfree_skb, with drop reasons and locations"},

		{name: "stacks", line: "stacks", want: OK, found: "at connect, accept and end of file; findings about connections that io_uring accepted do not say which code accepted them"},
		{name: "stacks are not tried", kernel: fakeKernel{load: eperm}, line: "stacks", want: Warn, found: "not tried", exit: 77},
		{name: "stacks are refused", kernel: fakeKernel{hooks: StackHooks{Connect: eperm}}, line: "stacks", want: Warn, found: "loading programs: operation not permitted"},
		{
			name: "no tracefs", kernel: fakeKernel{hooks: StackHooks{Accept: errors.New("no tracefs")}},
			line: "stacks", want: Warn, found: "at connect and end of file; no tracefs",
		},
		{
			name: "no tracepoint", kernel: fakeKernel{hooks: StackHooks{EOF: errors.New("no hook")}},
			line: "stacks", want: Warn, found: "at connect and accept; no hook",
		},
		{
			name: "no registers", kernel: fakeKernel{hooks: StackHooks{EOF: errors.New("no hook"), Registers: errors.New("since 5.15")}},
			line: "stacks", want: Warn, found: "at connect and accept; no hook", lost: "they name no goroutine, nor who called the C library: since 5.15",
		},
		{
			name: "neither", kernel: fakeKernel{hooks: StackHooks{Accept: errors.New("no tracefs"), EOF: errors.New("no\nhook")}},
			line: "stacks", want: Warn, found: "at connect only; no tracefs; no hook",
		},

		{
			name: "sandbox", line: "sandbox", want: OK,
			found: "after attaching run keeps cap_bpf, cap_perfmon, cap_sys_ptrace, cap_syslog, cap_dac_read_search, cap_checkpoint_restore of what it holds, with no_new_privs and a seccomp filter",
		},
		{
			name: "no seccomp", change: facts{seccompActions: "-"}, line: "sandbox", want: Warn,
			found: "after attaching run keeps cap_bpf, cap_perfmon, cap_sys_ptrace, cap_syslog, cap_dac_read_search, cap_checkpoint_restore of what it holds, with no_new_privs; this kernel shows no seccomp filters",
		},
		{name: "jit off", change: facts{"proc/sys/net/core/bpf_jit_enable": "0"}, line: "bpf_jit_enable", want: Warn, found: "0"},
		{name: "jit hidden", change: facts{"proc/sys/net/core/bpf_jit_enable": "-"}, line: "bpf_jit_enable", want: OK, found: "not shown in this network namespace"},
		{name: "unprivileged", change: facts{"proc/sys/kernel/unprivileged_bpf_disabled": "0"}, line: "unprivileged_bpf", want: OK, found: "unprivileged_bpf_disabled=0: on for everybody; tcplimbo does not rely on it"},

		{name: "container's pids", change: facts{"proc/self/ns/pid": "->pid:[4026532555]"}, line: "pid_namespace", want: Warn, found: "another one than the host's (4026532555)"},
		{name: "another /proc", change: facts{"proc/self/status": strings.Replace(status(allCaps), "NSpid:\t42", "NSpid:\t900\t42", 1)}, line: "pid_namespace", want: Warn, found: "the host's, and /proc shows another one"},
		{
			name: "container's network", change: facts{"proc/self/ns/net": "->net:[4026532556]", "proc/sys/net/core/netdev_budget": "-"},
			line: "net_namespace", want: OK,
			found: "another one than the host's (4026532556); sockets of all namespaces are seen, --metrics-addr listens in this one",
		},
		{name: "fixed inode", change: facts{"proc/self/ns/net": "->net:[4026531833]", "proc/sys/net/core/netdev_budget": "-"}, line: "net_namespace", want: OK, found: "the host's (4026531833)"},

		{
			name: "hidepid", line: "proc_hidepid", want: Warn, found: "invisible",
			change: facts{"proc/self/status": status("000000c000000000"), "proc/self/mountinfo": "22 27 0:21 / /proc rw - proc proc rw,hidepid=invisible,gid=4\n"},
		},
		{
			name: "hidepid and ptrace", line: "proc_hidepid", want: OK, found: "2; cap_sys_ptrace sees through it",
			change: facts{"proc/self/mountinfo": "22 27 0:21 / /proc rw - proc proc rw,hidepid=2\n"},
		},
		{
			name: "the uppermost /proc counts", line: "proc_hidepid", want: OK, found: "off",
			change: facts{"proc/self/mountinfo": "22 27 0:21 / /proc rw - proc proc rw,hidepid=2\n23 22 0:22 / /proc rw - proc proc rw\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			release := tt.release
			if release == "" {
				release = "6.18.0"
			}
			r := Run(t.Context(), host(t, release, with(tt.change)), tt.kernel)
			got := find(t, r, tt.line)
			if got.Status != tt.want || got.Found != tt.found {
				t.Errorf("got  %s %q\nwant %s %q", got.Status, got.Found, tt.want, tt.found)
			}
			if !strings.Contains(got.Consequence, tt.lost) {
				t.Errorf("%q lacks %q", got.Consequence, tt.lost)
			}
			if r.ExitCode() != tt.exit {
				t.Errorf("exit code %d, want %d: %v", r.ExitCode(), tt.exit, r.Failed())
			}
			for _, c := range r.Checks {
				if (c.Status == OK) != (c.Remedy == "") || c.Status != OK && c.Consequence == "" {
					t.Errorf("a remedy belongs to what is not well and to that alone: %+v", c)
				}
			}
		})
	}
}

func TestAKernelThatCannotComesFirst(t *testing.T) {
	r := Run(t.Context(), host(t, "4.19", with(facts{"proc/self/status": status(noCaps)})), fakeKernel{})
	if r.ExitCode() != ExitUnavailable {
		t.Errorf("exit code %d", r.ExitCode())
	}
}

func TestPreflight(t *testing.T) {
	grant := ", which loading BPF programs takes; " + capsGrant
	tests := []struct {
		name    string
		release string
		change  facts
		code    int
		want    string
	}{
		{name: "well"},
		{name: "old", release: "4.19", code: 69, want: "kernel: Linux 4.19: the programs need 5.10 or newer; boot Linux 5.10 or newer"},
		{name: "no BTF", change: facts{btfPath: "-"}, code: 69, want: "btf: no /sys/kernel/btf/vmlinux: the programs cannot be fitted to this kernel; " + btfRemedy},
		{name: "no BTF and no capabilities", change: facts{btfPath: "-", "proc/self/status": status(noCaps)}, code: 69, want: "btf: no /sys/kernel/btf/vmlinux: the programs cannot be fitted to this kernel; " + btfRemedy},
		{name: "nothing held", change: facts{"proc/self/status": status(noCaps)}, code: 77, want: "missing CAP_BPF and CAP_PERFMON" + grant},
		{name: "no perfmon", change: facts{"proc/self/status": status("0000008000000000")}, code: 77, want: "missing CAP_PERFMON" + grant},
		{name: "no bpf", change: facts{"proc/self/status": status("0000004000000000")}, code: 77, want: "missing CAP_BPF" + grant},
		{name: "both", change: facts{"proc/self/status": status("000000c000000000")}},
		{name: "sys_admin", change: facts{"proc/self/status": status("0000000000200000")}},
		{name: "no /proc", change: facts{"proc/self/status": "-"}},
		{
			name: "root of a user namespace", change: facts{"proc/self/ns/user": "->user:[4026532999]"}, code: 77,
			want: "user namespace: another one than the host's (4026532999): capabilities held here do not reach BPF; run outside of the user namespace (not rootless, hostUsers: true)",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			release := tt.release
			if release == "" {
				release = "6.18.0"
			}
			err := host(t, release, with(tt.change)).Preflight()
			var blocked *Blocked
			if !errors.As(err, &blocked) {
				if err != nil || tt.code != 0 {
					t.Fatalf("got %v, want code %d", err, tt.code)
				}
				return
			}
			if blocked.Code != tt.code || err.Error() != tt.want {
				t.Errorf("got  %d %v\nwant %d %s", blocked.Code, err, tt.code, tt.want)
			}
		})
	}
}

func TestTableFits(t *testing.T) {
	r := Run(t.Context(), host(t, "6.18.0", with(facts{
		"proc/self/status":         status(noCaps),
		securityFS + "/lsm":        "selinux",
		"sys/fs/selinux/enforce":   "1",
		"proc/self/attr/current":   "evil\x1b[2J\nlabel \u202e" + strings.Repeat("字", 900),
		"proc/self/ns/pid":         "->pid:[4026532555]",
		"proc/self/does-not-exist": "-",
	})), fakeKernel{})
	for _, width := range []int{60, 80, 120} {
		var out bytes.Buffer
		if err := r.WriteTable(&out, width, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			long := len(strings.Fields(line)) == 1 || strings.Contains(line, "字") // one word that cannot be broken
			if got := readable.Width(line); got > width && !long {
				t.Errorf("width %d: %d cells: %q", width, got, line)
			}
			if strings.ContainsAny(line, "\x1b\u202e") {
				t.Errorf("the label is not made safe: %q", line)
			}
		}
	}
	var out bytes.Buffer
	if err := r.WriteTable(&out, 0, false); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != len(r.Checks) {
		t.Errorf("%d lines for %d checks where lines may be of any length", got, len(r.Checks))
	}
}

func TestTableColors(t *testing.T) {
	r := &Report{Checks: []Result{ok("a", "x"), warn("b", "x", "y", "z")}}
	var out bytes.Buffer
	if err := r.WriteTable(&out, 80, true); err != nil {
		t.Fatal(err)
	}
	const want = "\x1b[32mok  \x1b[0m  a  x\n\x1b[33mwarn\x1b[0m  b  x — y — z\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestJSON(t *testing.T) {
	r := Run(t.Context(), host(t, "6.18.0", with(facts{"proc/self/status": status(noCaps)})), fakeKernel{})
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Works    bool             `json:"works"`
		ExitCode int              `json:"exit_code"`
		Checks   []map[string]any `json:"checks"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Works || got.ExitCode != 77 || len(got.Checks) != len(r.Checks) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("got %s", out.String())
	}
	for _, c := range got.Checks {
		if c["status"] == "ok" {
			if _, has := c["remedy"]; has {
				t.Errorf("a remedy where all is well: %v", c)
			}
		}
	}
}
