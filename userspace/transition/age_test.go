package transition

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func previous(records []finding.Transition) []time.Duration {
	var out []time.Duration
	for i := range records {
		out = append(out, records[i].Previous)
	}
	return out
}

const (
	unknown = time.Duration(-1)
	ms      = time.Millisecond
)

func TestAges(t *testing.T) {
	tests := []struct {
		name   string
		events []flow.Event
		want   []time.Duration
	}{
		{
			"a life",
			[]flow.Event{
				event(1, 7, 100*ms, closed, synSent), event(1, 7, 110*ms, synSent, established),
				event(1, 7, 150*ms, established, finWait1), event(1, 7, 151*ms, finWait1, finWait2), event(1, 7, 160*ms, finWait2, closed),
			},
			[]time.Duration{unknown, 10 * ms, 40 * ms, ms, 9 * ms},
		},
		{
			"older than the trace",
			[]flow.Event{event(1, 7, 100*ms, established, closeWait), event(1, 7, 130*ms, closeWait, lastAck)},
			[]time.Duration{unknown, 30 * ms},
		},
		{
			"retransmissions change nothing",
			[]flow.Event{
				event(1, 7, 100*ms, closed, synSent), retransmission(1, 7, 1100*ms, synSent),
				retransmission(1, 7, 3100*ms, synSent), event(1, 7, 3200*ms, synSent, established),
			},
			[]time.Duration{unknown, 1000 * ms, 3000 * ms, 3100 * ms},
		},
		{
			"a retransmission of an unknown socket",
			[]flow.Event{retransmission(1, 7, 100*ms, established), event(1, 7, 130*ms, established, closeWait)},
			[]time.Duration{unknown, unknown},
		},
		{
			"the next life at an address",
			[]flow.Event{
				event(1, 7, 100*ms, closed, synSent), event(1, 7, 110*ms, synSent, closed), event(1, 8, 500*ms, closed, synSent),
			},
			[]time.Duration{unknown, 10 * ms, unknown},
		},
		{
			"an end that was not seen",
			[]flow.Event{event(1, 7, 100*ms, closed, synSent), event(1, 8, 500*ms, established, closeWait)},
			[]time.Duration{unknown, unknown},
		},
		{
			"two at once",
			[]flow.Event{
				event(1, 7, 100*ms, closed, synSent), event(2, 8, 120*ms, closed, synSent),
				event(2, 8, 121*ms, synSent, established), event(1, 7, 130*ms, synSent, established),
			},
			[]time.Duration{unknown, unknown, ms, 30 * ms},
		},
		{
			"without cookies",
			[]flow.Event{
				event(1, 0, 100*ms, closed, synSent), event(1, 0, 110*ms, synSent, closed), event(1, 0, 500*ms, closed, synSent),
			},
			[]time.Duration{unknown, 10 * ms, unknown},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := previous(convert(t, New(new(fakeKernel).read), slices.Clone(tt.events)...)); !slices.Equal(got, tt.want) {
				t.Errorf("in one batch: %v, want %v", got, tt.want)
			}
			c := New(new(fakeKernel).read)
			var got []time.Duration
			for _, e := range tt.events {
				got = append(got, previous(convert(t, c, e))...)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("in a batch each: %v, want %v", got, tt.want)
			}
			if n := len(c.sockets); n > 2 {
				t.Errorf("%d sockets are remembered", n)
			}
		})
	}
}

// What a filter leaves out still tells the age of what it lets pass.
func TestAgesUnderAFilter(t *testing.T) {
	c := New(new(fakeKernel).read)
	c.LocalPort = 100
	got := previous(convert(t, c, withPort(event(1, 7, 10*ms, synSent, established), 200),
		withPort(event(2, 8, 20*ms, synSent, established), 100), withPort(event(2, 8, 50*ms, established, closeWait), 100)))
	if want := []time.Duration{unknown, 30 * ms}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Where the kernel side filters it has to know the ages; the reader sees holes.
func TestKernelAges(t *testing.T) {
	c := New(new(fakeKernel).read)
	c.KernelAges = true
	known, first := event(1, 7, 500*ms, established, closeWait), event(2, 8, 600*ms, established, closeWait)
	known.Since = 200 * ms
	next := event(2, 8, 700*ms, closeWait, lastAck)
	got := previous(convert(t, c, known, first, next))
	if want := []time.Duration{300 * ms, unknown, unknown}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// After a loss nobody knows what a socket did meanwhile.
func TestForget(t *testing.T) {
	c := New(new(fakeKernel).read)
	convert(t, c, event(1, 7, 100*ms, closed, synSent))
	c.Forget()
	r := convert(t, c, event(1, 7, 500*ms, established, closeWait), event(1, 7, 600*ms, closeWait, lastAck))
	if got, want := previous(r), []time.Duration{unknown, 100 * ms}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRoles(t *testing.T) {
	tests := []struct {
		name   string
		events []flow.Event
		want   flow.Role
	}{
		{"it connected", []flow.Event{event(1, 7, 1, closed, synSent), event(1, 7, 2, synSent, established)}, flow.RoleClient},
		{"it was connected to", []flow.Event{event(1, 7, 1, flow.StateListen, synRecv), event(1, 7, 2, synRecv, established)}, flow.RoleServer},
		{"nobody saw", []flow.Event{event(1, 7, 2, established, closeWait)}, flow.RoleUnknown},
		{
			"both connected",
			[]flow.Event{event(1, 7, 1, closed, synSent), event(1, 7, 2, synSent, synRecv), event(1, 7, 3, synRecv, established)},
			flow.RoleClient,
		},
		{
			"the one before was a client",
			[]flow.Event{event(1, 7, 1, closed, synSent), event(1, 8, 2, established, closeWait)},
			flow.RoleUnknown,
		},
		{
			"a retransmission of a client", []flow.Event{event(1, 7, 1, closed, synSent), retransmission(1, 7, 2, synSent)}, flow.RoleClient,
		},
	}
	for _, tt := range tests {
		r := convert(t, New(new(fakeKernel).read), tt.events...)
		if got := r[len(r)-1].Role; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	// The very first record of a connect says it too.
	if r := convert(t, New(new(fakeKernel).read), event(1, 7, 1, closed, synSent)); r[0].Role != flow.RoleClient {
		t.Errorf("a connect is a %v", r[0].Role)
	}
}

// Memory is bounded, and what is remembered stays right at the bound.
func TestMemoryIsBounded(t *testing.T) {
	c := New(new(fakeKernel).read)
	convert(t, c, event(1, 7, 100*ms, synSent, established))
	for addr := uint64(10); len(c.sockets) < socketsMax; addr++ {
		c.sockets[addr] = socket{cookie: 1, entered: 1}
	}
	full := convert(t, c,
		event(2, 8, 200*ms, closed, synSent), event(2, 8, 210*ms, synSent, established), // finds no room
		event(1, 7, 300*ms, established, closeWait), event(1, 7, 350*ms, closeWait, lastAck), // has its place
	)
	if got, want := previous(full), []time.Duration{unknown, unknown, 200 * ms, 50 * ms}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := len(c.sockets); n != socketsMax {
		t.Errorf("%d sockets are remembered, want %d", n, socketsMax)
	}
	convert(t, c, event(1, 7, 400*ms, lastAck, closed))
	if r := convert(t, c, event(2, 8, 500*ms, established, finWait1), event(2, 8, 501*ms, finWait1, finWait2)); r[1].Previous != ms {
		t.Errorf("a place that is free again is not used: %v", r[1].Previous)
	}
}
