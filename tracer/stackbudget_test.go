package tracer

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// stay keeps the test on the CPU that it is on, which it returns.
func stay(t *testing.T) uint32 {
	t.Helper()
	var before, one unix.CPUSet
	runtime.LockOSThread()
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
	for cpu := range 1024 {
		if !before.IsSet(cpu) {
			continue
		}
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Fatal(err)
		}
		return uint32(cpu)
	}
	t.Fatal("no CPU is allowed")
	return 0
}

// Where far more stacks are asked for than may be taken, fewer are.
func TestSamplesAreRarerUnderChurn(t *testing.T) {
	const rate = 100
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksOn, stacksRate: rate})
	newNamespace(t)
	cpu := stay(t)
	l := listen(t, ipv4, 1)
	state := func() (s limboStackCpu) {
		if err := tr.objs.StackCpus.Lookup(cpu, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	// ask makes the kernel count what was asked for since so many seconds ago.
	ask := func(asked, seconds uint64) limboStackCpu {
		openHere(newSocket(t, ipv4), l)
		s := state()
		s.Second, s.Asked = s.Jiffies-seconds*uint64(tr.decode.hz), asked
		s.Jiffies-- // it counts once a jiffy
		if err := tr.objs.StackCpus.Put(cpu, &s); err != nil {
			t.Fatal(err)
		}
		before := s.Second
		openHere(newSocket(t, ipv4), l)
		l.accept()
		l.accept()
		if s = state(); seconds == 1 && s.Second-before >= 2*uint64(tr.decode.hz) {
			t.Skip("the machine stood still for a second")
		}
		return s
	}
	for _, tt := range []struct {
		name           string
		asked, seconds uint64
		shift          uint64
	}{
		{"within", rate, 1, 0},
		{"beyond", 2*rate + 1, 1, 1},
		{"far beyond", 4*rate + 1, 1, 2},
		{"a storm", 100 * rate, 1, 3},
		{"a storm that has passed", 100 * rate, 3, 0},
		{"the second goes on", 100 * rate, 0, 0},
	} {
		if got := ask(tt.asked, tt.seconds); got.Shift != tt.shift {
			t.Errorf("%s: 1/%d of the rate is left, want 1/%d", tt.name, 1<<got.Shift, 1<<tt.shift)
		}
	}
}

// A socket that ends leaves nothing behind, in the map or in the filter before it.
func TestStacksFilter(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	newNamespace(t)
	l := listen(t, ipv4, 16)
	counted := func() (n uint32) {
		var filter [1 << 12]uint32
		if err := tr.objs.StacksFilter.Get(&filter); err != nil {
			t.Fatal(err)
		}
		for _, cell := range filter {
			n += cell
		}
		return n
	}
	kept := func() (n uint32) {
		var addr uint64
		var s limboSockStacks
		all := tr.objs.SocketStacks.Iterate()
		for all.Next(&addr, &s) {
			n++
		}
		if err := all.Err(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var open []*socket
	for range 16 {
		s := newSocket(t, ipv4)
		openHere(s, l)
		open = append(open, s, acceptHere(l))
	}
	if counted() < 16 || kept() < 16 {
		t.Errorf("%d sockets are kept, %d are in the filter", kept(), counted())
	}
	for _, s := range open {
		s.close()
	}
	eventually(t, "other people's sockets apart, nothing is left", func() bool { return counted() == kept() })
}
