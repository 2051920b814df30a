package callstack

import (
	"encoding/binary"
	"hash/fnv"
	"path"
	"strings"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// newproc is what a go statement calls.
const newproc = "runtime.newproc"

// Maker has the place looked up where a goroutine was made, that took the stack r;
// nil where there is nothing to look up or too many wait.
func (b *Book) Maker(r *Resolved, g flow.Goroutine) *Resolved {
	if r == nil || r.stack.PID == 0 || g.Creator == 0 {
		return nil
	}
	s := r.stack
	s.Addrs = []uint64{g.Creator, g.Created}
	id := placeID(&s)
	if known := b.Get(id); known != nil {
		return known
	}
	return b.Ask(id, s)
}

// placeID makes up an id for what the kernel side has no stack of.
func placeID(s *flow.UserStack) flow.StackID {
	h := fnv.New64a()
	for _, word := range append([]uint64{uint64(s.PID), uint64(s.Start), s.Base}, s.Addrs...) {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, word))
	}
	return flow.StackID(h.Sum64() | 2)
}

// AsOf returns the stack of a candidate, with the goroutine if it was one: only Go's
// own system calls keep it where the kernel side looks. made is what Maker gave.
// Conditions are As's.
func (r *Resolved) AsOf(c Candidate, made *Resolved) *finding.Stack {
	s := r.As(c.Of)
	if c.Goroutine.ID == 0 || len(r.Frames) == 0 || !goSyscall(r.Frames[0].Function) {
		return s
	}
	own := *s
	own.Goroutine = c.Goroutine.ID
	if made != nil && made.Ready() {
		own.MadeBy = made.maker()
	}
	return &own
}

// maker is the function with the go statement, nil if there was none: what is
// called there tells. The runtime's own, of the first goroutine, tells nothing.
func (r *Resolved) maker() *finding.Frame {
	if len(r.Frames) < 2 || r.Frames[0].Function != newproc {
		return nil
	}
	f := &r.Frames[1]
	if f.Function == "" || strings.HasPrefix(f.Function, "runtime.") {
		return nil
	}
	return f
}

// goSyscall tells the functions by which Go programs call the kernel: since 1.18
// Syscall6 of a package below the runtime, before those of package syscall.
func goSyscall(function string) bool {
	dot := strings.LastIndexByte(function, '.')
	if dot < 0 {
		return false
	}
	pkg, name := function[:dot], function[dot+1:]
	if path.Base(pkg) != "syscall" {
		pkg = path.Dir(pkg)
	}
	switch name {
	case "Syscall", "Syscall6", "RawSyscall", "RawSyscall6":
		return path.Base(pkg) == "syscall"
	}
	return false
}
