package check

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// sockDiag tells what is left where eBPF does not load: netlink's sock_diag, which
// `run` and `list` take then.
func (h Host) sockDiag(ctx context.Context, blocked bool, k Kernel) Result {
	const name = "sockdiag"
	namespaces, lost, err := k.AskSockDiag(ctx)
	if err != nil {
		return warn(name, strings.Join(strings.Fields(err.Error()), " "), "where eBPF does not load nothing takes its place",
			"modprobe tcp_diag, and let no seccomp filter forbid netlink")
	}
	found := fmt.Sprintf("answers, in %d network namespaces", namespaces)
	effective, known := parseCaps(h.status("CapEff"))
	if known && !effective.has(unix.CAP_SYS_ADMIN) {
		found = "answers, in this network namespace only (cap_sys_admin enters others)"
	}
	if !blocked {
		return ok(name, found+"; not needed where eBPF loads")
	}
	return warn(name, found, "run and list poll it in the place of eBPF: "+lost,
		"repair the failed lines; with --source sockdiag it is no warning")
}
