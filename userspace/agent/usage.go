package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Counted is what a kernel side may know beside sockets; one that is asked over
// netlink has no programs.
type Counted interface {
	// Census is how many sockets the last walk met, once it is done.
	Census() (flow.Census, error)
	Usage() (flow.Usage, error)
}

// usageEvery is how often maps and programs are asked about: some dozen system
// calls, so not at every tick, and more often than anybody scrapes.
const usageEvery = 5 * time.Second

// usage paces looks at the kernel side's own numbers.
type usage struct {
	counted Counted // nil where there are none
	next    time.Duration
}

func (a *Agent) lookAtUsage(now time.Duration) error {
	if a.usage.counted == nil || now < a.usage.next {
		return nil
	}
	a.usage.next = now + usageEvery
	u, err := a.usage.counted.Usage()
	if err != nil {
		return fmt.Errorf("reading the programs' numbers: %w", err)
	}
	a.meter.Usage(u)
	return nil
}

// countSockets takes what a walk that is done has counted.
func (a *Agent) countSockets() error {
	if a.usage.counted == nil {
		return nil
	}
	c, err := a.usage.counted.Census()
	if err != nil {
		return fmt.Errorf("counting sockets: %w", err)
	}
	a.meter.Census(c)
	return nil
}
