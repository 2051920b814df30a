package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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

// TestHangup: SIGHUP does not end the daemon, and it says what it did not do.
func TestHangup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limbo.yaml")
	if err := os.WriteFile(file, []byte("tick: 1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"no configuration file to reload":   nil,
		"does not reload the configuration": {"--config", file},
	} {
		errs := &signaled{wrote: make(chan struct{}, 1)}
		w := newTestWorld(t)
		w.stderr = errs
		w.runAgent = func(ctx context.Context, _ *agentInput) error {
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				return err
			}
			select {
			case <-errs.wrote:
			case <-time.After(deadline):
				t.Error("nothing is said of SIGHUP")
			}
			return ctx.Err()
		}
		code := w.run(t, append([]string{"run", "--metrics-addr="}, args...)...)
		if got := errs.text.String(); code != 0 || !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%v: exit code %d, said %q", args, code, got)
		}
	}
}
