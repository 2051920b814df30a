package check

import (
	"slices"
	"strings"
)

// lsm names the security modules that can deny bpf(2) or a look at other
// processes. Whether they do shows in the load: loads says how that went.
func (h Host) lsm(loads bool) Result {
	const name = "lsm"
	const remedy = "look for denials in the audit log (`ausearch -m avc`, `dmesg | grep -i denied`), or run unconfined"
	text, err := h.read(securityFS + "/lsm")
	if err != nil {
		if loads {
			return ok(name, "not readable (securityfs is not mounted), and nothing denied the load")
		}
		return warn(name, "not readable: securityfs is not mounted", "which security modules can deny bpf(2) is not known",
			"mount -t securityfs securityfs /sys/kernel/security")
	}
	active := strings.Split(text, ",")
	found := strings.ReplaceAll(text, ",", ", ")
	confined := h.confinedBy(active)
	switch {
	case len(confined) == 0:
		return ok(name, found)
	case loads:
		return ok(name, found+"; "+strings.Join(confined, ", ")+": the load was not denied")
	}
	return warn(name, found+"; "+strings.Join(confined, ", "), "they can deny bpf(2)", remedy)
}

// confinedBy tells which of the active modules confine this process.
func (h Host) confinedBy(active []string) []string {
	var by []string
	if enforce, err := h.read("sys/fs/selinux/enforce"); err == nil && enforce == "1" && slices.Contains(active, "selinux") {
		by = append(by, "selinux enforcing as "+h.attr("proc/self/attr/current"))
	}
	if slices.Contains(active, "apparmor") {
		// attr/apparmor/ exists since 5.8; attr/current belongs to
		// whichever module came first.
		profile := h.attr("proc/self/attr/apparmor/current", "proc/self/attr/current")
		if profile != "unconfined" && profile != "?" {
			by = append(by, "apparmor profile "+profile)
		}
	}
	for _, module := range []string{"smack", "tomoyo", "bpf"} {
		if slices.Contains(active, module) {
			by = append(by, module)
		}
	}
	return by
}

// attr returns the first of the files that can be read, "?" if none can.
func (h Host) attr(names ...string) string {
	for _, name := range names {
		if text, err := h.read(name); err == nil && text != "" {
			return text
		}
	}
	return "?"
}

func (h Host) seccomp(loads bool) Result {
	const name = "seccomp"
	// Seccomp: 0 off, 1 strict, 2 filter (Documentation/filesystems/proc.rst).
	switch {
	case h.status("Seccomp") != "2":
		return ok(name, "no filter")
	case loads:
		return ok(name, "a filter, which lets bpf(2) pass")
	}
	return warn(name, "a filter", "it can deny bpf(2)",
		"allow bpf(2), for example through the container engine's rule for CAP_BPF")
}

func (h Host) jit() Result {
	const name = "bpf_jit_enable"
	const consequence = "interpreted programs cost several times more a TCP event"
	value, err := h.read("proc/sys/net/core/bpf_jit_enable")
	switch {
	case err != nil:
		// The file is shown in the initial network namespace only, and not
		// there either where the kernel has no JIT (net/core/sysctl_net_core.c).
		return ok(name, "not shown in this network namespace")
	case value == "0":
		return warn(name, "0", consequence, "sysctl -w net.core.bpf_jit_enable=1")
	}
	return ok(name, value)
}

func (h Host) unprivilegedBPF() Result {
	const name = "unprivileged_bpf"
	value, err := h.read("proc/sys/kernel/unprivileged_bpf_disabled")
	if err != nil {
		return ok(name, "not shown; the capabilities decide")
	}
	meaning := map[string]string{
		"0": "on for everybody; tcplimbo does not rely on it",
		"1": "off until reboot; the capabilities decide",
		"2": "off; the capabilities decide",
	}[value]
	if meaning == "" {
		meaning = "the capabilities decide"
	}
	return ok(name, "unprivileged_bpf_disabled="+value+": "+meaning)
}
