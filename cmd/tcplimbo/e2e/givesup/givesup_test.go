package givesup

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// death is a socket that the kernel is to end, and what was seen of it.
type death struct {
	name  string
	state flow.State
	never bool
	local netip.AddrPort
	peer  netip.AddrPort

	last flow.Sock
	// guesses are the moments at which it was predicted to end, guessed when
	// they were made.
	guesses, guessed []time.Time
	nevers           int
	lastSeen, gone   time.Time
}

// within is what a prediction may be wrong by: a tenth, or a second.
func within(ahead time.Duration) time.Duration { return max(time.Second, ahead/10) }

func (d *death) see(s *flow.Sock, now time.Time) {
	d.lastSeen, d.gone = now, time.Time{}
	if s.State != d.state {
		return
	}
	d.last = *s
	switch g := explain.GivesUp(s); g {
	case finding.GivesUp{}:
	case finding.GivesUp{Known: true, Never: true}:
		d.nevers++
	default:
		d.guesses, d.guessed = append(d.guesses, now.Add(g.In)), append(d.guessed, now)
	}
}

// judge compares every prediction that was made with the fact.
func (d *death) judge(t *testing.T, stood time.Duration) {
	if d.never {
		if len(d.guesses) > 0 || d.nevers == 0 || !d.gone.IsZero() {
			t.Errorf("%d predictions of an end and %d of none, gone %v; the kernel never ends it\n%+v", len(d.guesses), d.nevers, !d.gone.IsZero(), d.last)
		}
		return
	}
	if len(d.guesses) == 0 || d.nevers > 0 || d.gone.IsZero() {
		t.Fatalf("%d predictions of an end and %d of none, gone %v\n%+v", len(d.guesses), d.nevers, !d.gone.IsZero(), d.last)
	}
	var worst, worstAhead time.Duration
	wrong := 0
	for i, guess := range d.guesses {
		off, ahead := d.off(guess), d.gone.Sub(d.guessed[i])
		if off.Abs() > worst.Abs() {
			worst, worstAhead = off, ahead
		}
		if off.Abs() > within(ahead)+stood {
			wrong++
		}
	}
	first := d.guesses[0].Sub(d.guessed[0])
	t.Logf("predicted %.2f s, ended after %.2f s; the worst of %d predictions was off by %+.2f s", first.Seconds(),
		d.gone.Sub(d.guessed[0]).Seconds(), len(d.guesses), worst.Seconds())
	if wrong > 0 {
		t.Errorf("%d predictions are wrong, the worst by %v, made %v before the end (the machine stood still for %v)\n%+v",
			wrong, worst, worstAhead, stood, d.last)
	}
}

// off is how much later than its end the socket was predicted to end. It ended
// between two looks.
func (d *death) off(guess time.Time) time.Duration {
	switch {
	case guess.Before(d.lastSeen):
		return guess.Sub(d.lastSeen)
	case guess.After(d.gone):
		return guess.Sub(d.gone)
	}
	return 0
}

// watch looks at the sockets until all that must end have, and those that must
// not had the time. It returns how long the machine stood still meanwhile: an
// emulator that waits for its host, where timers are late by that.
func watch(t *testing.T, tr *tracer.Tracer, netns uint32, deaths []*death) (stood time.Duration) {
	t.Helper()
	// What never ends must not have ended after this.
	const patience, atLeast = 45 * time.Second, 12 * time.Second
	start := time.Now()
	for now := start; time.Since(start) < patience; {
		if gap := time.Since(now); gap > 500*time.Millisecond {
			stood += gap
		}
		now = time.Now()
		seen := map[[2]netip.AddrPort]bool{}
		err := tr.Walk(flow.WalkStates{States: 1<<flow.StateMax - 1}, func(s *flow.Sock) {
			for _, d := range deaths {
				if s.NetNS == netns && s.Local == d.local && s.Peer == d.peer {
					seen[[2]netip.AddrPort{d.local, d.peer}] = true
					d.see(s, now)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		waiting := time.Since(start) < atLeast
		for _, d := range deaths {
			if !seen[[2]netip.AddrPort{d.local, d.peer}] && d.gone.IsZero() {
				d.gone = now
			}
			waiting = waiting || d.gone.IsZero() && !d.never
		}
		if !waiting {
			break
		}
		<-time.After(30 * time.Millisecond)
	}
	return stood
}

func loaded(t *testing.T) *tracer.Tracer {
	t.Helper()
	tr, err := tracer.Load(tracer.Options{ReadOnly: true})
	switch {
	case err == nil:
	case os.Getenv("REQUIRE_BPF") == "1":
		t.Fatalf("REQUIRE_BPF=1 and BPF programs do not load: %v", err)
	case errors.Is(err, os.ErrPermission):
		t.Skipf("needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: %v", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, ebpf.ErrNotSupported):
		t.Skipf("this kernel cannot: %v", err)
	default:
		t.Fatalf("BPF programs do not load: %v", err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return tr
}

// small sets limits that a test can wait for. With two retries the decision is
// clear: timeouts of a little over 200 ms come 400 ms and 1.2 s after the first
// one, and two retries are 1.4 s. With three it would be 2.9 s and 3 s, and hang
// on how late the timers are.
func small(t *testing.T) {
	t.Helper()
	for name, value := range map[string]int{
		"tcp_syn_retries": 2, "tcp_retries2": 2, "tcp_orphan_retries": 2, "tcp_fin_timeout": 5,
		"tcp_keepalive_time": 1, "tcp_keepalive_intvl": 2, "tcp_keepalive_probes": 3,
		// These the oldest kernels do not have.
		"tcp_syn_linear_timeouts": 1,
	} {
		sysctl(t, name, value)
	}
}

func TestPredictionsComeTrue(t *testing.T) {
	tr := loaded(t)
	netns := newNamespace(t)
	small(t)
	deaths := makeAll(t, kinds)
	stood := watch(t, tr, netns, deaths)
	for _, d := range deaths {
		t.Run(d.name, func(t *testing.T) { d.judge(t, stood) })
	}
}

// With a bound on the timeout (6.15) an orphan whose peer answers every probe of
// its closed window ends, too.
func TestBoundedTimeout(t *testing.T) {
	tr := loaded(t)
	netns := newNamespace(t)
	small(t)
	if !sysctl(t, "tcp_rto_max_ms", 1000) {
		t.Skip("this kernel has no bound on the retransmission timeout: no net.ipv4.tcp_rto_max_ms")
	}
	sysctl(t, "tcp_retries2", 4)
	sysctl(t, "tcp_orphan_retries", 2)
	deaths := makeAll(t, bounded)
	stood := watch(t, tr, netns, deaths)
	for _, d := range deaths {
		t.Run(d.name, func(t *testing.T) { d.judge(t, stood) })
	}
}

func makeAll(t *testing.T, kinds []kind) []*death {
	t.Helper()
	var all []*death
	for _, k := range kinds {
		ours, peer := k.make(t)
		all = append(all, &death{name: k.name, state: k.state, never: k.never, local: ours, peer: peer})
	}
	return all
}

// connecting begins a connection to a listener that hears nothing.
func connecting(options ...func(*end)) func(testing.TB) (local, peer netip.AddrPort) {
	return func(t testing.TB) (local, peer netip.AddrPort) {
		l, e := listener(t), newEnd(t)
		l.deaf()
		for _, option := range options {
			option(e)
		}
		e.must("not blocking", unix.SetNonblock(e.fd, true))
		if err := unix.Connect(e.fd, sockaddr(l.local())); err != unix.EINPROGRESS {
			t.Fatalf("connecting to a silent address: %v, want EINPROGRESS", err)
		}
		return e.local(), l.local()
	}
}
