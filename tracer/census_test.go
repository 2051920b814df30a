package tracer

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// census walks over all connections and counts. The walk hands ESTABLISHED sockets
// over, so that chains are walked again where the buffer was full.
func census(t *testing.T, tr *Tracer) flow.Census {
	t.Helper()
	tr.listenersAt = 0
	if err := tr.Walk(flow.WalkStates{States: flow.StateEstablished.Bit()}, func(*flow.Sock) {}); err != nil {
		t.Fatal(err)
	}
	c, err := tr.Census()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCensus makes sockets in known states and sees the host's numbers grow by
// that. Others come and go on the host meanwhile; there are fewer of those.
func TestCensus(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{})
	before := census(t, tr)

	const many = valuesMax
	listeners := many / 4
	for range listeners - 1 {
		listen(t, ipv6, 1)
	}
	l := listen(t, ipv4, 16)
	var clients, servers []*socket
	for range many {
		client, server := pairWith(t, ipv4, l)
		clients, servers = append(clients, client), append(servers, server)
	}
	for _, c := range clients[:many/2] {
		c.shutdown()
	}
	for _, s := range servers[:many/2] {
		s.in(flow.StateCloseWait)
	}
	for _, c := range clients[:many/2] {
		c.in(flow.StateFinWait2)
	}
	// These come to TIME_WAIT through FIN_WAIT2 as sockets.
	for i := range many / 4 {
		servers[i].close()
	}
	want := flow.Census{
		flow.StateEstablished: many,
		flow.StateFinWait2:    many / 4,
		flow.StateTimeWait:    many / 4,
		flow.StateCloseWait:   many / 4,
		flow.StateListen:      uint64(listeners),
	}
	const others = many / 8
	eventually(t, "the host's sockets to have grown by the test's", func() bool {
		after := census(t, tr)
		for s := range after {
			grown := int64(after[s]) - int64(before[s]) - int64(want[s])
			if grown > others || grown < -others {
				t.Logf("%v: %d before, %d after", flow.State(s), before[s], after[s])
				return false
			}
		}
		return true
	})
}

// TestCensusSurvivesOtherWalks: a walk for other ends, in the middle of one that
// counts, adds nothing and takes nothing away.
func TestCensusSurvivesOtherWalks(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{})
	const many = valuesMax
	l := listen(t, ipv4, 16)
	for range many {
		pairWith(t, ipv4, l)
	}
	established := census(t, tr)[flow.StateEstablished]
	want := flow.WalkStates{States: flow.StateEstablished.Bit()}
	for done := false; !done; {
		var err error
		if done, err = tr.WalkSome(want, func(*flow.Sock) {}); err != nil {
			t.Fatal(err)
		}
		if err := tr.Facing(nil, func(*flow.Sock) {}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := tr.Census()
	if err != nil {
		t.Fatal(err)
	}
	if now := c[flow.StateEstablished]; now+many/8 < established || now > established+many/8 {
		t.Errorf("%d sockets with other walks in between, %d without", now, established)
	}
}

func TestUsage(t *testing.T) {
	newNamespace(t)
	tr := attached(t, Options{Watch: flow.StateCloseWait.Bit()})
	u, err := tr.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if u.RingSize == 0 || len(u.Maps) == 0 || len(u.Programs) == 0 {
		t.Fatalf("nothing of the ring buffer, of maps or of programs: %+v", u)
	}
	for _, m := range u.Maps {
		if m.Capacity == 0 || m.Used > m.Capacity {
			t.Errorf("%s: %d of %d", m.Name, m.Used, m.Capacity)
		}
	}
	for _, p := range u.Programs {
		if p.Name == "" {
			t.Error("a program without a name")
		}
	}
}
