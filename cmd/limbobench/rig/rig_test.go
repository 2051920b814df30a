package rig

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// TestMain lets this binary be the load as well, as the command itself is.
func TestMain(m *testing.M) {
	RunLoad()
	workload.RunChild()
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatal("not root, but REQUIRE_BPF=1")
	}
	t.Skip("needs root: it makes a network namespace")
}

func TestChurnOnce(t *testing.T) {
	needRoot(t)
	c, err := ChurnOnce(t.Context(), 2, 500)
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Total(); d.Connections != 500 || d.Elapsed <= 0 || d.CPU <= 0 || c.NetNS == 0 {
		t.Errorf("got %+v in namespace %d", d, c.NetNS)
	}
}

func TestStartChurn(t *testing.T) {
	needRoot(t)
	c, err := StartChurn(1)
	if err != nil {
		t.Fatal(err)
	}
	from := host.Monotonic()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if d, err := c.Between(from, host.Monotonic()); err == nil {
			if d.Connections%batchConnections != 0 {
				t.Errorf("got %d connections, want whole batches", d.Connections)
			}
			break
		}
		if err := c.Alive(); err != nil || time.Now().After(deadline) {
			t.Fatalf("no batch came: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Alive(); err == nil {
		t.Error("alive after its end")
	}
}

// TestWitness needs a kernel with BTF, as tcplimbo does.
func TestWitness(t *testing.T) {
	needRoot(t)
	load, err := PrepareChurn(1, 200)
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	w, err := host.NewWitness(load.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := load.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen, err := w.Read()
	if err != nil {
		t.Fatal(err)
	}
	// All but what the kernel hides, which is a small part.
	const made = 200 * Transitions
	if seen.Transitions > made || seen.Transitions < made*9/10 {
		t.Errorf("got %+v of %d", seen, made)
	}
	if others, err := host.NewWitness(1); err != nil {
		t.Error(err)
	} else if seen, err := others.Read(); err != nil || seen.Transitions != 0 {
		t.Errorf("in a namespace that does not exist: got %+v, %v", seen, err)
	} else if err := others.Close(); err != nil {
		t.Error(err)
	}
}

func TestHold(t *testing.T) {
	h, err := Hold(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseWait(t *testing.T) {
	needRoot(t)
	s, err := CloseWait(t.Context(), 5, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Truths) != 5 || s.Truths[0].Cookie == 0 || s.Truths[0].State != "close_wait" {
		t.Errorf("got %d truths, the first %+v", len(s.Truths), s.Truths[0])
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// program is an observer that is a shell script, ready at once.
func program(script string) *Observer {
	return &Observer{
		Name: "script", argv: []string{"sh", "-c", script},
		ready: func(context.Context, *Running) error { return nil },
	}
}

func TestRunning(t *testing.T) {
	b := &Bench{Dir: t.TempDir()}
	r, err := b.Start(t.Context(), program("echo one; echo two; echo why >&2; sleep 60 | cat"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := CountLines(r.Output, func([]byte) bool { return true })
	if err != nil || n != 2 {
		t.Errorf("got %d lines, %v", n, err)
	}
	if r.Messages() != "why" {
		t.Errorf("got messages %q", r.Messages())
	}
	group, err := host.Group(r.PID)
	if err != nil || len(group) < 2 {
		t.Errorf("got processes %v, %v; want the whole pipeline", group, err)
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Output); !os.IsNotExist(err) {
		t.Errorf("the output is still there: %v", err)
	}
	// The shell's children are told at the same time, and reaped by process 1.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := host.Group(r.PID)
		if err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v are left", left)
		}
	}
}

func TestFailureIsTold(t *testing.T) {
	b := &Bench{Dir: t.TempDir()}
	r, err := b.Start(t.Context(), program("echo the reason >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	<-r.done
	for _, err := range []error{r.Alive(), r.Settle(t.Context()), r.End()} {
		if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("got %v", err)
		}
	}
}

func TestFinish(t *testing.T) {
	var out strings.Builder
	cpu, err := Finish(t.Context(), &out, "sh", "-c", "echo done")
	if err != nil || out.String() != "done\n" || cpu < 0 || cpu > 10*time.Second {
		t.Errorf("got %v, %q, %v", cpu, out.String(), err)
	}
	if _, err := Finish(t.Context(), &out, "sh", "-c", "echo no >&2; false"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("got %v", err)
	}
}

func TestUntilEnds(t *testing.T) {
	b := &Bench{Dir: t.TempDir()}
	r, err := b.Start(t.Context(), program("sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	never := func() bool { return false }
	if err := r.until(t.Context(), "does it", time.Millisecond, time.Millisecond, never); err == nil {
		t.Error("past its time-out: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.until(ctx, "does it", time.Hour, time.Hour, never); err == nil {
		t.Error("interrupted: no error")
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}
