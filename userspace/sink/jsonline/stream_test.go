package jsonline

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// A Stream writes what the Encoder writes, whatever it wrote before.
func TestStream(t *testing.T) {
	e := New(Options{Host: "h"})
	s := e.Stream()
	ports := []uint16{0, 1, 2, 443, 1025, 1467, 2491, 40000, 65535}
	addrs := []netip.Addr{
		{},
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::"),
	}
	var ids []flow.ID
	for i, local := range addrs {
		for j, peer := range addrs {
			for k := range ports {
				ids = append(ids, flow.ID{
					Key:   flow.Key{Cookie: uint64(i + j + k)},
					Local: netip.AddrPortFrom(local, ports[(i+k)%len(ports)]),
					Peer:  netip.AddrPortFrom(peer, ports[(j*2+k)%len(ports)]),
				})
			}
		}
	}
	now := time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, time.UTC)
	times := []time.Time{now, now.Add(1), now.Add(2), now, {}, now.AddDate(9000, 0, 0), time.Unix(0, 5), now.Add(time.Hour).Local()}
	n := 0
	for range 3 {
		for _, id := range ids {
			tr := finding.Transition{
				ID: id, Time: times[n%len(times)], Old: flow.State(n % int(flow.StateMax)), New: flow.State(n / 7 % int(flow.StateMax)),
				Retransmit: n%5 == 0, Role: flow.Role(n % 3), Previous: time.Duration(n),
			}
			n++
			if got, want := s.AppendTransition(nil, &tr), e.AppendTransition(nil, &tr); !bytes.Equal(got, want) {
				t.Fatalf("%+v:\n%swant\n%s", id, got, want)
			}
		}
	}
}

func BenchmarkStream(b *testing.B) {
	s := testEncoder().Stream()
	tr := sinktest.Transitions()[0]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendTransition(buf[:0], &tr)
	}
}
