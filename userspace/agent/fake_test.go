package agent

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// fakeKernel has sockets, a young and an old generation, a ring of events and
// descriptors, as bpf/ has them. Tests and agent use it by turns.
type fakeKernel struct {
	mu   sync.Mutex
	boot func() time.Duration

	watch   flow.StateSet
	socks   map[uint64]flow.Sock
	entered map[uint64]time.Duration
	young   []slot
	old     map[uint64]slot
	ring    []flow.Event
	held    []flow.Held
	stats   flow.Stats
	// followed is what Follow was told last.
	followed bool

	// watching: dropped packets are looked at. addresses are those of the
	// namespace that a socket is in.
	watching  bool
	addresses map[flow.Key][]netip.Addr

	asides

	// ringMax and oldMax bound the ring and the old generation; 0: no bound.
	ringMax, oldMax int
	// deaf: the ring takes nothing. late: it is read later.
	deaf, late bool
	// steps is how many a walk has, step the one it is at.
	steps, step int
	// pace is what AgePace answers; 0: an hour.
	pace time.Duration
	// during runs inside the method of that name, and may take (fake) time.
	during map[string]func()
	// after runs when Read has read.
	after func()
	fail  map[string]error
	// calls is when each method was called.
	calls map[string][]time.Duration
}

// slot is what a generation knows of a socket.
type slot struct {
	key   flow.Key
	state flow.State
	since time.Duration
	task  flow.Task
}

func newFakeKernel(boot func() time.Duration) *fakeKernel {
	return &fakeKernel{
		boot:  boot,
		socks: map[uint64]flow.Sock{}, entered: map[uint64]time.Duration{}, old: map[uint64]slot{},
		during: map[string]func(){}, fail: map[string]error{}, calls: map[string][]time.Duration{},
	}
}

// call notes a call, runs what happens meanwhile and returns how it fails.
func (k *fakeKernel) call(name string) error {
	k.mu.Lock()
	k.calls[name] = append(k.calls[name], k.boot())
	meanwhile, err := k.during[name], k.fail[name]
	k.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	return err
}

// meanwhile sets what happens inside a method; nil for nothing.
func (k *fakeKernel) meanwhile(name string, f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.during[name] = f
}

func (k *fakeKernel) called(name string) []time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.calls[name])
}

// fakeSock is a socket that a program holds, with nothing left to do.
func fakeSock(addr, cookie uint64, state flow.State) flow.Sock {
	return flow.Sock{
		ID: flow.ID{
			Key:   flow.Key{Addr: addr, Cookie: cookie},
			Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1024+cookie%50000)),
			Peer:  netip.MustParseAddrPort("10.0.0.2:443"), NetNS: 4026531840,
		},
		State: state, HasSocket: true, Role: flow.RoleClient, SendWindow: 65535,
		LastSend: time.Hour, LastReceive: time.Hour, Waiting: -1, Expires: -1,
	}
}

// exist makes a socket that no tracepoint tells of.
func (k *fakeKernel) exist(s flow.Sock, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.socks[s.Addr], k.entered[s.Addr] = s, k.boot()-age
}

// free takes a socket away, without a word.
func (k *fakeKernel) free(addr uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.socks, addr)
}

// afterRead lets f happen, once, after so many readings from now on.
func (k *fakeKernel) afterRead(n int, f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.after = func() {
		if n--; n == 0 {
			f()
		}
	}
}

// enter makes a socket that enters its state now, in the context of task.
func (k *fakeKernel) enter(s flow.Sock, task flow.Task) {
	k.exist(s, 0)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.young = append(k.young, slot{s.Key, s.State, k.boot(), task})
}

// move changes the state of a socket; CLOSE frees it.
func (k *fakeKernel) move(addr uint64, to flow.State, errno int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.socks[addr]
	p, tracked := k.old[addr]
	tracked = tracked && p.key == s.Key
	e := flow.Event{
		Kind: flow.EventTransition, Time: k.boot(), Since: p.since, ID: s.ID, Task: p.task,
		Old: s.State, New: to, Err: errno, Orphan: s.Dead,
	}
	watched := k.watch.Has(to)
	switch {
	case tracked && watched:
		p.state, p.since = to, k.boot()
		k.old[addr] = p
	case tracked:
		delete(k.old, addr)
	case watched:
		k.young = append(k.young, slot{key: s.Key, state: to, since: k.boot()})
	}
	if s.State = to; to == flow.StateClose {
		delete(k.socks, addr)
	} else {
		k.socks[addr], k.entered[addr] = s, k.boot()
	}
	if tracked {
		k.send(e)
	}
}

func (k *fakeKernel) setPace(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pace = d
}

// change alters what a reading shows.
func (k *fakeKernel) change(addr uint64, f func(*flow.Sock)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.socks[addr]
	f(&s)
	k.socks[addr] = s
}

// hold gives a process, started then, a descriptor of the socket.
func (k *fakeKernel) hold(addr uint64, task flow.Task, fd uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.socks[addr]
	k.held = append(k.held, flow.Held{
		Key: s.Key, State: s.State, Local: s.Local, NetNS: s.NetNS, Holder: flow.Holder{Task: task, FD: fd},
	})
}

func (k *fakeKernel) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = nil
}

func (k *fakeKernel) setDeaf(deaf bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf = deaf
}

func (k *fakeKernel) setLate(late bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.late = late
}

func (k *fakeKernel) lose(f func(*flow.Losses)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.stats.Losses)
}

func (k *fakeKernel) send(e flow.Event) {
	if k.deaf || (k.ringMax > 0 && len(k.ring) >= k.ringMax) {
		k.stats.RingFull++
		return
	}
	k.ring = append(k.ring, e)
}

func (k *fakeKernel) Follow(every bool) error {
	k.mu.Lock()
	k.followed = every
	k.mu.Unlock()
	return k.call("Follow")
}

func (k *fakeKernel) follows() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.followed
}
