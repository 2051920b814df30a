package tracer

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// The stacks are this program's own, so its own runtime names the functions.
func functions(addrs []uint64) string {
	pcs := make([]uintptr, len(addrs))
	for i, a := range addrs {
		pcs[i] = uintptr(a)
	}
	var names []string
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		names = append(names, f.Function[strings.LastIndex(f.Function, "/")+1:])
		if !more {
			return strings.Join(names, " ")
		}
	}
}

// idOf reads who a socket is.
func idOf(t *testing.T, tr *Tracer, ns *namespace, s *socket) flow.ID {
	t.Helper()
	var id flow.ID
	all := flow.WalkStates{States: ^flow.StateSet(0)}
	err := tr.Walk(all, func(sock *flow.Sock) {
		if sock.NetNS == ns.inode && sock.Inode == s.inode {
			id = sock.ID
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if id.Addr == 0 {
		t.Fatal("the socket is not there")
	}
	return id
}

func stacksOf(t *testing.T, tr *Tracer, id flow.ID) flow.SocketStacks {
	t.Helper()
	s, err := tr.SocketStacks(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantStack fails unless the stack is this process's and has the function in it.
func wantStack(t *testing.T, tr *Tracer, id flow.StackID, function string) {
	t.Helper()
	s, ok, err := tr.UserStack(id)
	if err != nil || !ok {
		t.Fatalf("no stack with id %#x: %v", id, err)
	}
	if s.PID != uint32(unix.Getpid()) || s.Start == 0 || s.Base == 0 {
		t.Errorf("the stack is of pid %d, started at %v, with its stack at %#x", s.PID, s.Start, s.Base)
	}
	if names := functions(s.Addrs); !strings.Contains(names, function) {
		t.Errorf("%s is not among %s", function, names)
	}
}

//go:noinline
func openHere(s *socket, l *socket) { s.connect(l.local()) }

//go:noinline
func acceptHere(l *socket) *socket { return l.accept() }

//go:noinline
func readEndHere(s *socket) { s.read(0) }

func requireAccepts(t *testing.T, tr *Tracer) {
	t.Helper()
	if connect, accept, _ := tr.StackHooks(); connect != nil {
		t.Fatalf("no stacks are taken: %+v", verifierLog(connect))
	} else if accept != nil {
		t.Skipf("accept cannot be seen here: %v", accept)
	}
}

func TestStacks(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ns := newNamespace(t)
			l := listen(t, f, 1)
			client := newSocket(t, f)
			openHere(client, l)
			opened := stacksOf(t, tr, idOf(t, tr, ns, client))
			if opened.Accepted {
				t.Error("a connected socket is called accepted")
			}
			wantStack(t, tr, opened.Opener, "tracer.openHere")

			requireAccepts(t, tr)
			server := acceptHere(l)
			id := idOf(t, tr, ns, server)
			got := stacksOf(t, tr, id)
			if !got.Accepted || got.Reader != flow.StackNone {
				t.Errorf("an accepted socket has %+v", got)
			}
			wantStack(t, tr, got.Opener, "tracer.acceptHere")
			if _, _, eof := tr.StackHooks(); eof != nil {
				return // before 6.3
			}
			client.shutdown()
			server.in(flow.StateCloseWait)
			readEndHere(server)
			got = stacksOf(t, tr, id)
			wantStack(t, tr, got.Reader, "tracer.readEndHere")
			wantStack(t, tr, got.Opener, "tracer.acceptHere")

			server.close()
			client.close()
			if got := stacksOf(t, tr, id); got != (flow.SocketStacks{}) {
				t.Errorf("a closed socket still has %+v", got)
			}
		})
	}
}

// Who reads the end of file is told once, and only by a read that takes it.
func TestEndOfFileReaders(t *testing.T) {
	// All that the host reads meanwhile shares the budget.
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksOn, stacksRate: 1 << 20})
	if _, _, eof := tr.StackHooks(); eof != nil {
		t.Skip(eof)
	}
	ns := newNamespace(t)
	closed := func() (*socket, flow.ID) {
		client, server := pair(t, ipv4)
		client.shutdown()
		return server, idOf(t, tr, ns, server.in(flow.StateCloseWait))
	}
	unwatched, first := closed()
	readEndHere(unwatched)
	if got := stacksOf(t, tr, first); got.Reader != flow.StackNone {
		t.Errorf("the end of file is watched and nobody asked: %+v", got)
	}
	for _, on := range []bool{true, true, false, true} {
		if err := tr.WatchEOF(on); err != nil {
			t.Fatal(err)
		}
	}
	server, id := closed()
	if n, _, err := unix.Recvfrom(server.fd, make([]byte, 1), unix.MSG_PEEK); n != 0 || err != nil {
		t.Fatalf("peeking at the end of file: %d, %v", n, err)
	}
	if got := stacksOf(t, tr, id); got.Reader != flow.StackNone {
		t.Errorf("a peek is called a read: %+v", got)
	}
	readEndHere(server)
	wantStack(t, tr, stacksOf(t, tr, id).Reader, "tracer.readEndHere")
	server.read(0)
	wantStack(t, tr, stacksOf(t, tr, id).Reader, "tracer.readEndHere")
	// A socket that was opened before the agent came has only that.
	readEndHere(unwatched)
	wantStack(t, tr, stacksOf(t, tr, first).Reader, "tracer.readEndHere")
}

func refused(t *testing.T, tr *Tracer) uint64 {
	t.Helper()
	s, err := tr.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s.StacksRefused
}

// Beyond the budget stacks are refused and counted, but not to leaky processes.
func TestStackBudget(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksOn, stacksRate: 1})
	ns := newNamespace(t)
	l := listen(t, ipv4, 1)
	connects := func() (taken int) {
		for range 10 {
			s := newSocket(t, ipv4)
			openHere(s, l)
			if stacksOf(t, tr, idOf(t, tr, ns, s)).Opener != flow.StackNone {
				taken++
			}
			l.accept().close()
			s.close()
		}
		return taken
	}
	// A quarter of a second's budget may be used at once: less than one.
	if taken := connects(); taken != 0 || refused(t, tr) < 10 {
		t.Errorf("%d of 10 stacks taken, %d refused", taken, refused(t, tr))
	}
	if err := tr.Leaky([]uint32{uint32(unix.Getpid())}); err != nil {
		t.Fatal(err)
	}
	if taken := connects(); taken != 10 {
		t.Errorf("%d of 10 stacks of a leaky process taken", taken)
	}
	if err := tr.Leaky(nil); err != nil {
		t.Fatal(err)
	}
	if taken := connects(); taken != 0 {
		t.Error("a process that is not leaky any more still has no limit")
	}
}

// The same place gives the same stack once; a full map makes room, and what had to
// go is not found any more rather than found wrong.
func TestStacksAreKeptOnce(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	ns := newNamespace(t)
	l := listen(t, ipv4, 8)
	ids := map[flow.StackID]bool{}
	for range 8 {
		s := newSocket(t, ipv4)
		openHere(s, l)
		ids[stacksOf(t, tr, idOf(t, tr, ns, s)).Opener] = true
	}
	if len(ids) != 1 {
		t.Errorf("one place has the stacks %v", ids)
	}
	for id := range ids {
		if err := tr.objs.UserStacks.Delete(uint64(id)); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := tr.UserStack(id); ok || err != nil {
			t.Errorf("a stack that is gone is found: %v", err)
		}
	}
}

// What is under a socket's address and not about this socket is not believed.
func TestStacksOfAnotherSocket(t *testing.T) {
	id := flow.ID{
		Key:   flow.Key{Addr: 1, Cookie: 7},
		Local: netip.MustParseAddrPort("192.0.2.1:1000"), Peer: netip.MustParseAddrPort("192.0.2.2:443"), NetNS: 5,
	}
	own := limboSockStacks{
		Cookie: 7, Opener: 8, Reader: 9, Daddr: netip.MustParseAddr("::ffff:192.0.2.2").As16(), Netns: 5, Sport: 1000, Dport: 443,
		Of: uint8(limboStackOfSTACK_ACCEPT),
	}
	own.Goroutine.Id, own.Goroutine.Created, own.Goroutine.Creator = 10, 11, 12
	want := flow.SocketStacks{Opener: 8, Reader: 9, Accepted: true, Goroutine: flow.Goroutine{ID: 10, Created: 11, Creator: 12}}
	for _, tt := range []struct {
		name   string
		change func(*limboSockStacks)
		ok     bool
	}{
		{"itself", func(*limboSockStacks) {}, true},
		{"before its cookie was made", func(s *limboSockStacks) { s.Cookie = 0 }, true},
		{"before its port was chosen", func(s *limboSockStacks) { s.Sport = 0 }, true},
		{"another cookie", func(s *limboSockStacks) { s.Cookie = 6 }, false},
		{"another port", func(s *limboSockStacks) { s.Cookie, s.Sport = 0, 1001 }, false},
		{"another peer", func(s *limboSockStacks) { s.Cookie, s.Daddr[15] = 0, 3 }, false},
		{"another peer's port", func(s *limboSockStacks) { s.Cookie, s.Dport = 0, 80 }, false},
		{"another namespace", func(s *limboSockStacks) { s.Cookie, s.Netns = 0, 6 }, false},
	} {
		s := own
		tt.change(&s)
		got := decodeSocketStacks(encode(t, s), id)
		if tt.ok && got != want || !tt.ok && got != (flow.SocketStacks{}) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func FuzzSocketStacks(f *testing.F) {
	for _, b := range samples(sockStacksSize) {
		f.Add(b)
		f.Add(b[:sockStacksSize-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := decodeSocketStacks(b, flow.ID{})
		if len(b) < sockStacksSize {
			if got != (flow.SocketStacks{}) {
				t.Fatalf("%d bytes give %+v", len(b), got)
			}
			return
		}
		r := reference[limboSockStacks](t, b)
		want := flow.SocketStacks{Opener: flow.StackID(r.Opener), Reader: flow.StackID(r.Reader), Accepted: r.Of == 2}
		if g := r.Goroutine; g.Id != 0 && g.Creator != 0 {
			want.Goroutine = flow.Goroutine{ID: g.Id, Created: g.Created, Creator: g.Creator}
		} else {
			want.Goroutine.ID = g.Id
		}
		if got != want {
			t.Errorf("decoded %+v, want %+v", got, want)
		}
	})
}

func FuzzUserStack(f *testing.F) {
	for _, b := range samples(userStackSize) {
		f.Add(b)
		f.Add(b[:userStackSize-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeUserStack(b)
		if short := len(b) < userStackSize; short != (err != nil) {
			t.Fatalf("%d bytes: error %v", len(b), err)
		}
		if err != nil {
			return
		}
		r := reference[limboUserStack](t, b)
		addrs := r.Frames[:min(int(r.Count), len(r.Frames))]
		if len(addrs) > 0 && r.Caller != 0 {
			addrs = slices.Insert(slices.Clone(addrs), 1, r.Caller)
		}
		if got.PID != r.Pid || uint64(got.Start) != r.StartNs || got.Base != r.StartStack || !slices.Equal(got.Addrs, addrs) {
			t.Errorf("decoded %+v of %+v", got, r)
		}
	})
}

// goroutineID is this goroutine's, as a trace of it says.
func goroutineID(t *testing.T) uint64 {
	t.Helper()
	buf := make([]byte, 64)
	var id uint64
	if _, err := fmt.Sscanf(string(buf[:runtime.Stack(buf, false)]), "goroutine %d ", &id); err != nil {
		t.Fatal(err)
	}
	return id
}

// connecting connects in a goroutine of its own, whose id it returns.
func connecting(t *testing.T, s, l *socket) uint64 {
	id := make(chan uint64)
	go func() {
		openHere(s, l)
		id <- goroutineID(t)
	}()
	return <-id
}

// TestGoroutines: the goroutine that connected is named, and where it was made; on
// kernels that do not tell, nothing is said.
func TestGoroutines(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("goroutines are known on amd64")
	}
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	untold := SystemCallRegisters()
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ns := newNamespace(t)
			l := listen(t, f, 1)
			client := newSocket(t, f)
			want := connecting(t, client, l)
			g := stacksOf(t, tr, idOf(t, tr, ns, client)).Goroutine
			if untold != nil {
				if g != (flow.Goroutine{}) {
					t.Errorf("%+v without the registers", g)
				}
				t.Skip(untold)
			}
			if g.ID != want {
				t.Errorf("goroutine %d connected, want %d", g.ID, want)
			}
			if name := functions([]uint64{g.Created}); name != "tracer.connecting" {
				t.Errorf("made by %s", name)
			}
			if name := functions([]uint64{g.Creator + 1}); name != "runtime.newproc" {
				t.Errorf("a go statement calls %s", name)
			}
		})
	}
}
