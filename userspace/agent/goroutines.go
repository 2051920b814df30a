package agent

import (
	"context"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Goroutines asks Go programs what their goroutines do.
type Goroutines interface {
	// About returns what is known, nil if nothing is, and never waits.
	About(f *finding.Finding) *finding.Goroutines
	// Run asks, until ctx is done.
	Run(ctx context.Context)
}

// startGoroutines begins to ask programs, until ctx is done.
func (a *Agent) startGoroutines(ctx context.Context) {
	if a.cfg.Goroutines != nil {
		a.aside.Go(func() { a.cfg.Goroutines.Run(ctx) })
	}
}

// goroutines is what the process that a record names said of itself. One that
// resolved has nothing to add.
func (a *Agent) goroutines(f *finding.Finding) *finding.Goroutines {
	if a.cfg.Goroutines == nil || f.Status == finding.Resolved {
		return nil
	}
	return a.cfg.Goroutines.About(f)
}
