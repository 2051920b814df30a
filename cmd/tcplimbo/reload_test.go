package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// signaled lets writes be waited for.
type signaled struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote chan struct{}
}

func (s *signaled) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

// has waits until the text contains what is wanted.
func (s *signaled) has(t *testing.T, want string) bool {
	t.Helper()
	late := time.After(deadline)
	for {
		s.mu.Lock()
		text := s.text.String()
		s.mu.Unlock()
		if strings.Contains(text, want) {
			return true
		}
		select {
		case <-s.wrote:
		case <-late:
			t.Errorf("waited for %q, got %q", want, text)
			return false
		}
	}
}

// needHangup skips where the tests run under nohup: a Go program that is started so
// never gets the signal (os/signal).
func needHangup(t *testing.T) {
	t.Helper()
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored here, as nohup does")
	}
}

// SIGHUP does not end the daemon, also where there is nothing to reload.
func TestHangupWithoutFile(t *testing.T) {
	needHangup(t)
	errs := &signaled{wrote: make(chan struct{}, 1)}
	w := newTestWorld(t)
	w.stderr = errs
	w.runAgent = func(ctx context.Context, _ *agentInput) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			return err
		}
		errs.has(t, "no configuration file to reload")
		return ctx.Err()
	}
	if code := w.run(t, "run", "--metrics-addr="); code != 0 || strings.Count(errs.text.String(), "\n") != 1 {
		t.Errorf("exit code %d, said %q", code, errs.text.String())
	}
}

// A file is read again at SIGHUP and when it changes, in whatever way, and never taken in part.
func TestReload(t *testing.T) {
	needHangup(t)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		fresh := filepath.Join(dir, name+"_tmp")
		if err := os.Symlink(target, fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// As kubelet makes it: limbo.yaml -> ..data/limbo.yaml, ..data -> a directory.
	for _, sub := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("one/limbo.yaml", "close-wait: 11s\n")
	write("two/limbo.yaml", "close-wait: 12s\n")
	link("one", "..data")
	link("..data/limbo.yaml", "limbo.yaml")

	errs := &signaled{wrote: make(chan struct{}, 1)}
	w := newTestWorld(t)
	w.stderr = errs
	w.runAgent = func(ctx context.Context, in *agentInput) error {
		next := func(want time.Duration) {
			t.Helper()
			select {
			case s := <-in.Reload:
				if got := s.Rules.Base[finding.CloseWaitSilent]; got != want {
					t.Errorf("close-wait is %v, want %v", got, want)
				}
			case <-time.After(deadline):
				t.Errorf("no other settings arrived, want close-wait %v", want)
			}
		}
		link("two", "..data") // kubelet
		next(12 * time.Second)
		write("two/limbo.yaml", "close-wait: 13s\nrules:\n- match: {cidr: 10.0.0.0/33}\n  ignore: true\n")
		errs.has(t, `limbo.yaml:3:17: cidr: \"10.0.0.0/33\" is not a network`)
		errs.has(t, "the old one stays in effect")
		write("two/limbo.yaml", "close-wait: 14s\nlog-file: /nowhere\nestablished: 0\n") // an editor
		next(14 * time.Second)
		errs.has(t, `"settings":"log-file, established"`)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			return err
		}
		next(14 * time.Second)
		return ctx.Err()
	}
	if code := w.run(t, "run", "--metrics-addr=", "--config", filepath.Join(dir, "limbo.yaml")); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
