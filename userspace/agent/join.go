package agent

import (
	"context"
	"time"
)

// joinMost is how long the end waits for what runs beside the loop: it may be
// reading another program's file on a disk that does not answer.
const joinMost = time.Second

// join ends what runs beside the loop. Whoever gave it to the agent may close
// afterwards what it uses.
func (a *Agent) join(stop context.CancelFunc) {
	stop()
	done := make(chan struct{})
	go func() {
		a.aside.Wait()
		close(done)
	}()
	late := time.NewTimer(joinMost)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		a.log.Warn().Dur("waited", joinMost).Msg("looking up functions or goroutines does not end; the agent ends without")
	}
}
