// Package notify tells a service manager how the daemon is (sd_notify(3)). Without one
// (NOTIFY_SOCKET is not set) nothing is sent.
package notify

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Service is this daemon as its manager sees it. Its methods may be called from several
// goroutines.
type Service struct {
	// OnError is told, once, that the manager cannot be reached.
	OnError func(error)
	// Health returns "" or why the daemon does not do its work.
	Health func() string

	ready  atomic.Bool
	failed sync.Once
}

// Ready says that the daemon does its work; status is for people.
func (s *Service) Ready(status string) {
	s.ready.Store(true)
	s.send(daemon.SdNotifyReady, statusLine(status))
}

// Reloaded ends what Reloading began. Before Ready neither says anything.
func (s *Service) Reloaded() {
	if s.ready.Load() {
		s.send(daemon.SdNotifyReady)
	}
}

// Reloading says that the configuration is being read. The manager waits for Reloaded,
// and takes the time to tell this reload from others (Type=notify-reload).
func (s *Service) Reloading() {
	if !s.ready.Load() {
		return
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		s.fail(fmt.Errorf("reading the monotonic clock: %w", err))
		return
	}
	s.send(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000))
}

// Stopping says that the daemon has begun to end; then it is not ready any more.
func (s *Service) Stopping() {
	s.ready.Store(false)
	s.send(daemon.SdNotifyStopping, statusLine("stopping"))
}

// Watch keeps the manager's watchdog quiet until ctx is done, as long as the daemon does
// its work: at half of the time after which the manager would restart it.
func (s *Service) Watch(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.fail(fmt.Errorf("reading WATCHDOG_USEC: %w", err))
		return
	}
	if every <= 0 {
		return
	}
	ticker := time.NewTicker(max(every/2, time.Millisecond))
	defer ticker.Stop()
	was := ""
	for {
		why := s.Health()
		switch {
		case why == "":
			s.send(daemon.SdNotifyWatchdog)
		case why != was:
			s.send(statusLine(why))
		}
		was = why
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func statusLine(status string) string {
	// A line of its own: what stands behind a line break would be another message.
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, status)
}

func (s *Service) send(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		s.fail(fmt.Errorf("telling the service manager: %w", err))
	}
}

func (s *Service) fail(err error) { s.failed.Do(func() { s.OnError(err) }) }
