package callstack

import (
	"testing"
	"testing/synctest"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestGoSyscall(t *testing.T) {
	for name, want := range map[string]bool{
		"internal/runtime/syscall/linux.Syscall6": true,
		"internal/runtime/syscall.Syscall6":       true,
		"runtime/internal/syscall.Syscall6":       true,
		"syscall.Syscall":                         true,
		"syscall.RawSyscall6":                     true,
		"syscall":                                 false,
		"main.Syscall6":                           false,
		"example.com/syscalls.Syscall6":           false,
		"syscall.connect":                         false,
		"runtime.asmcgocall.abi0":                 false,
		"":                                        false,
	} {
		if got := goSyscall(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// TestGoroutineOfStack: a goroutine is named where Go called the kernel, its maker
// where a go statement made it.
func TestGoroutineOfStack(t *testing.T) {
	called := finding.Frame{Function: "internal/runtime/syscall/linux.Syscall6", Plumbing: true}
	created := finding.Frame{Function: "runtime.newproc", Plumbing: true}
	main := finding.Frame{Function: "main.main", File: "main.go", Line: 3}
	g := flow.Goroutine{ID: 34, Created: 101, Creator: 100}
	for _, tt := range []struct {
		name      string
		goroutine flow.Goroutine
		stack     []finding.Frame
		place     []finding.Frame
		id        uint64
		maker     string
	}{
		{"made in main", g, []finding.Frame{called, own}, []finding.Frame{created, main, own}, 34, "main.main"},
		{"no go statement", g, []finding.Frame{called, own}, []finding.Frame{plumbing, main}, 34, ""},
		{"the first goroutine", g, []finding.Frame{called, own}, []finding.Frame{created, {Function: "runtime.rt0_go"}}, 34, ""},
		{"no function", g, []finding.Frame{called, own}, []finding.Frame{created, nameless}, 34, ""},
		{"cut", g, []finding.Frame{called, own}, []finding.Frame{created}, 34, ""},
		{"maker not known", flow.Goroutine{ID: 34}, []finding.Frame{called, own}, nil, 34, ""},
		{"not by Go", g, []finding.Frame{plumbing, own}, []finding.Frame{created, main}, 0, ""},
		{"none", flow.Goroutine{}, []finding.Frame{called, own}, nil, 0, ""},
	} {
		symbols := &fake{frames: tt.stack}
		inBubble(t, symbols, func(b *Book) {
			r := b.Ask(10, flow.UserStack{PID: 7, Addrs: []uint64{1, 2}})
			<-r.Done()
			symbols.frames = tt.place
			made := b.Maker(r, tt.goroutine)
			if again := b.Maker(r, tt.goroutine); again != made {
				t.Errorf("%s: one place is looked up twice", tt.name)
			}
			synctest.Wait()
			c := Candidate{Of: finding.StackConnect, ID: 10, Goroutine: tt.goroutine}
			got, maker := r.AsOf(c, made), ""
			if got.MadeBy != nil {
				maker = got.MadeBy.Function
			}
			if got.Goroutine != tt.id || maker != tt.maker || len(got.Frames) != len(tt.stack) {
				t.Errorf("%s: goroutine %d made by %q", tt.name, got.Goroutine, maker)
			}
			if r.As(finding.StackConnect).Goroutine != 0 {
				t.Errorf("%s: the stack that others share has the goroutine", tt.name)
			}
		})
	}
}

// A process that is not in the agent's namespace has no functions to look up.
func TestMakerNeedsAProcess(t *testing.T) {
	inBubble(t, &fake{}, func(b *Book) {
		g := flow.Goroutine{ID: 34, Created: 101, Creator: 100}
		if b.Maker(nil, g) != nil || b.Maker(b.Know(3, finding.MissingUnseenProcess), g) != nil {
			t.Error("something is looked up")
		}
	})
}
