package workload

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	RunChild()
	os.Exit(m.Run())
}

// needRoot skips without root, and fails instead where the environment says
// that everything must run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatal("needs root, and REQUIRE_BPF=1 forbids to skip")
	}
	t.Skip("needs root: TCP_REPAIR, network namespaces and SOCK_DESTROY")
}

func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	ns, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func makeSet(t *testing.T, spec Spec) *Set {
	t.Helper()
	s, err := Make(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// checkTruths compares what a set says with what the kernel says.
func checkTruths(t *testing.T, s *Set) {
	t.Helper()
	seen, err := Diag(s.spec.NS)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range s.Truths() {
		d, ok := seen[tr.Tuple()]
		if !ok {
			t.Errorf("sock_diag does not show %+v", tr)
			continue
		}
		if d.StateName() != tr.State || d.Cookie != tr.Cookie || uint64(d.Inode) != tr.Inode {
			t.Errorf("sock_diag shows state %s cookie %x inode %d for %+v", d.StateName(), d.Cookie, d.Inode, tr)
		}
		if tr.Unread > 0 && int(d.RQueue) != tr.Unread+1 {
			t.Errorf("receive queue is %d, want %d bytes and the FIN: %+v", d.RQueue, tr.Unread, tr)
		}
		// The end of file counts as a byte until it is read.
		if said := tr.Reason == eofIgnored.reason; (said || tr.Reason == eofUnread.reason) && said != (d.RQueue == 0) {
			t.Errorf("receive queue is %d: %+v", d.RQueue, tr)
		}
		if tr.SinceBoot > tr.SinceBootLatest || tr.SinceBoot <= 0 || tr.Cookie == 0 {
			t.Errorf("impossible times or cookie: %+v", tr)
		}
		if tr.FD >= 0 {
			checkFD(t, tr)
		}
	}
}

func checkFD(t *testing.T, tr *Truth) {
	t.Helper()
	got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tr.PID, tr.FD))
	if want := fmt.Sprintf("socket:[%d]", tr.Inode); err != nil || got != want {
		t.Errorf("descriptor %d is %q (%v), want %s", tr.FD, got, err, want)
	}
}

// peersOf are the fates of the other end that a kind can be combined with.
func peersOf(k Kind) []Peers {
	switch {
	case strings.HasPrefix(string(k), "close-wait") && k != CloseWaitSending:
		return []Peers{PeersGone, PeersHeld, PeersOrphaned}
	case strings.HasPrefix(string(k), "fin-wait2"):
		return []Peers{PeersGone, PeersHeld}
	}
	return []Peers{PeersGone}
}

func TestMakeIsTrue(t *testing.T) {
	needRoot(t)
	inside := newNamespace(t)
	for _, k := range Kinds() {
		for _, f := range Families() {
			for _, p := range peersOf(k) {
				for where, ns := range map[string]*Namespace{"host": nil, "netns": inside} {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", k, f, p, where), func(t *testing.T) {
						for _, variant := range []Spec{
							{}, {Payload: 100}, {Accepted: true}, {Shutdown: true},
						} {
							spec := variant
							spec.Kind, spec.Family, spec.Peers, spec.NS, spec.Count = k, f, p, ns, 3
							s := makeSet(t, spec)
							checkTruths(t, s)
							if n := len(s.Truths()); n < 3 {
								t.Errorf("%d truths of 3 sockets", n)
							}
						}
					})
				}
			}
		}
	}
}

func TestEverythingIsRemoved(t *testing.T) {
	needRoot(t)
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			s, err := Make(Spec{Kind: k, Count: 3, Peers: peersOf(k)[0]})
			if err != nil {
				t.Fatal(err)
			}
			port := s.ListenerPort()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			seen, err := Diag(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range seen {
				if d.Local.Port() == port || d.Peer.Port() == port {
					t.Errorf("left behind: %s %s→%s", d.StateName(), d.Local, d.Peer)
				}
			}
		})
	}
}

func TestEnds(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	for _, k := range Kinds() {
		for _, how := range Ends(k) {
			if how == EndUnreachable {
				continue // needs a lab, see TestLab
			}
			for _, f := range []Family{IPv4, IPv6} {
				t.Run(fmt.Sprintf("%s/%s/%s", k, how, f), func(t *testing.T) {
					t.Parallel()
					peers := PeersHeld
					if k == CloseWaitUnaccepted {
						peers = PeersGone
					}
					s := makeSet(t, Spec{Kind: k, Family: f, Count: 2, Peers: peers, SynRetries: 1, OrphanSeconds: 2, NS: ns})
					if err := s.End(how); err != nil {
						t.Fatal(err)
					}
					for _, tr := range s.Truths() {
						if tr.Outcome == "" && how != EndTimeout {
							t.Errorf("no outcome: %+v", tr)
						}
					}
				})
			}
		}
	}
}

func TestLab(t *testing.T) {
	needRoot(t)
	for _, how := range []End{EndEstablish, EndRefuse, EndUnreachable, EndCancel} {
		for where, ns := range map[string]*Namespace{"host": nil, "netns": newNamespace(t)} {
			for _, f := range Families() {
				t.Run(fmt.Sprintf("%s/%s/%s", how, where, f), func(t *testing.T) { testLab(t, how, ns, f) })
			}
		}
	}
}

func testLab(t *testing.T, how End, ns *Namespace, f Family) {
	t.Parallel()
	lab, err := NewLab(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	s := makeSet(t, Spec{Kind: SynSent, Family: f, Count: 2, NS: ns, Lab: lab})
	checkTruths(t, s)
	if err := s.End(how); err != nil {
		t.Error(err)
	}
	for _, tr := range s.Truths() {
		if tr.Outcome == "" {
			t.Errorf("no outcome: %+v", tr)
		}
	}
}

func TestNamedNamespace(t *testing.T) {
	needRoot(t)
	ns, err := NewNamedNamespace()
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenNamespace(ns.Name)
	if err != nil {
		t.Fatal(err)
	}
	if again.inode != ns.inode || ns.inode == 0 {
		t.Errorf("opened namespace %d, made %d", again.inode, ns.inode)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Access(namedDir+"/"+ns.Name, unix.F_OK); err != nil {
		t.Errorf("closing an opened namespace removed it: %v", err)
	}
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Access(namedDir+"/"+ns.Name, unix.F_OK); err == nil {
		t.Errorf("%s is still there", ns.Name)
	}
}

func TestBadSpec(t *testing.T) {
	for name, spec := range map[string]Spec{
		"no kind":           {},
		"unknown kind":      {Kind: "sleeping"},
		"unknown family":    {Kind: SynSent, Family: "5"},
		"unknown peers":     {Kind: SynSent, Peers: "on holiday"},
		"negative count":    {Kind: SynSent, Count: -1},
		"too much payload":  {Kind: CloseWaitUnread, Payload: maxPayload + 1},
		"lab for the wrong": {Kind: LastAck, Lab: &Lab{}},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Make(spec); err == nil {
				_ = s.Close()
				t.Errorf("Make(%+v) succeeded", spec)
			}
		})
	}
}

func TestEveryKindHasEnds(t *testing.T) {
	for _, k := range Kinds() {
		if len(ends[k]) == 0 {
			t.Errorf("%s cannot end", k)
		}
	}
	if len(ends) != len(Kinds()) {
		t.Errorf("%d kinds have ends, there are %d", len(ends), len(Kinds()))
	}
}
