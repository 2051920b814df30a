package check

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capSet is a set of capabilities, one bit each, as /proc/PID/status shows it.
type capSet uint64

func (s capSet) has(capability uint) bool { return s>>capability&1 == 1 }

func parseCaps(hex string) (capSet, bool) {
	n, err := strconv.ParseUint(hex, 16, 64)
	return capSet(n), err == nil
}

// capsGrant is the remedy where one line must do for all.
const capsGrant = "run as root (sudo), or `setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep` the binary, " +
	"or in Kubernetes add BPF, PERFMON and SYS_PTRACE to securityContext.capabilities"

// grant is the remedy for one of them.
func grant(name string) string {
	kubernetes := strings.ToUpper(strings.TrimPrefix(name, "cap_"))
	return "sudo, setcap, or in Kubernetes capabilities.add: [" + kubernetes + "]"
}

// capabilities has a line for each capability that matters.
func (h Host) capabilities() []Result {
	effective, known := parseCaps(h.status("CapEff"))
	if !known {
		return []Result{warn("capabilities", "/proc/self/status does not tell", "what this process may do is not known",
			"mount /proc")}
	}
	return []Result{
		needed("cap_bpf", effective, unix.CAP_BPF, "no program can be loaded"),
		needed("cap_perfmon", effective, unix.CAP_PERFMON, "no program can be attached or read kernel memory"),
		unneeded("cap_sys_admin", effective, unix.CAP_SYS_ADMIN, "cap_bpf and cap_perfmon are enough"),
		sysPtrace(effective),
		unneeded("cap_net_admin", effective, unix.CAP_NET_ADMIN, "nothing here needs it"),
		h.sysResource(effective),
	}
}

// needed is for capabilities that CAP_SYS_ADMIN includes (kernel/bpf/syscall.c,
// bpf_capable; include/linux/perf_event.h, perfmon_capable).
func needed(name string, held capSet, capability uint, lost string) Result {
	switch {
	case held.has(capability):
		return ok(name, "held")
	case held.has(unix.CAP_SYS_ADMIN):
		return ok(name, "not held; cap_sys_admin includes it")
	}
	return notPermitted(name, "not held", lost, grant(name))
}

func unneeded(name string, held capSet, capability uint, why string) Result {
	if held.has(capability) {
		return ok(name, "held; "+why)
	}
	return ok(name, "not held; "+why)
}

// sysPtrace is what reading another user's /proc/PID/exe takes
// (fs/proc/base.c, proc_pid_get_link).
func sysPtrace(held capSet) Result {
	const name = "cap_sys_ptrace"
	if held.has(unix.CAP_SYS_PTRACE) {
		return ok(name, "held")
	}
	return warn(name, "not held", "processes of other users are named by pid and thread name, without their executable",
		grant(name))
}

// memcgAccounting is the first kernel that charges BPF memory to the cgroup
// instead of RLIMIT_MEMLOCK.
var memcgAccounting = version{5, 11}

func (h Host) sysResource(held capSet) Result {
	const name = "cap_sys_resource"
	if held.has(unix.CAP_SYS_RESOURCE) {
		return ok(name, "held")
	}
	if !h.older(memcgAccounting) {
		return ok(name, "not held; not needed since Linux 5.11")
	}
	return warn(name, "not held", "RLIMIT_MEMLOCK cannot be raised", grant(name))
}

// lockedMemory is what the maps and programs take, generously.
const lockedMemory = 64 << 20

func (h Host) memlock() Result {
	const name = "memlock"
	if !h.older(memcgAccounting) {
		return ok(name, "not limited since Linux 5.11")
	}
	limit, err := h.MemlockLimit()
	if err != nil {
		return warn(name, err.Error(), "whether the maps fit is not known", "run with `ulimit -l unlimited`")
	}
	effective, _ := parseCaps(h.status("CapEff"))
	switch {
	case effective.has(unix.CAP_SYS_RESOURCE):
		return ok(name, "raised by the program itself")
	case limit >= lockedMemory:
		return ok(name, strconv.FormatUint(limit>>20, 10)+" MiB or more")
	}
	return notPermitted(name, strconv.FormatUint(limit>>10, 10)+" KiB", "the maps do not fit",
		"run as root (sudo), add CAP_SYS_RESOURCE, or run with `ulimit -l unlimited`")
}

// initialUserNS is the fixed inode number of the first user namespace
// (include/linux/proc_ns.h, PROC_USER_INIT_INO; 3.8).
const initialUserNS = "4026531837"

// userNamespace matters because the capabilities of another one do not reach
// BPF: bpf_capable asks in the initial namespace.
func (h Host) userNamespace() Result {
	const name = "user_namespace"
	switch inode := h.namespace("user"); inode {
	case "":
		return warn(name, "/proc does not tell", "capabilities may not count", "mount /proc")
	case initialUserNS:
		return ok(name, "the host's")
	default:
		return notPermitted(name, "another one than the host's ("+inode+")",
			"capabilities held here do not reach BPF", "run outside of the user namespace (not rootless, hostUsers: true)")
	}
}

// missing lists the capabilities without which nothing works, as people write
// them.
func (h Host) missing() []string {
	effective, known := parseCaps(h.status("CapEff"))
	if !known {
		return nil
	}
	var names []string
	for _, r := range []Result{
		needed("cap_bpf", effective, unix.CAP_BPF, ""),
		needed("cap_perfmon", effective, unix.CAP_PERFMON, ""),
	} {
		if r.Status == Fail {
			names = append(names, strings.ToUpper(r.Name))
		}
	}
	return names
}
