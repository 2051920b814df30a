package e2e

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// stallAfter is the threshold of these tests; a survey comes every quarter of a second.
const stallAfter = 2 * time.Second

// line is a TCP connection of this process, both ends of it.
type line struct {
	listener   *net.TCPListener
	near, far  *net.TCPConn
	nearT      workload.Tuple
	farT       workload.Tuple
	unaccepted bool
}

// connect makes a connection between two namespaces; unaccepted leaves it in
// the listener's queue.
func (s *scene) connect(near, far *workload.Namespace, at netip.Addr, unaccepted bool) *line {
	s.t.Helper()
	l := &line{unaccepted: unaccepted}
	must := func(err error) {
		if err != nil {
			s.t.Helper()
			s.t.Fatal(err)
		}
	}
	must(far.Do(func() (err error) {
		l.listener, err = net.ListenTCP("tcp", &net.TCPAddr{IP: at.AsSlice()})
		return err
	}))
	s.t.Cleanup(func() { _ = l.listener.Close() })
	must(near.Do(func() (err error) {
		l.near, err = net.DialTCP("tcp", nil, l.listener.Addr().(*net.TCPAddr))
		return err
	}))
	s.t.Cleanup(func() { _ = l.near.Close() })
	nearNS, err := near.Inode()
	must(err)
	farNS, err := far.Inode()
	must(err)
	l.nearT = workload.Tuple{NetNS: nearNS, Local: l.near.LocalAddr().(*net.TCPAddr).AddrPort(), Peer: l.near.RemoteAddr().(*net.TCPAddr).AddrPort()}
	l.farT = workload.Tuple{NetNS: farNS, Local: l.nearT.Peer, Peer: l.nearT.Local}
	if !unaccepted {
		must(l.accept())
		s.t.Cleanup(func() { _ = l.far.Close() })
	}
	return l
}

func (l *line) accept() (err error) {
	l.far, err = l.listener.AcceptTCP()
	return err
}

// exchange sends a byte each way.
func (l *line) exchange(t *testing.T) {
	t.Helper()
	for _, way := range [][2]*net.TCPConn{{l.near, l.far}, {l.far, l.near}} {
		if _, err := way[0].Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// fill writes until nothing goes any more, and returns how much went.
func fill(t *testing.T, c *net.TCPConn) (n int64) {
	t.Helper()
	for buf := make([]byte, 1<<16); ; {
		if err := c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		k, err := c.Write(buf)
		n += int64(k)
		if err != nil {
			return n
		}
	}
}

// expect waits for a record of the socket and returns it.
func expect(t *testing.T, a *agent, tuple workload.Tuple, status, reason string) *record {
	t.Helper()
	var got *record
	if !a.wait(stallAfter+15*time.Second, func(records []*record) bool {
		for _, r := range byTuple(records, status)[tuple] {
			if r.str("tcplimbo.finding.reason") == reason {
				got = r
				return true
			}
		}
		return false
	}) {
		t.Fatalf("no %s record of %v with %s", status, tuple, reason)
	}
	return got
}

// wantStall checks an open record of a stall that began between two moments.
func wantStall(t *testing.T, a *agent, r *record, from, to time.Time, exact bool) {
	t.Helper()
	const jiffy = 10 * time.Millisecond
	since := r.time("tcplimbo.finding.since")
	last := to.Add(stallAfter/4 + a.stalls.longest())
	if exact {
		last = to.Add(jiffy)
	}
	if since.Before(from.Add(-2*jiffy)) || since.After(last) || (r.str("tcplimbo.finding.since") != "" && r.fields["tcplimbo.finding.since_exact"] != exact) {
		t.Errorf("since %s (exact %v), it was between %s and %s: %s", since, r.fields["tcplimbo.finding.since_exact"], from, to, r.line)
	}
	// After a look for holders the agent rests four times as long as that took.
	if late := r.seen.Sub(since) - stallAfter; late < -jiffy || late > tick+spoken+5*a.stalls.longest() {
		t.Errorf("came %s after its threshold: %s", late, r.line)
	}
	if r.str("tcplimbo.finding.kind") != "established_stalled" || r.str("network.connection.state") != "established" {
		t.Errorf("kind and state: %s", r.line)
	}
}

// A peer that is gone while data is under way, and that comes back.
func TestPeerSilent(t *testing.T) {
	s := newScene(t)
	near := s.namespace(false)
	lab := s.lab(near)
	if err := lab.Answer(); err != nil {
		t.Fatal(err)
	}
	l := s.connect(near, lab.Far(), lab.Target(workload.IPv4), false)
	l.exchange(t)
	a := startRun(t, "--established", stallAfter.String())
	if err := lab.Silence(); err != nil {
		t.Fatal(err)
	}
	said := func(ends ...workload.Tuple) func([]*record) bool {
		return func(records []*record) bool {
			return slices.ContainsFunc(records, func(r *record) bool { return r.finding() && slices.Contains(ends, r.tuple()) })
		}
	}
	// Idle connections whose peer is gone show nothing, so nothing is said.
	if a.wait(stallAfter+time.Second, said(l.nearT, l.farT)) {
		t.Fatal("said something of an idle connection")
	}
	from := time.Now()
	if _, err := l.near.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	r := expect(t, a, l.nearT, "open", "peer_silent")
	wantStall(t, a, r, from, time.Now().Add(-stallAfter), true)
	if r.num("tcplimbo.tcp.unacked_bytes") != 1000 || r.num("tcplimbo.tcp.retransmits") == 0 || !r.has("tcplimbo.tcp.gives_up_seconds") {
		t.Errorf("values: %s", r.line)
	}
	if err := lab.Answer(); err != nil {
		t.Fatal(err)
	}
	if r := expect(t, a, l.nearT, "resolved", "peer_silent"); r.outcome() != "recovered" {
		t.Errorf("outcome: %s", r.line)
	}
	a.stop(syscall.SIGTERM)
	if said(l.farT)(a.all()) {
		t.Error("said something of the end that owes nothing")
	}
	s.truths = []*workload.Truth{{Local: l.nearT.Local, Peer: l.nearT.Peer, NetNS: l.nearT.NetNS}}
	s.audit(a, true)
}

// Both ends of a connection whose reader stands still, and a listener that does
// not accept, beside connections that are well.
func TestNotReading(t *testing.T) {
	s := newScene(t)
	ns := s.namespace(false)
	at := netip.MustParseAddr("127.0.0.1")
	a := startRun(t, "--established", stallAfter.String())
	harmless(t, s, ns)
	from := time.Now()
	full, waits := s.connect(ns, ns, at, false), s.connect(ns, ns, at, true)
	n := fill(t, full.near)
	to := time.Now()
	writer := expect(t, a, full.nearT, "open", "zero_window")
	wantStall(t, a, writer, from, to, false)
	wantStall(t, a, expect(t, a, full.farT, "open", "not_reading"), from, to, false)
	wantStall(t, a, expect(t, a, waits.farT, "open", "unaccepted"), from, to, false)
	if writer.num("tcplimbo.tcp.unsent_bytes") == 0 || writer.str("tcplimbo.tcp.gives_up") != "never" {
		t.Errorf("values: %s", writer.line)
	}
	time.Sleep(time.Until(to.Add(5 * time.Second))) // list wants 3 s, and has the probes to tell them by
	listedStalled(t, full, waits)
	if err := waits.accept(); err != nil {
		t.Fatal(err)
	}
	defer waits.far.Close()
	if _, err := io.CopyN(io.Discard, full.far, n); err != nil {
		t.Fatal(err)
	}
	for tuple, reason := range map[workload.Tuple]string{full.nearT: "zero_window", full.farT: "not_reading", waits.farT: "unaccepted"} {
		if r := expect(t, a, tuple, "resolved", reason); r.outcome() != "recovered" {
			t.Errorf("outcome: %s", r.line)
		}
	}
	a.stop(syscall.SIGTERM)
	for _, tuple := range []workload.Tuple{full.nearT, full.farT, waits.farT} {
		s.truths = append(s.truths, &workload.Truth{Local: tuple.Local, Peer: tuple.Peer, NetNS: tuple.NetNS})
	}
	s.audit(a, true)
}

// listedStalled: a one-shot look tells the same.
func listedStalled(t *testing.T, full, waits *line) {
	t.Helper()
	for tuple, reason := range map[workload.Tuple]string{full.nearT: "zero_window", full.farT: "not_reading", waits.farT: "unaccepted"} {
		for _, args := range [][]string{nil, {"--state", "established"}} {
			r := listed(t, args...)[tuple]
			if r == nil || r.str("tcplimbo.finding.reason") != reason || r.str("tcplimbo.finding.kind") != "established_stalled" {
				t.Errorf("list %q says %+v of %v, want %s", args, r, tuple, reason)
			}
		}
	}
}

// harmless makes connections that are well and stay so until the test ends: an
// idle one, one that waits for an answer, one that trickles and a bulk transfer
// to a slow reader.
func harmless(t *testing.T, s *scene, ns *workload.Namespace) {
	t.Helper()
	at := netip.MustParseAddr("127.0.0.1")
	s.connect(ns, ns, at, false)
	s.connect(ns, ns, at, false).exchange(t)
	trickle, bulk := s.connect(ns, ns, at, false), s.connect(ns, ns, at, false)
	stop := make(chan struct{})
	done := make(chan struct{}, 3)
	every := func(d time.Duration, f func() error) {
		defer func() { done <- struct{}{} }()
		for f() == nil {
			select {
			case <-stop:
				return
			case <-time.After(d):
			}
		}
	}
	go every(100*time.Millisecond, func() error {
		if _, err := trickle.near.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(trickle.far, make([]byte, 1))
		return err
	})
	go every(0, func() error {
		_ = bulk.near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = bulk.near.Write(make([]byte, 1<<16))
		return nil
	})
	go every(stallAfter/8, func() error {
		_, err := io.ReadFull(bulk.far, make([]byte, 1<<20))
		return err
	})
	t.Cleanup(func() {
		close(stop)
		_ = bulk.far.SetReadDeadline(time.Now())
		for range cap(done) {
			<-done
		}
	})
}
