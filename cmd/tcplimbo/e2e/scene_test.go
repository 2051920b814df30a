package e2e

import (
	"fmt"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// scene is what a test made: all that the agent may say something about.
// Whatever else it says about our processes, namespaces and ports is wrong;
// other people's sockets on this machine are not our business.
type scene struct {
	t      *testing.T
	truths []*workload.Truth
	pids   map[int]bool
	netns  map[uint64]bool
	ports  map[uint16]bool
	start  time.Time
	stalls *stalls
	// slow are namespaces whose healthy connections were slow enough to be
	// rightly taken for stuck.
	slow map[uint64]bool
}

func newScene(t *testing.T) *scene {
	t.Helper()
	needBPF(t)
	return &scene{t: t, start: time.Now(), stalls: watchStalls(t), slow: map[uint64]bool{}, pids: map[int]bool{os.Getpid(): true}, netns: map[uint64]bool{}, ports: map[uint16]bool{}}
}

// make makes sockets that end with the test.
func (s *scene) make(spec workload.Spec) *workload.Set {
	s.t.Helper()
	set, err := workload.Make(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := set.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.add(set.Truths()...)
	s.ports[set.ListenerPort()] = true
	return set
}

func (s *scene) add(truths ...*workload.Truth) {
	s.truths = append(s.truths, truths...)
	for _, tr := range truths {
		s.pids[tr.PID] = true
	}
}

func (s *scene) namespace(named bool) *workload.Namespace {
	s.t.Helper()
	open := workload.NewNamespace
	if named {
		open = workload.NewNamedNamespace
	}
	ns, err := open()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			s.t.Error(err)
		}
	})
	ino, err := ns.Inode()
	if err != nil {
		s.t.Fatal(err)
	}
	s.netns[ino] = true
	return ns
}

// lab is a way out of a namespace, which ends with the test.
func (s *scene) lab(near *workload.Namespace) *workload.Lab {
	s.t.Helper()
	lab, err := workload.NewLab(near)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return lab
}

func (s *scene) child(o workload.ChildOptions) *workload.Child {
	s.t.Helper()
	c, err := workload.StartChild(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	s.pids[c.PID] = true
	return c
}

// mine says whether a record speaks of this test's sockets.
func (s *scene) mine(r *record) bool {
	tp := r.tuple()
	if s.pids[r.pid()] {
		return true
	}
	// In the host's namespace the ports tell, in others the namespace's number.
	// A socket that is older than this test had the port before, or is in a
	// namespace that was removed and whose number ours has now.
	ours := s.netns[tp.NetNS] || s.ports[tp.Local.Port()] || s.ports[tp.Peer.Port()]
	return ours && r.time("tcplimbo.finding.since").After(s.start)
}

// byTuple sorts the findings of one status.
func byTuple(records []*record, status string) map[workload.Tuple][]*record {
	m := make(map[workload.Tuple][]*record)
	for _, r := range records {
		if r.finding() && r.status() == status {
			m[r.tuple()] = append(m[r.tuple()], r)
		}
	}
	return m
}

// missing counts truths without a record of the status.
func (s *scene) missing(records []*record, status string) int {
	have, n := byTuple(records, status), 0
	for _, tr := range s.truths {
		if len(have[tr.Tuple()]) == 0 {
			n++
		}
	}
	return n
}

// waitOpen waits until everything is flagged.
func (s *scene) waitOpen(a *agent, timeout time.Duration) {
	s.t.Helper()
	s.waitStatus(a, "open", timeout)
}

// waitResolved waits until everything is resolved.
func (s *scene) waitResolved(a *agent, timeout time.Duration) {
	s.t.Helper()
	s.waitStatus(a, "resolved", timeout)
}

func (s *scene) waitStatus(a *agent, status string, timeout time.Duration) {
	s.t.Helper()
	if a.wait(timeout, func(r []*record) bool { return s.missing(r, status) == 0 }) {
		return
	}
	have := byTuple(a.all(), status)
	lost := map[string]int{}
	var example *workload.Truth
	for _, tr := range s.truths {
		if len(have[tr.Tuple()]) == 0 {
			lost[tr.State+" "+tr.Reason+" "+tr.Network+" "+s.place(tr)]++
			example = tr
		}
	}
	s.t.Errorf("no %s record for %d of %d sockets after %s:\n%sfor example %+v",
		status, s.missing(a.all(), status), len(s.truths), timeout, list(lost), *example)
}

func (s *scene) place(tr *workload.Truth) string {
	if s.netns[tr.NetNS] {
		return "other netns"
	}
	return "host"
}

func list(counts map[string]int) string {
	keys := make([]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := ""
	for _, k := range keys {
		out += fmt.Sprintf("  %5d × %s\n", counts[k], k)
	}
	return out
}

// audit checks the whole output once the agent has ended: each truth opened
// exactly once and resolved as often, nothing else was said about us, and an
// id means one finding.
func (s *scene) audit(a *agent, resolved bool) {
	s.t.Helper()
	records := a.all()
	opened, ended := byTuple(records, "open"), byTuple(records, "resolved")
	known := make(map[workload.Tuple]bool)
	wrong := problems{t: s.t}
	for _, tr := range s.truths {
		known[tr.Tuple()] = true
		if n := len(opened[tr.Tuple()]); n != 1 {
			wrong.add(fmt.Sprintf("%s %s opened %d times", tr.State, tr.Reason, n), tr)
		}
		if n := len(ended[tr.Tuple()]); resolved && n != 1 || n > 1 {
			wrong.add(fmt.Sprintf("%s %s resolved %d times", tr.State, tr.Reason, n), tr)
		}
	}
	ids := make(map[string]workload.Tuple)
	for _, r := range records {
		if !r.finding() {
			continue
		}
		if !known[r.tuple()] && s.mine(r) && !s.slow[r.tuple().NetNS] {
			if s.standsInFinWait2(r) {
				s.t.Logf("true, though of a connection that was closed at both ends: %s", r.line)
			} else {
				wrong.add("false alarm", r.line)
			}
		}
		if tp, ok := ids[r.id()]; ok && tp != r.tuple() {
			wrong.add("one id for two sockets", r.line)
		}
		ids[r.id()] = r.tuple()
		if ok := len(opened[r.tuple()]) > 0; !ok {
			wrong.add("a record without an open one", r.line)
		}
	}
	wrong.report()
	if n := losses(records); n > 0 {
		s.t.Logf("the agent says that %d records were lost", n)
	}
}

// standsInFinWait2 asks sock_diag whether an orphan that was flagged is one. Under
// churn a minisocket stays in FIN_WAIT2 once in some 100,000 connections, although
// the peer has closed too; ss(8) shows it there as well.
func (s *scene) standsInFinWait2(r *record) bool {
	if r.str("tcplimbo.finding.reason") != "orphaned" {
		return false
	}
	socks, err := workload.Diag(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	d, ok := socks[r.tuple()]
	return ok && d.StateName() == "fin_wait_2"
}

// problems gathers failures of many sockets into few lines.
type problems struct {
	t       *testing.T
	count   map[string]int
	example map[string]any
}

func (p *problems) add(what string, example any) {
	if p.count == nil {
		p.count, p.example = map[string]int{}, map[string]any{}
	}
	p.count[what]++
	if tr, ok := example.(*workload.Truth); ok {
		example = fmt.Sprintf("%+v", *tr)
	}
	p.example[what] = example
}

func (p *problems) report() {
	p.t.Helper()
	keys := make([]string, 0, len(p.count))
	for k := range p.count {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		p.t.Errorf("%d × %s, for example %v", p.count[k], k, p.example[k])
	}
}
