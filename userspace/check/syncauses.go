package check

import (
	"bufio"
	"context"
	"os"
	"strings"
)

const kallsymsPath = "proc/kallsyms"

// reasonsSince is the first kernel whose kfree_skb says why (c504e5c2f964).
var reasonsSince = version{5, 17}

// synCauses tells what there is to tell why a SYN is not answered. None of it is
// needed to find the socket.
func (h Host) synCauses(ctx context.Context, loads bool, k Kernel) Result {
	const (
		name     = "syn_causes"
		noReply  = "a SYN that this host drops, or whose next hop is silent, is reported as no_reply"
		unhide   = "set kernel.kptr_restrict=0, or give CAP_SYSLOG"
		location = "records of dropped_locally lack location and often the hook"
	)
	if !loads {
		return warn(name, "not tried", noReply, "repair the failed lines, then run `tcplimbo check` again")
	}
	if err := k.TellSYNCauses(ctx); err != nil {
		return warn(name, oneLine(err), noReply, reportIt)
	}
	const old = "kfree_skb gives no reason before Linux 5.17"
	switch reasons, symbols := !h.older(reasonsSince), h.symbols(); {
	case !reasons && !symbols:
		return warn(name, old+", and /proc/kallsyms no addresses", "a SYN that this host drops is reported as no_reply", unhide)
	case !reasons:
		return warn(name, old, "records of dropped_locally lack the drop reason", "boot Linux 5.17 or newer")
	case !symbols:
		return warn(name, "kfree_skb, with drop reasons; /proc/kallsyms gives no addresses", location, unhide)
	}
	return ok(name, "kfree_skb, with drop reasons and locations")
}

// symbols reports whether /proc/kallsyms shows addresses: who is not allowed to see
// them sees zeros. The first ones may be 0 in truth: variables of each CPU.
func (h Host) symbols() bool {
	f, err := os.Open(h.path(kallsymsPath))
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for range 100 {
		if !lines.Scan() {
			return false
		}
		if address, _, _ := strings.Cut(lines.Text(), " "); strings.Trim(address, "0") != "" {
			return true
		}
	}
	return false
}
