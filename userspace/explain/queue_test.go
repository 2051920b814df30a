package explain

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

func TestWriteQueue(t *testing.T) {
	limits := writequeue.Limits{Pending: 128 << 20, Undrained: 30 * time.Second, Flush: 50 * time.Millisecond}
	client := flow.Pair{Local: netip.MustParseAddrPort("10.0.0.7:0"), Peer: netip.MustParseAddrPort("10.0.0.5:443")}
	server := flow.Pair{Local: netip.MustParseAddrPort("[2001:db8::1]:80"), Peer: netip.MustParseAddrPort("[2001:db8::2]:0")}
	tests := []struct {
		w    finding.WriteQueue
		want string
	}{
		{
			finding.WriteQueue{Limit: finding.LimitPending, WriteQueue: flow.WriteQueue{Pair: client, Unsent: 140 << 20, Unacked: 3 << 20, Sockets: 4}},
			"to 10.0.0.5:443: 143.0 MiB written and not acknowledged, 140.0 MiB of them not even sent; the limit is 128.0 MiB",
		},
		{
			finding.WriteQueue{Limit: finding.LimitUndrained, WriteQueue: flow.WriteQueue{Pair: server, Undrained: 31 * time.Second, Sockets: 4}},
			"from [2001:db8::1]:80 to 2001:db8::2: nothing of what was written to one of 4 connections was acknowledged for 31s; the limit is 30s",
		},
		{
			finding.WriteQueue{Limit: finding.LimitFlush, WriteQueue: flow.WriteQueue{Pair: server}, P50: 8 * time.Millisecond, P99: 93 * time.Millisecond, Samples: 480, MinRTT: 300 * time.Microsecond},
			"from [2001:db8::1]:80 to 2001:db8::2: written data takes 93 ms to be acknowledged (99th percentile; median 8.0 ms, 480 observations); " +
				"the limit is 50 ms above the path's shortest round trip, 0.3 ms",
		},
		{
			finding.WriteQueue{Status: finding.Resolved, Limit: finding.LimitPending, WriteQueue: flow.WriteQueue{Pair: client}},
			"to 10.0.0.5:443: again no more than 128.0 MiB wait to be acknowledged",
		},
	}
	for _, tt := range tests {
		if got := WriteQueue(&tt.w, &limits); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
