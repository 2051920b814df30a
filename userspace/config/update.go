package config

import (
	"maps"
	"slices"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

// Update returns the configuration to go on with, now that next was loaded: what can
// change at run time is next's, all else stays. restart names the settings whose new
// value is not taken. Neither r nor next is changed.
func (r *Run) Update(next *Run) (merged *Run, restart []string) {
	run := *r
	run.sources, run.texts = maps.Clone(r.sources), maps.Clone(r.texts)
	settings := Settings()
	for i := range settings {
		s := &settings[i]
		switch text := next.texts[s.Name]; {
		case text == r.texts[s.Name]:
		case !s.Live:
			restart = append(restart, s.Name)
			continue
		default:
			if err := s.set(&run, text); err != nil {
				continue // cannot be: next took it
			}
		}
		run.sources[s.Name], run.texts[s.Name] = next.sources[s.Name], next.texts[s.Name]
	}
	run.Rules = rules.Set{Base: run.thresholds(), Rules: slices.Clone(next.Rules.Rules)}
	return &run, append(restart, run.keepKinds(r)...)
}

// keepKinds undoes what would turn a kind on or off, and returns the names of those
// settings: the programs in the kernel were loaded for the kinds of the start, and a kind
// that is off has no series in the metrics.
func (r *Run) keepKinds(before *Run) (undone []string) {
	least := r.Rules.Least()
	for _, s := range Settings() {
		kind := thresholdKinds[s.Name]
		switch {
		case kind == finding.KindNone || r.watched[kind] == (least[kind] > 0):
			continue
		case r.watched[kind]:
			r.Rules.Base[kind] = before.Rules.Base[kind]
		default:
			r.Rules.Base[kind] = 0
			for i := range r.Rules.Rules {
				r.Rules.Rules[i].Threshold[kind] = nil
			}
		}
		r.sources[s.Name], r.texts[s.Name] = before.sources[s.Name], before.texts[s.Name]
		undone = append(undone, s.Name)
	}
	r.takeBase()
	return undone
}

func (r *Run) takeBase() {
	b := &r.Rules.Base
	r.SynSent, r.FinWait2, r.CloseWait = b[finding.SynSentStalled], b[finding.FinWait2Dangling], b[finding.CloseWaitSilent]
	r.Established, r.Closing = b[finding.EstablishedStalled], b[finding.ClosingStalled]
}
