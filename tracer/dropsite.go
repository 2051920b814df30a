package tracer

import (
	"strings"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// sitesMax bounds the cache: a host drops in a handful of places.
const sitesMax = 256

// dropSites turns places in the kernel into words.
type dropSites struct {
	reasons *dropReasons
	symbols *symbols
	known   map[site]*flow.Drop
}

func newDropSites(kallsyms string) *dropSites {
	return &dropSites{symbols: newSymbols(kallsyms), known: make(map[site]*flow.Drop)}
}

// explain says what a cause means.
func (d *dropSites) explain(c *cause) flow.SYN {
	if !c.known {
		return flow.SYN{}
	}
	syn := flow.SYN{NextHopSilent: c.neighbour&(nudIncomplete|nudFailed) != 0}
	if !c.dropped {
		return syn
	}
	if drop := d.of(c.site); drop != nil {
		// The kernel counts before it sends (net/ipv4/tcp_timer.c,
		// tcp_retransmit_timer): the same number means the last SYN.
		syn.DropPast = c.droppedAt != c.retransmits
		if !syn.DropPast {
			syn.Drop = drop
		}
	}
	return syn
}

// prepare reads the kernel's names for its reasons, once: 15 ms.
func (d *dropSites) prepare() {
	if d.reasons == nil {
		d.reasons = kernelDropReasons()
	}
}

// of describes a site; nil if it is none where a packet is known to be dropped.
func (d *dropSites) of(s site) *flow.Drop {
	if drop, ok := d.known[s]; ok {
		return drop
	}
	d.prepare()
	where := d.symbols.lookup(s.frames[:]...)
	drop := &flow.Drop{Reason: d.reasons.name(s.reason), Location: where[0].String(), NetNS: s.netns}
	drop.Hook = hookOf(drop.Reason, where)
	if drop.Reason == "" && !droppers[where[0].name] {
		drop = nil
	}
	if len(d.known) >= sitesMax {
		clear(d.known)
	}
	d.known[s] = drop
	return drop
}

// droppers are the functions that are believed without a reason: kernels before
// 5.17 give none, and later ones none that says something where a driver frees
// what it has sent by the wrong function (dev_kfree_skb_any).
var droppers = map[string]bool{
	"nf_hook_slow":         true,
	"ip_finish_output":     true, // a cgroup's program
	"ip6_finish_output":    true,
	"__ip_queue_xmit":      true, // no route
	"inet6_csk_xmit":       true,
	"__dev_queue_xmit":     true, // a classifier
	"kfree_skb_list":       true, // a queueing discipline
	"arp_error_report":     true,
	"ndisc_error_report":   true,
	"__neigh_event_send":   true,
	"neigh_resolve_output": true,
}

// hooks are the functions that call netfilter, by where that is.
var hooks = map[string]string{
	"__ip_local_out":           "output",
	"ip_local_out":             "output",
	"__ip6_local_out":          "output",
	"ip6_local_out":            "output",
	"ip6_xmit":                 "output",
	"ip_output":                "postrouting",
	"ip6_output":               "postrouting",
	"__dev_queue_xmit":         "egress",
	"__netif_receive_skb_core": "ingress",
}

// hookOf says where on its way a packet was, from the reason if that is enough
// and else from who called netfilter.
func hookOf(reason string, frames []symbol) string {
	switch {
	case reason == "TC_EGRESS":
		return "tc_egress"
	case reason == "TC_INGRESS":
		return "tc_ingress"
	case reason == "BPF_CGROUP_EGRESS":
		return "cgroup_egress"
	case reason == "XDP":
		return "xdp"
	case strings.HasPrefix(reason, "QDISC_"), strings.HasPrefix(reason, "FQ_"), strings.HasPrefix(reason, "CAKE_"):
		return "qdisc"
	case reason != "" && reason != "NETFILTER_DROP":
		return ""
	}
	netfilter := false
	for _, f := range frames {
		// The compiler may have cut a function in two: ip_output.part.0.
		name, _, _ := strings.Cut(f.name, ".")
		if netfilter && hooks[name] != "" {
			return hooks[name]
		}
		netfilter = netfilter || name == "nf_hook_slow"
	}
	return ""
}
