package check

import (
	"slices"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/privilege"
)

const seccompActions = "proc/sys/kernel/seccomp/actions_avail"

// sandbox says what `tcplimbo run` gives up once it is attached.
func (h Host) sandbox() Result {
	const name = "sandbox"
	kept := "after attaching run keeps " + strings.Join(privilege.Usual(), ", ") + " of what it holds, with no_new_privs"
	actions, err := h.read(seccompActions)
	if err != nil || !slices.Contains(strings.Fields(actions), "errno") {
		return warn(name, kept+"; this kernel shows no seccomp filters", "system calls that it does not make stay possible to who takes it over",
			"a kernel with CONFIG_SECCOMP_FILTER")
	}
	return ok(name, kept+" and a seccomp filter")
}
