package tracer

import (
	"fmt"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const everyState flow.StateSet = 1<<flow.StateMax - 1

// asWitness says of a socket what sock_diag would.
func asWitness(s flow.Sock) witnessed {
	return witnessed{state: s.State, local: s.Local, peer: s.Peer, cookie: s.Cookie, inode: s.Inode}
}

// The walk, from where the tracer stands, finds in every namespace what sock_diag
// finds inside it.
func TestWalkFindsWhatSockDiagFinds(t *testing.T) {
	home := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	var others []*namespace
	for range 3 {
		ns := newNamespace(t)
		others = append(others, ns)
		for _, f := range families {
			for _, r := range recipes {
				r.make(t, f)
			}
			pair(t, f)
			timeWait(t, f)
		}
	}
	home.enter(t)
	for i, ns := range others {
		t.Run(fmt.Sprint("namespace ", i), func(t *testing.T) {
			var want, got map[witnessed]int
			// Both look while ACKs are still under way: until they agree.
			eventually(t, "walk and sock_diag at one", func() bool {
				want = map[witnessed]int{}
				for _, w := range within(t, ns) {
					want[w]++
				}
				got = map[witnessed]int{}
				for _, s := range walk(t, tr, flow.WalkStates{States: everyState, TimeWait: true}, ns) {
					got[asWitness(s)]++
				}
				return sameCounts(got, want) || t.Failed()
			})
			// 3 families with 6 recipes, a connection and a TIME_WAIT each, most
			// of them with both ends here.
			if len(want) < 3*8 {
				t.Errorf("sock_diag found only %d connections", len(want))
			}
		})
	}
}

func sameCounts(a, b map[witnessed]int) bool {
	if len(a) != len(b) {
		return false
	}
	for w, n := range a {
		if b[w] != n || n != 1 {
			return false
		}
	}
	return true
}

// within asks sock_diag in another namespace, on a thread that is thrown away.
func within(t *testing.T, ns *namespace) []witnessed {
	t.Helper()
	var all []witnessed
	t.Run("witness", func(t *testing.T) {
		newNamespace(t)
		ns.enter(t)
		all = witness(t)
	})
	return all
}

// timeWait leaves a connection in TIME_WAIT proper.
func timeWait(t *testing.T, f family) {
	t.Helper()
	client, server := pair(t, f)
	local, peer := unmapped(client.local()), unmapped(server.local())
	client.close()
	server.read(0)
	server.close()
	witnessedIn(t, local, peer, flow.StateTimeWait)
}

func TestWalkTakesWhatIsWanted(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	made := map[flow.State]bool{flow.StateEstablished: true, flow.StateTimeWait: true}
	for _, r := range recipes {
		st := r.make(t, ipv4)
		made[st.state] = true
	}
	pair(t, ipv4)
	timeWait(t, ipv4)
	for state := range made {
		want := flow.WalkStates{States: state.Bit(), TimeWait: state == flow.StateTimeWait}
		socks := walk(t, tr, want, ns)
		if len(socks) == 0 {
			t.Errorf("asked for %v: nothing", state)
		}
		for _, s := range socks {
			if s.State != state {
				t.Errorf("asked for %v: found %v", state, s.State)
			}
		}
	}
	for _, s := range walk(t, tr, flow.WalkStates{States: everyState &^ flow.StateTimeWait.Bit()}, ns) {
		if s.State == flow.StateTimeWait {
			t.Errorf("a TIME_WAIT nobody asked for: %v to %v", s.Local, s.Peer)
		}
	}
}

// More sockets than one run can hand over, found once each.
func TestWalkManySockets(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	const connections = 3 * valuesMax / 2
	l := listen(t, ipv4, 16)
	want := map[uint64]bool{}
	for range connections {
		client, server := pairWith(t, ipv4, l)
		want[client.cookie], want[server.cookie] = true, true
	}
	found := map[uint64]int{}
	for _, s := range walk(t, tr, flow.WalkStates{States: flow.StateEstablished.Bit()}, ns) {
		found[s.Cookie]++
	}
	for cookie, n := range found {
		if n != 1 || !want[cookie] {
			t.Errorf("socket %#x found %d times, ours: %v", cookie, n, want[cookie])
		}
	}
	if len(found) != 2*connections {
		t.Errorf("found %d of %d sockets", len(found), 2*connections)
	}
	stats, err := tr.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.WalkCut != 0 {
		t.Errorf("%d chains cut", stats.WalkCut)
	}
}
