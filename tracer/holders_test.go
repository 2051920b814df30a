package tracer

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// held is a holder without what all of a process have in common.
type held struct {
	pid, fd uint32
}

func holders(t *testing.T, tr *Tracer, want flow.Wanted) map[uint64][]held {
	t.Helper()
	found := map[uint64][]held{}
	err := tr.Holders(want, func(h *flow.Held) {
		found[h.Addr] = append(found[h.Addr], held{h.PID, h.FD})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, hs := range found {
		slices.SortFunc(hs, byNumber)
	}
	return found
}

func byNumber(a, b held) int {
	return cmp.Or(cmp.Compare(a.pid, b.pid), cmp.Compare(a.fd, b.fd))
}

func TestHolders(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	me := uint32(os.Getpid())
	client, server := pair(t, ipv4)
	only, _ := pair(t, ipv6)
	passed, _ := pair(t, mapped)
	ours := map[string]uint64{}
	for name, s := range map[string]*socket{"client": client, "server": server, "only": only, "passed": passed} {
		ours[name] = find(t, tr, s.cookie).Addr
	}
	duplicate, err := unix.FcntlInt(uintptr(client.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(duplicate)
	child := startKeeper(t, server)
	there := child.give(t, passed)
	passed.close()

	want := map[uint64][]held{
		ours["client"]: {{me, uint32(client.fd)}, {me, uint32(duplicate)}},
		ours["server"]: {{me, uint32(server.fd)}, {child.pid(), 4}},
		ours["passed"]: {{child.pid(), there}},
	}
	got := holders(t, tr, flow.Wanted{Socks: []uint64{ours["client"], ours["server"], ours["passed"]}})
	for name, addr := range ours {
		slices.SortFunc(want[addr], byNumber)
		if !slices.Equal(got[addr], want[addr]) {
			t.Errorf("%s: held by %v, want %v", name, got[addr], want[addr])
		}
	}
	if len(got) != len(want) {
		t.Errorf("holders of %d sockets, asked for %d", len(got), len(want))
	}
	// What was asked for before is not answered again.
	if again := holders(t, tr, flow.Wanted{Socks: []uint64{ours["only"]}}); len(again) != 1 || len(again[ours["only"]]) != 1 {
		t.Errorf("asked for one socket: %v", again)
	}
	if none := holders(t, tr, flow.Wanted{}); len(none) != 0 {
		t.Errorf("asked for nothing: %v", none)
	}
}

func TestHoldersByState(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	st := makeCloseWait(t, ipv4)
	pair(t, ipv4)
	found := 0
	err := tr.Holders(flow.Wanted{States: flow.StateCloseWait.Bit()}, func(h *flow.Held) {
		if h.NetNS != ns.inode {
			return
		}
		found++
		if h.State != flow.StateCloseWait || h.Cookie != st.cookie || h.Local != st.local || h.FD != uint32(st.fd) {
			t.Errorf("found %+v, want socket %#x in close_wait at %v", h, st.cookie, st.local)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != 1 {
		t.Errorf("found %d sockets in close_wait, want 1", found)
	}
}

func TestHoldersOfListeners(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ns := newNamespace(t)
			l := listen(t, f, 7)
			newSocket(t, f).connect(l.local())
			eventually(t, "a connection in the queue", func() bool { return l.info().Unacked == 1 })
			other := listen(t, f, 1)
			found := 0
			err := tr.Holders(flow.Wanted{Ports: []uint16{l.local().Port()}}, func(h *flow.Held) {
				if h.NetNS != ns.inode {
					return
				}
				found++
				if h.State != flow.StateListen || h.FD != uint32(l.fd) || h.Local != unmapped(l.local()) {
					t.Errorf("found %+v, want a listener at %v", h, l.local())
				}
				if h.AcceptQueue != 1 || h.AcceptLimit != 7 {
					t.Errorf("%d of %d connections wait, want 1 of 7", h.AcceptQueue, h.AcceptLimit)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if found != 1 {
				t.Errorf("found %d listeners, want 1 and not that at %v", found, other.local())
			}
		})
	}
}

// Who a holder is must be enough to tell a reused pid.
func TestHolderIdentity(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, _ := pair(t, ipv4)
	child := startKeeper(t, client)
	addr := find(t, tr, client.cookie).Addr
	found := map[uint32]flow.Held{}
	if err := tr.Holders(flow.Wanted{Socks: []uint64{addr}}, func(h *flow.Held) { found[h.PID] = *h }); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []uint32{uint32(os.Getpid()), child.pid()} {
		h := found[pid]
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSuffix(string(comm), "\n"); h.Comm != want || h.UID != uint32(os.Getuid()) {
			t.Errorf("process %d is %q of %d, want %q of %d", pid, h.Comm, h.UID, want, os.Getuid())
		}
		// /proc counts in hundredths of a second, rounded down.
		if d := h.StartBoot - startOf(t, pid); d < 0 || d >= 10*time.Millisecond {
			t.Errorf("process %d started at %v, /proc says %v", pid, h.StartBoot, startOf(t, pid))
		}
	}
}

// startOf reads field 22 of /proc/PID/stat, which follows a name with anything in it.
func startOf(t *testing.T, pid uint32) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// More keys than the map for them takes at once, some of them twice.
func TestHoldersOfMany(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, server := pair(t, ipv4)
	addrs := []uint64{find(t, tr, client.cookie).Addr, find(t, tr, server.cookie).Addr}
	keys := []uint64{addrs[0]}
	for i := range uint64(wantedMax + 10) {
		keys = append(keys, 1<<32+i)
	}
	keys = append(keys, keys[5], addrs[1])
	got := holders(t, tr, flow.Wanted{Socks: keys})
	if len(got) != 2 || len(got[addrs[0]]) != 1 || len(got[addrs[1]]) != 1 {
		t.Errorf("found %v, want one holder of each of %#x", got, addrs)
	}
}
