package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/detect"
)

// dropsLinger is how long dropped packets are looked at after the last connect
// stopped waiting: where one is stuck, the next is not far.
const dropsLinger = 10 * time.Second

// watchDrops looks at dropped packets as long as a connect waits. One that is there
// at two ticks in a row tells a connect that waits from those that pass: where many
// are made, some always outlive the young generation. A SYN is sent again after a
// second (TCP_TIMEOUT_INIT), so that is early enough. What cannot be attached is
// tried again at the next tick: a reason is lost by that, not a finding.
func (a *Agent) watchDrops(now time.Duration) {
	connecting := a.detector.Connecting() > 0
	if connecting && a.wasConnecting {
		a.dropsUntil = now + dropsLinger
	}
	a.wasConnecting = connecting
	on := now < a.dropsUntil
	if on == a.dropsOn {
		return
	}
	if err := a.kernel.WatchSYN(on); err != nil {
		a.dropsFailed.Do(func() {
			a.log.Warn().Err(err).Msg("dropped SYNs are not told from those that nobody answers")
		})
		return
	}
	a.dropsOn = on
}

// findListeners looks, among what the walk over the descriptors found, for full
// listeners that unanswered connects are meant for.
func (a *Agent) findListeners() error {
	for i, v := range a.pending {
		if !detect.MayOverflow(v) {
			continue
		}
		l, err := a.owners.Overflowing(&a.queries[i], a.kernel)
		if err != nil {
			return fmt.Errorf("looking for a full listener: %w", err)
		}
		a.detector.Overflow(v, l)
	}
	return nil
}
