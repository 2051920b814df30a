package tracer

import (
	"runtime"
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
