package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// bpffs mounts a BPF file system for the test.
func bpffs(t *testing.T) string {
	t.Helper()
	needBPF(t)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		t.Fatalf("mounting a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting the BPF file system: %v", err)
		}
	})
	return filepath.Join(dir, "state")
}

// kill ends the agent as no program can foresee.
func (a *agent) kill() {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		a.t.Fatal(err)
	}
	<-a.exited
	// What it was about to write may be cut.
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bad = slices.DeleteFunc(a.bad, func(b badLine) bool { return !strings.HasSuffix(b.line, "}") })
}

// restartJob are sockets that stand as long as they are wanted to.
var restartJob = []workload.Spec{
	{Kind: workload.CloseWaitUnread, Payload: 3, Count: 10},
	{Kind: workload.CloseWaitIgnored, Count: 5, Payload: 3, Accepted: true},
	{Kind: workload.CloseWaitUnaccepted, Count: 5},
	{Kind: workload.SynSent, Count: 5},
	{Kind: workload.FinWait2HalfClosed, Count: 5, Peers: workload.PeersHeld},
	{Kind: workload.FinWait2Orphaned, Count: 5, Peers: workload.PeersHeld},
	{Kind: workload.LastAck, Count: 3},
}

// TestRestart kills the agent again and again, at random moments, while sockets
// become stuck and end. Over all outputs together every finding is opened once and
// resolved once, with one id and its true age; a record that was being written at a
// kill may come twice, and none is missing.
func TestRestart(t *testing.T) {
	sideBySide(t)
	dir := bpffs(t)
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	t.Logf("seed %d", seed)
	s := newScene(t)
	other := s.namespace(false)
	var sets []*workload.Set
	makeAll := func() {
		for i, spec := range restartJob {
			spec.NS, spec.Family = []*workload.Namespace{nil, other}[i%2], workload.Families()[i%2]
			sets = append(sets, s.make(spec))
		}
	}
	args := []string{"--pin-path", dir}
	const kills = 4
	var agents []*agent
	makeAll()
	for range kills {
		a := startRun(t, args...)
		agents = append(agents, a)
		// New sockets while it runs, some of them not yet flagged at the kill.
		makeAll()
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		a.kill()
		// What ends while nobody looks.
		endSome(t, &sets, random.IntN(len(sets)))
	}
	last := startRun(t, args...)
	agents = append(agents, last)
	all := func() []*record {
		var records []*record
		for _, a := range agents {
			records = append(records, a.all()...)
		}
		return records
	}
	if !last.wait(time.Minute, func([]*record) bool { return unended(s, all()) == 0 }) {
		t.Errorf("%d sockets that stand were not opened", unended(s, all()))
	}
	endAll(t, sets)
	if !last.wait(time.Minute, func([]*record) bool { return s.missingOpened(all()) == 0 }) {
		t.Errorf("%d findings were not resolved", s.missingOpened(all()))
	}
	last.stop(syscall.SIGTERM)
	s.auditRestarts(all(), kills)
	if said, _ := output(t, "unpin", "--pin-path", dir); !strings.HasPrefix(said, "removed") {
		t.Errorf("unpin says %q", said)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unpin left %s: %v", dir, err)
	}
}

// endSome ends a set and forgets it.
func endSome(t *testing.T, sets *[]*workload.Set, n int) {
	t.Helper()
	endAll(t, (*sets)[n:n+1])
	*sets = slices.Delete(*sets, n, n+1)
}

// unended counts the truths that stand and were not opened.
func unended(s *scene, records []*record) int {
	opened, n := byTuple(records, "open"), 0
	for _, tr := range s.truths {
		if tr.Outcome == "" && len(opened[tr.Tuple()]) == 0 {
			n++
		}
	}
	return n
}

// missingOpened counts the findings that were opened and not resolved.
func (s *scene) missingOpened(records []*record) int {
	open, known := map[string]bool{}, s.tuples()
	for _, r := range records {
		if r.finding() && known[r.tuple()] {
			open[r.id()] = open[r.id()] || r.status() == "resolved"
		}
	}
	n := 0
	for _, done := range open {
		if !done {
			n++
		}
	}
	return n
}

// tuples are those of all truths. Ports alone would be other tests' too.
func (s *scene) tuples() map[workload.Tuple]bool {
	known := map[workload.Tuple]bool{}
	for _, tr := range s.truths {
		known[tr.Tuple()] = true
	}
	return known
}

func (s *scene) auditRestarts(records []*record, kills int) {
	s.t.Helper()
	wrong, known := problems{t: s.t}, s.tuples()
	type life struct{ open, resolved int }
	lives := map[string]*life{}
	example := map[string]*record{}
	for _, r := range records {
		if !r.finding() || !known[r.tuple()] {
			continue
		}
		l := lives[r.id()]
		if l == nil {
			l = new(life)
			lives[r.id()], example[r.id()] = l, r
		}
		switch r.status() {
		case "open":
			l.open++
		case "resolved":
			l.resolved++
		}
		if r.str("tcplimbo.finding.since") != example[r.id()].str("tcplimbo.finding.since") {
			wrong.add("another beginning than in the first record", r.line)
		}
		if l.open == 0 {
			wrong.add("a "+r.status()+" record before the open one", r.line)
		}
	}
	doubled := 0
	for id, l := range lives {
		if l.open != 1 || l.resolved != 1 {
			doubled++
			if l.open == 0 || l.resolved == 0 || l.open > 2 || l.resolved > 2 {
				wrong.add(fmt.Sprintf("opened %d times, resolved %d times", l.open, l.resolved), example[id].line)
			}
		}
	}
	if doubled > kills {
		wrong.add("findings are said twice", fmt.Sprintf("%d after %d kills", doubled, kills))
	}
	s.t.Logf("%d findings, %d of them with a record twice", len(lives), doubled)
	s.auditAges(records, &wrong)
	wrong.report()
}

// auditAges: what an agent saw begin keeps its exact age, whoever speaks of it.
func (s *scene) auditAges(records []*record, wrong *problems) {
	for _, r := range records {
		for _, tr := range s.truths {
			if !r.finding() || r.tuple() != tr.Tuple() || r.fields["tcplimbo.finding.since_exact"] != true {
				continue
			}
			since := r.time("tcplimbo.finding.since")
			if since.Before(tr.Since.Add(-tick)) || since.After(tr.SinceLatest.Add(tick+s.stalls.longest())) {
				wrong.add("since is wrong: "+tr.State+" "+tr.Reason, fmt.Sprintf("%s for %+v", r.line, *tr))
			}
		}
	}
	ids, known := map[string]string{}, s.tuples()
	for _, r := range byTuple(records, "open") {
		for _, o := range r {
			key := fmt.Sprint(o.tuple(), o.cookie(), o.str("tcplimbo.finding.kind"))
			if id := ids[key]; id != "" && id != o.id() && known[o.tuple()] {
				wrong.add("two ids for one socket", o.line)
			}
			ids[key] = o.id()
		}
	}
}

// TestRestartWithOtherSource: what one kernel side opened, the other one goes on with.
func TestRestartWithOtherSource(t *testing.T) {
	sideBySide(t)
	dir := bpffs(t)
	s := newScene(t)
	set := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Payload: 3, Count: 3})
	// Named, because netlink finds no namespace that only some thread is in.
	other := s.make(workload.Spec{Kind: workload.SynSent, Count: 2, NS: s.namespace(true)})
	var records []*record
	for _, source := range []string{"ebpf", "sockdiag", "ebpf"} {
		a := startRun(t, "--pin-path", dir, "--source", source)
		all := func() []*record { return append(slices.Clone(records), a.all()...) }
		if !a.wait(15*time.Second, func([]*record) bool { return s.missing(all(), "open") == 0 }) {
			t.Fatalf("%s: not all is opened", source)
		}
		// Longer than a look, so that what would open anew has time to.
		time.Sleep(leastThreshold + time.Second)
		if len(records) > 0 && source == "ebpf" {
			endAll(t, []*workload.Set{set, other})
			a.wait(15*time.Second, func([]*record) bool { return s.missing(all(), "resolved") == 0 })
		}
		a.kill()
		records = all()
	}
	s.auditRestarts(records, 0)
}

// TestPinPathRefused: where nothing can be kept one warning says so, and the rest
// works.
func TestPinPathRefused(t *testing.T) {
	sideBySide(t)
	s := newScene(t)
	s.make(workload.Spec{Kind: workload.CloseWaitUnread})
	a := startRun(t, "--pin-path", t.TempDir())
	s.waitOpen(a, 15*time.Second)
	a.stop(syscall.SIGTERM)
	if said := strings.Join(a.diagnostics(), "\n"); strings.Count(said, "--pin-path") != 1 || !strings.Contains(said, "mount -t bpf") {
		t.Errorf("said: %s", said)
	}
	dir := bpffs(t)
	first := startRun(t, "--pin-path", dir)
	in := badInput{args: []string{"unpin", "--pin-path", dir}}
	if _, stderr, code := in.start(t); code != exitFailed || !strings.Contains(stderr, "a running tcplimbo uses it") {
		t.Errorf("unpin beside a daemon: exit code %d: %s", code, stderr)
	}
	second := startRun(t, "--pin-path", dir)
	if said := strings.Join(second.diagnostics(), "\n"); !strings.Contains(said, "a running tcplimbo uses it") {
		t.Errorf("said: %s", said)
	}
	first.stop(syscall.SIGTERM)
	second.stop(syscall.SIGTERM)
}
