package check

import (
	"os"
	"strings"
)

// initialPIDNS is the fixed inode number of the first pid namespace
// (include/linux/proc_ns.h, PROC_PID_INIT_INO; 3.8).
const initialPIDNS = "4026531836"

func (h Host) pidNamespace() Result {
	const name = "pid_namespace"
	const remedy = "share the host's pid namespace: --pid=host, in Kubernetes hostPID: true"
	inode := h.namespace("pid")
	// NSpid has one number for each namespace from that of the mounted /proc
	// down to the process' own.
	nested := len(strings.Fields(h.status("NSpid"))) > 1
	switch {
	case inode == "":
		return warn(name, "/proc does not tell", "processes may stay unnamed", "mount /proc")
	case inode != initialPIDNS:
		return warn(name, "another one than the host's ("+inode+")",
			"sockets of processes outside of it are flagged without their process", remedy)
	case nested:
		return warn(name, "the host's, and /proc shows another one", "pids do not match /proc, so processes stay unnamed",
			"mount /proc of this pid namespace")
	}
	return ok(name, "the host's")
}

// initialNetNS is fixed since 6.18 (include/uapi/linux/nsfs.h,
// NET_NS_INIT_INO).
const initialNetNS = "4026531833"

func (h Host) netNamespace() Result {
	const name = "net_namespace"
	inode := h.namespace("net")
	if inode == initialNetNS || h.showsGlobalNetSysctls() {
		return ok(name, "the host's ("+inode+")")
	}
	return ok(name, "another one than the host's ("+inode+"); sockets of all namespaces are seen, "+
		"--metrics-addr listens in this one")
}

// showsGlobalNetSysctls tells the initial network namespace on kernels whose
// inode numbers do not: settings of the whole machine are registered there and
// nowhere else (net/core/sysctl_net_core.c, sysctl_core_init).
func (h Host) showsGlobalNetSysctls() bool {
	_, err := os.Stat(h.path("proc/sys/net/core/netdev_budget"))
	return err == nil
}

// connectionTable warns of namespaces that are not walked: since 6.1 one that is
// made from here gets a table of its own if this is not 0 (net/ipv4/tcp_ipv4.c,
// tcp_set_hashinfo).
func (h Host) connectionTable() Result {
	const name = "connection_table"
	entries, err := h.read("proc/sys/net/ipv4/tcp_child_ehash_entries")
	if err != nil || entries == "0" {
		return ok(name, "one for all network namespaces")
	}
	return warn(name, "new network namespaces get their own (tcp_child_ehash_entries "+entries+")",
		"sockets there that were stuck before the start are not found, and list does not show any there",
		"sysctl net.ipv4.tcp_child_ehash_entries=0, then make the namespaces anew")
}

func (h Host) hidepid() Result {
	const name = "proc_hidepid"
	value := h.procOption("hidepid")
	effective, _ := parseCaps(h.status("CapEff"))
	switch {
	case value == "" || value == "0" || value == "off":
		return ok(name, "off")
	case sysPtrace(effective).Status == OK:
		return ok(name, value+"; cap_sys_ptrace sees through it")
	}
	return warn(name, value, "processes of other users stay unnamed",
		"add CAP_SYS_PTRACE, or mount -o remount,hidepid=0 /proc")
}

// procOption returns an option of the uppermost mount on /proc (the last one in
// mountinfo), "" if it is not set.
func (h Host) procOption(option string) string {
	text, err := h.read("proc/self/mountinfo")
	if err != nil {
		return ""
	}
	value := ""
	for line := range strings.Lines(text) {
		// proc(5): id parent dev root MOUNTPOINT options … - TYPE source SUPER
		before, after, found := strings.Cut(line, " - ")
		mount, fs := strings.Fields(before), strings.Fields(after)
		if !found || len(mount) < 6 || len(fs) < 3 || mount[4] != "/proc" || fs[0] != "proc" {
			continue
		}
		value = ""
		for _, o := range strings.Split(fs[2], ",") {
			if v, set := strings.CutPrefix(o, option+"="); set {
				value = v
			}
		}
	}
	return value
}
