package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// stackSaid is the stack of a record: what was found for it, or for one that
// resolves what was said before.
func (a *Agent) stackSaid(v *detect.Verdict) *finding.Stack {
	if v.Stack == nil {
		return a.open[v.ID].stack
	}
	return v.Stack
}

// opened takes note of a finding that was written.
func (s *stacks) opened(v *detect.Verdict) {
	if s == nil || v.Kind != finding.CloseWaitSilent {
		return
	}
	s.closeWaits++
	s.leaks(v)
}

// restored takes note of a finding that an earlier run opened.
func (s *stacks) restored(k finding.Kind) {
	if s != nil && k == finding.CloseWaitSilent {
		s.closeWaits++
	}
}

func (s *stacks) closed(v *detect.Verdict) {
	if s != nil && v.Kind == finding.CloseWaitSilent {
		s.closeWaits--
	}
}

// leaks takes the holder of a forgotten connection for a process that will forget
// more of them.
func (s *stacks) leaks(v *detect.Verdict) {
	if s == nil || v.Kind != finding.CloseWaitSilent || v.Owner.Process.Relation != finding.RelationHolder {
		return
	}
	pid := v.Owner.Process.PID
	_, known := s.leaky[pid]
	if !known && len(s.leaky) >= leakyMost {
		return
	}
	s.leaky[pid] = v.At + leakyLinger
	s.leakyDirty = s.leakyDirty || !known
}

// tendStacks does what is due at a tick: it looks up what will be asked for soon,
// and tells the kernel side whose stacks matter. refused is how many it did not
// take so far.
func (a *Agent) tendStacks(now time.Duration, refused uint64) error {
	s := a.stacks
	if s == nil {
		return nil
	}
	s.refused = refused > 0
	if err := s.lookEarly(); err != nil {
		return fmt.Errorf("finding stacks: %w", err)
	}
	a.watchEOF(now)
	for pid, until := range s.leaky {
		if now >= until {
			delete(s.leaky, pid)
			s.leakyDirty = true
		}
	}
	if !s.leakyDirty {
		return nil
	}
	s.leakyDirty = false
	return s.Source.Leaky(slices.Collect(maps.Keys(s.leaky)))
}

// watchEOF looks at who reads the end of file as long as somebody forgets
// connections. Every receive on the host pays for it.
func (a *Agent) watchEOF(now time.Duration) {
	s := a.stacks
	if s.closeWaits > 0 {
		s.eofUntil = now + eofLinger
	}
	on := now < s.eofUntil
	if on == s.eofOn {
		return
	}
	if err := s.Source.WatchEOF(on); err != nil {
		s.eofFailed.Do(func() {
			a.log.Warn().Err(err).Msg("who reads the end of file is not seen; findings have the stack of accept or connect")
		})
		return
	}
	s.eofOn = on
}
