package e2e

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer"
)

// of returns the findings about sockets of a process, the latest record of each.
func (p *program) of(records []*record, kind string) []*record {
	last := map[string]*record{}
	for _, r := range records {
		if r.finding() && r.status() != "resolved" && r.str("tcplimbo.finding.kind") == kind && r.pid() == p.pid {
			last[r.id()] = r
		}
	}
	return slices.Collect(maps.Values(last))
}

// told counts what the findings say: whose stack, where, and the same in the message.
func told(records []*record) map[string]int {
	counts := map[string]int{}
	for _, r := range records {
		first, _, _ := strings.Cut(r.str("code.stacktrace"), "\n")
		function, at, _ := strings.Cut(strings.TrimSuffix(first, ")"), " (")
		place := fmt.Sprintf("%s (%s)", function, at[strings.LastIndexByte(at, '/')+1:])
		if r.str("code.stacktrace") == "" {
			place = "none: " + r.str("tcplimbo.stack.missing")
		} else if !strings.Contains(r.str("message"), " in "+place) {
			place += ", and the message does not say so: " + r.str("message")
		}
		counts[r.str("tcplimbo.stack.of")+" "+place]++
	}
	return counts
}

func waitTold(t *testing.T, a *agent, p *program, kind string, want map[string]int) {
	t.Helper()
	if !a.wait(30*time.Second, func(r []*record) bool { return maps.Equal(told(p.of(r, kind)), want) }) {
		t.Errorf("%s: told %v, want %v", kind, told(p.of(a.all(), kind)), want)
	}
}

var goBuilds = map[string][]string{
	"plain":        nil,
	"stripped":     {"-ldflags=-s -w"},
	"stripped PIE": {"-ldflags=-s -w", "-buildmode=pie"},
	"trimmed":      {"-trimpath"},
}

// TestStacksOfGo: each forgotten connection names the handler that forgot it and
// the line; the healthy handler is never named. One agent looks at all builds.
func TestStacksOfGo(t *testing.T) {
	sideBySide(t)
	needBPF(t)
	at := marks(t, "testdata/leaky/main.go")
	handlers := map[string]int{
		fmt.Sprintf("eof_read main.handleUpload (main.go:%d)", at["upload"]): 1,
		fmt.Sprintf("eof_read main.handleStatus (main.go:%d)", at["status"]): 1,
	}
	connect := map[string]int{fmt.Sprintf("connect main.fetch (main.go:%d)", at["connect"]): 1}
	a := startRun(t, "--stacks", "always")
	programs := map[string]*program{}
	for name, flags := range goBuilds {
		p := startProgram(t, buildGo(t, "leaky", flags...))
		p.do("round")
		p.do("stall")
		programs[name] = p
	}
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			waitTold(t, a, p, "close_wait_silent", handlers)
			waitTold(t, a, p, "syn_sent_stalled", connect)
			waitGoroutines(t, a, p, "close_wait_silent", fmt.Sprintf("main.serve (main.go:%d)", at["handle"]))
			waitGoroutines(t, a, p, "syn_sent_stalled", fmt.Sprintf("main.main (main.go:%d)", at["stall"]))
		})
	}
	for _, r := range a.all() {
		if strings.Contains(r.line, "handleWell") {
			t.Errorf("the healthy handler is named: %s", r.line)
		}
	}
	a.stop(syscall.SIGTERM)
}

var cBuilds = map[string]struct{ flags, args []string }{
	"frame pointers":             {[]string{"-fno-omit-frame-pointer"}, nil},
	"frame pointers, threads":    {[]string{"-fno-omit-frame-pointer"}, []string{"threads"}},
	"no frame pointers":          {[]string{"-fomit-frame-pointer"}, nil},
	"no frame pointers, threads": {[]string{"-fomit-frame-pointer"}, []string{"threads"}},
	"frame pointers, static":     {[]string{"-fno-omit-frame-pointer", "-static"}, nil},
	"frame pointers, no PLT":     {[]string{"-fno-omit-frame-pointer", "-fno-plt"}, nil},
	"frame pointers, no PIE":     {[]string{"-fno-omit-frame-pointer", "-no-pie"}, nil},
}

// waitGoroutines waits until each finding names a goroutine of its own, all made in
// one place; where they were made may come with an update.
func waitGoroutines(t *testing.T, a *agent, p *program, kind, place string) {
	t.Helper()
	if runtime.GOARCH != "amd64" || tracer.SystemCallRegisters() != nil {
		return
	}
	told := func(all []*record) bool {
		seen := map[int64]bool{1: true, 0: true}
		for _, r := range p.of(all, kind) {
			id := r.num("tcplimbo.stack.goroutine.id")
			function, at, _ := strings.Cut(r.str("tcplimbo.stack.goroutine.creator"), " (")
			if seen[id] || function+" ("+at[strings.LastIndexByte(at, '/')+1:] != place {
				return false
			}
			seen[id] = true
		}
		return true
	}
	if !a.wait(30*time.Second, told) {
		for _, r := range p.of(a.all(), kind) {
			t.Errorf("want a goroutine of its own, made by %s: %s", place, r.line)
		}
	}
}

// TestStacksOfC: the function that connects and forgets is named where the program
// keeps frame pointers; the C library, which has none, must not hide it. Without
// them its callers cannot be seen, and no others are named in their place. One agent
// looks at all builds.
func TestStacksOfC(t *testing.T) {
	sideBySide(t)
	at := marks(t, "testdata/forgetful.c")["connect"]
	named := fmt.Sprintf("connect forget_upstream (forgetful.c:%d)", at)
	a := startRun(t, "--stacks", "always")
	programs := map[string]*program{}
	for name, b := range cBuilds {
		p := startProgram(t, buildC(t, "forgetful.c", append([]string{"-O2", "-g", "-pthread"}, b.flags...)...), b.args...)
		p.do("forget")
		programs[name] = p
	}
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			waitTold(t, a, p, "close_wait_silent", map[string]int{named: 1})
			for _, r := range p.of(a.all(), "close_wait_silent") {
				if id := r.num("tcplimbo.stack.goroutine.id"); id > 0 {
					t.Errorf("a goroutine of C: %s", r.line)
				}
				for line := range strings.SplitSeq(r.str("code.stacktrace"), "\n") {
					if !strings.HasPrefix(line, "forget_upstream ") && !strings.HasPrefix(line, "main ") {
						t.Errorf("a function that was not called: %s", line)
					}
				}
			}
		})
	}
	a.stop(syscall.SIGTERM)
}

// TestStacksFromTheFirstLeak: by default the first forgotten connections have the
// stack of who accepted them, and once a leak is known, that of who forgets. What
// others on this machine do may use up the budget, which is said then.
func TestStacksFromTheFirstLeak(t *testing.T) {
	at := marks(t, "testdata/leaky/main.go")
	accept := fmt.Sprintf("accept main.serve (main.go:%d)", at["accept"])
	upload := fmt.Sprintf("eof_read main.handleUpload (main.go:%d)", at["upload"])
	status := fmt.Sprintf("eof_read main.handleStatus (main.go:%d)", at["status"])
	a := startRun(t)
	p := startProgram(t, buildGo(t, "leaky"))
	for _, want := range [][]string{{accept}, {upload, status}} {
		all := func(r []*record) bool {
			got := told(p.of(r, "close_wait_silent"))
			return !slices.ContainsFunc(want, func(w string) bool { return got[w] == 0 })
		}
		for try := 0; try < 10 && !all(a.all()); try++ {
			p.do("round")
			a.wait(3*time.Second, all)
		}
		if !all(a.all()) {
			t.Errorf("told %v, want %v", told(p.of(a.all(), "close_wait_silent")), want)
		}
	}
	for got := range told(p.of(a.all(), "close_wait_silent")) {
		if !slices.Contains([]string{accept, upload, status, " none: over_budget"}, got) {
			t.Errorf("told %s", got)
		}
	}
}

// TestStacksOff: nothing is said of stacks, nor of why there are none.
func TestStacksOff(t *testing.T) {
	sideBySide(t)
	a := startRun(t, "--stacks", "off")
	p := startProgram(t, buildGo(t, "leaky"))
	p.do("round")
	waitTold(t, a, p, "close_wait_silent", map[string]int{" none: ": 2})
}

// TestStacksOfBefore: what was opened before the agent came says so.
func TestStacksOfBefore(t *testing.T) {
	sideBySide(t)
	needBPF(t)
	p := startProgram(t, buildGo(t, "leaky"))
	p.do("round")
	p.do("stall")
	a := startRun(t)
	waitTold(t, a, p, "close_wait_silent", map[string]int{" none: older_than_agent": 2})
	waitTold(t, a, p, "syn_sent_stalled", map[string]int{" none: older_than_agent": 1})
}

// TestListByStack: `list` counts by the stacks that a running daemon has taken, the
// first line the most.
func TestListByStack(t *testing.T) {
	at := marks(t, "testdata/leaky/main.go")
	startRun(t, "--stacks", "always", "--close-wait", "1h")
	p := startProgram(t, buildGo(t, "leaky", "-ldflags=-s -w"))
	p.do("round")
	p.do("round")
	p.do("stall")
	want := map[string]int{
		fmt.Sprintf("main.handleUpload (main.go:%d)", at["upload"]): 2,
		fmt.Sprintf("main.handleStatus (main.go:%d)", at["status"]): 2,
		fmt.Sprintf("main.fetch (main.go:%d)", at["connect"]):       1,
	}
	var got map[string]int
	for try := 0; try < 20 && !maps.Equal(got, want); try++ {
		stdout, _ := output(t, "list", "--by", "stack", "-H", "--pid", fmt.Sprint(p.pid), "--state", "close_wait,syn_sent")
		got = map[string]int{}
		for line := range strings.Lines(stdout) {
			// COUNT, OLDEST, KIND, and the functions, of which the first is wanted.
			fields := strings.Fields(line)
			var count int
			if _, err := fmt.Sscan(fields[0], &count); err != nil || len(fields) < 5 {
				t.Fatalf("%v: %s", err, stdout)
			}
			got[fields[3]+" "+fields[4]] += count
		}
		time.Sleep(100 * time.Millisecond)
	}
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
