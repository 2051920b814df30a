package sinktest

import (
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// WriteQueues returns warnings about write queues: of a client, of a server, and
// one that is over.
func WriteQueues() []finding.WriteQueue {
	client := flow.Pair{Local: netip.MustParseAddrPort("10.0.0.7:0"), Peer: netip.MustParseAddrPort("10.0.0.5:443"), NetNS: HostNetNS}
	server := flow.Pair{Local: netip.MustParseAddrPort("[2001:db8::1]:8080"), Peer: netip.MustParseAddrPort("[2001:db8::2]:0"), NetNS: HostNetNS}
	return []finding.WriteQueue{
		{
			Time: Now, Status: finding.Open, Limit: finding.LimitPending,
			WriteQueue: flow.WriteQueue{Pair: client, Sockets: 12, Unsent: 140 << 20, Unacked: 3 << 20, Undrained: 2500 * time.Millisecond},
			P50:        -1, P99: -1,
			Message: "to 10.0.0.5:443: 143.0 MiB written and not acknowledged",
		},
		{
			Time: Now, Status: finding.Open, Limit: finding.LimitFlush,
			WriteQueue: flow.WriteQueue{Pair: server, Sockets: 1, Unacked: 512},
			P50:        8 * time.Millisecond, P99: 93 * time.Millisecond, Samples: 480, MinRTT: 300 * time.Microsecond,
			Message: "from [2001:db8::1]:8080 to 2001:db8::2: written data takes 93 ms to be acknowledged",
		},
		{
			Time: Now, Status: finding.Resolved, Limit: finding.LimitUndrained,
			WriteQueue: flow.WriteQueue{Pair: server}, P50: -1, P99: -1,
			Message: "from [2001:db8::1]:8080 to 2001:db8::2: acknowledged again",
		},
	}
}
