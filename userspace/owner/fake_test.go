package owner

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// fakeProc is a proc file system that tests write.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) *fakeProc { return &fakeProc{t, t.TempDir()} }

// stat is a line of /proc/PID/stat; flags is its ninth field.
func stat(pid uint32, comm, state string, flags uint64, started time.Duration) string {
	return fmt.Sprintf("%d (%s) %s 1 2 2 0 -1 %d 100 0 0 0 1 2 0 0 20 0 1 0 %d 1000000 200 18446744073709551615 0 0 0\n",
		pid, comm, state, flags, started.Milliseconds()/10)
}

// kthread is PF_KTHREAD of include/linux/sched.h.
const kthread = 0x00200000

func (p *fakeProc) write(pid uint32, line string) {
	dir := filepath.Join(p.root, strconv.Itoa(int(pid)))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(line), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run makes pid a process that started then and runs the program at path.
func (p *fakeProc) run(pid uint32, started time.Duration, path string) {
	p.write(pid, stat(pid, filepath.Base(path), "S", 0x400000, started))
	p.exec(pid, path)
}

// exec makes pid run another program.
func (p *fakeProc) exec(pid uint32, path string) {
	link := filepath.Join(p.root, strconv.Itoa(int(pid)), "exe")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		p.t.Fatal(err)
	}
}

func (p *fakeProc) exit(pid uint32) {
	if err := os.RemoveAll(filepath.Join(p.root, strconv.Itoa(int(pid)))); err != nil {
		p.t.Fatal(err)
	}
}

// fakeSource is the walk over descriptors. As the kernel's it shows sockets that
// are wanted by address, by state, and listeners by port.
type fakeSource struct {
	held  []flow.Held
	err   error
	walks int
	want  flow.Wanted
}

func (s *fakeSource) Holders(want flow.Wanted, fn func(*flow.Held)) error {
	s.walks++
	s.want = flow.Wanted{Socks: slices.Clone(want.Socks), Ports: slices.Clone(want.Ports), States: want.States}
	for i := range s.held {
		h := s.held[i] // only valid during the call
		if want.States.Has(h.State) || slices.Contains(want.Socks, h.Addr) ||
			(h.State == flow.StateListen && slices.Contains(want.Ports, h.Local.Port())) {
			fn(&h)
			h = flow.Held{}
		}
	}
	return s.err
}

const netns = 4026531840

// conn is a connection whose holders are looked for.
func conn() *flow.Sock {
	return &flow.Sock{
		ID: flow.ID{
			Key: flow.Key{Addr: 0xff00, Cookie: 7}, NetNS: netns,
			Local: netip.MustParseAddrPort("10.0.0.1:80"), Peer: netip.MustParseAddrPort("10.0.0.2:5000"),
		},
		State: flow.StateCloseWait, HasSocket: true, Role: flow.RoleServer,
	}
}

// holds says that pid, started then, has s as its descriptor fd.
func holds(s *flow.Sock, pid, fd uint32, started time.Duration) flow.Held {
	return flow.Held{
		Key:   s.Key,
		State: s.State, Local: s.Local, NetNS: s.NetNS,
		Holder: flow.Holder{Task: flow.Task{PID: pid, TID: pid, UID: 1000, Comm: "comm", StartBoot: started}, FD: fd},
	}
}

// listens says that pid listens at the address.
func listens(addr string, ns, pid, fd uint32) flow.Held {
	return flow.Held{
		Key:   flow.Key{Addr: 0xaa00 + uint64(pid)<<16 + uint64(fd), Cookie: uint64(pid)<<8 + uint64(fd)},
		State: flow.StateListen, Local: netip.MustParseAddrPort(addr), NetNS: ns,
		Holder: flow.Holder{Task: flow.Task{PID: pid, TID: pid, Comm: "server", StartBoot: time.Second}, FD: fd},
	}
}

// resolve asks for the owner of one socket.
func resolve(t *testing.T, r *Resolver, q Query) *Query {
	t.Helper()
	queries := []Query{q}
	if err := r.Resolve(queries); err != nil {
		t.Fatal(err)
	}
	return &queries[0]
}
