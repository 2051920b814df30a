package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/config"
)

// deadline is for what must happen at once on any machine.
const deadline = 20 * time.Second

func TestRunGetsItsConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limbo.yaml")
	if err := os.WriteFile(file, []byte("close-wait: 11s\nclosing: 12s\nfin-wait2: 13s\nmetrics-addr: ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newTestWorld(t)
	w.env["TCPLIMBO_CLOSING"] = "22s"
	w.env["TCPLIMBO_FIN_WAIT2"] = "23s"
	var got *config.Run
	w.runAgent = func(_ context.Context, in *agentInput) error {
		got = in.Config
		return nil
	}
	if code := w.run(t, "run", "--config", file, "--fin-wait2", "33s", "-o", "console"); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.errs.String())
	}
	if got.SynSent != 3*time.Second || got.CloseWait != 11*time.Second || got.Closing != 22*time.Second ||
		got.FinWait2 != 33*time.Second || got.Output != config.OutputConsole || got.MetricsAddr != "" {
		t.Errorf("got %+v", *got)
	}
}

func TestRunSaysWhereABadValueStands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limbo.yaml")
	if err := os.WriteFile(file, []byte("tick: 1s\nclose-wiat: 3s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newTestWorld(t)
	code := w.run(t, "run", "--config", file)
	want := "tcplimbo: " + file + `:2:1: unknown key "close-wiat"; did you mean "close-wait"?`
	if got := oneLine(t, w.errs.String()); code != 2 || got != want {
		t.Errorf("got %d %s, want 2 %s", code, got, want)
	}

	w = newTestWorld(t)
	w.env["TCPLIMBO_TICK"] = "fast"
	code = w.run(t, "run")
	want = `tcplimbo: environment variable TCPLIMBO_TICK: "fast" is not a duration; allowed: 10ms to 1m, such as 250ms`
	if got := oneLine(t, w.errs.String()); code != 2 || got != want {
		t.Errorf("got %d %s, want 2 %s", code, got, want)
	}
}

func TestRunEnds(t *testing.T) {
	failure := errors.New("reading the ring buffer: gone")
	tests := []struct {
		name  string
		args  []string
		agent func(context.Context, *agentInput) error
		code  int
		want  string
	}{
		{"by itself", nil, func(context.Context, *agentInput) error { return nil }, 0, ""},
		{"after its duration", []string{"--duration", "10ms"}, func(ctx context.Context, _ *agentInput) error {
			<-ctx.Done()
			return ctx.Err()
		}, 0, ""},
		{"by SIGTERM", nil, endBy(syscall.SIGTERM), 0, ""},
		{"by SIGINT", nil, endBy(syscall.SIGINT), 0, ""},
		{"with an error", nil, func(context.Context, *agentInput) error { return failure }, 1, "tcplimbo: reading the ring buffer: gone\n"},
		{"with an error while it was told to end", nil, func(ctx context.Context, in *agentInput) error {
			_ = endBy(syscall.SIGTERM)(ctx, in)
			return failure
		}, 1, "tcplimbo: reading the ring buffer: gone\n"},
		{"with a time-out of its own", nil, func(context.Context, *agentInput) error { return context.DeadlineExceeded }, 1, "tcplimbo: context deadline exceeded\n"},
		{"because nobody reads", nil, func(context.Context, *agentInput) error { return writing(syscall.EPIPE) }, 1, "tcplimbo: writing to standard output: broken pipe; the program that read it has ended\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTestWorld(t)
			w.runAgent = tt.agent
			code := w.run(t, append([]string{"run", "--metrics-addr="}, tt.args...)...)
			if code != tt.code || w.errs.String() != tt.want {
				t.Errorf("got %d %q, want %d %q", code, w.errs.String(), tt.code, tt.want)
			}
		})
	}
}

// endBy is an agent that sends its own process a signal and waits for the end.
func endBy(s syscall.Signal) func(context.Context, *agentInput) error {
	return func(ctx context.Context, _ *agentInput) error {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(deadline):
			return errors.New("the signal did not arrive")
		}
	}
}

func TestRunReopensOnSIGUSR1(t *testing.T) {
	w := newTestWorld(t)
	w.runAgent = func(_ context.Context, in *agentInput) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			return err
		}
		select {
		case <-in.Reopen:
			return nil
		case <-time.After(deadline):
			return errors.New("SIGUSR1 did not arrive")
		}
	}
	if code := w.run(t, "run", "--metrics-addr="); code != 0 {
		t.Errorf("exit code %d: %s", code, w.errs.String())
	}
}

func TestReadyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ready")
	agent := func(_ context.Context, in *agentInput) error {
		if before, err := os.Stat(file); err == nil && time.Since(before.ModTime()) < time.Hour {
			return errors.New("touched before it was ready")
		}
		return in.Ready()
	}
	w := newTestWorld(t)
	w.runAgent = agent
	if code := w.run(t, "run", "--metrics-addr=", "--ready-file", file); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.errs.String())
	}
	// A file that is there keeps its text and gets a new time.
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(file, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if code := w.run(t, "run", "--metrics-addr=", "--ready-file", file); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.errs.String())
	}
	text, err := os.ReadFile(file)
	info, statErr := os.Stat(file)
	if err != nil || statErr != nil || string(text) != "precious" || time.Since(info.ModTime()) > time.Hour {
		t.Errorf("text %q, %v, %v", text, err, statErr)
	}

	w = newTestWorld(t)
	w.runAgent = func(_ context.Context, in *agentInput) error { return in.Ready() }
	code := w.run(t, "run", "--metrics-addr=", "--ready-file", "/nonexistent/ready")
	want := "tcplimbo: touching ready file: open /nonexistent/ready: no such file or directory; name a file that can be written"
	if got := oneLine(t, w.errs.String()); code != 1 || got != want {
		t.Errorf("got %d %s", code, got)
	}
}

// A variable that is nearly a setting is told of once the agent runs, and no error.
func TestMistypedVariable(t *testing.T) {
	w := newTestWorld(t)
	w.env["TCPLIMBO_CLOSEWAIT"], w.env["TCPLIMBO_FIN_WAIT2"] = "5s", "5s"
	w.runAgent = func(_ context.Context, in *agentInput) error { return in.Ready() }
	code := w.run(t, "run", "--metrics-addr=")
	if said := w.errs.String(); code != 0 || strings.Count(said, `"level":"warn"`) != 1 ||
		!strings.Contains(said, `"variable":"TCPLIMBO_CLOSEWAIT","meant":"TCPLIMBO_CLOSE_WAIT"`) {
		t.Errorf("exit code %d: %s", code, said)
	}
	w = newTestWorld(t)
	w.env["TCPLIMBO_CLOSEWAIT"] = "5s"
	w.runAgent = func(context.Context, *agentInput) error { return errors.New("no") }
	if code := w.run(t, "run", "--metrics-addr="); code != 1 || oneLine(t, w.errs.String()) != "tcplimbo: no" {
		t.Errorf("exit code %d: %s", code, w.errs.String())
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, terminal{})
	log.Warn().Str("file", "a\nb").Msg("writing to log file fails")
	if got := oneLine(t, out.String()); !strings.HasPrefix(got, `{"level":"warn","file":"a\nb","time":"`) {
		t.Errorf("got %s", got)
	}
	out.Reset()
	log = newLogger(&out, terminal{Width: 80})
	log.Warn().Str("file", "a\nb").Msg("writing to log file fails")
	if got := oneLine(t, out.String()); !strings.Contains(got, `WRN writing to log file fails file="a\nb"`) {
		t.Errorf("got %s", got)
	}
}
