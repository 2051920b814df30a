// Package rules says what is too long for which socket, and which sockets are left
// alone. It is pure: what a rule is asked about is an argument.
package rules

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Thresholds are by kind; 0 turns a kind off.
type Thresholds = [finding.KindCount]time.Duration

// Rule is what holds for the sockets that match.
type Rule struct {
	Match Match
	// Ignore leaves the sockets alone.
	Ignore bool
	// Threshold is by kind, nil where the usual one holds.
	Threshold [finding.KindCount]*time.Duration
	// Line is where the rule stands in its file, from 1.
	Line int
}

// Match is the conditions of a rule. All that are given must hold, and of each one of
// its values. What a condition asks about and is not known of a socket does not hold.
type Match struct {
	Kinds []finding.Kind
	// Ports and CIDRs hold if one of the two ends does.
	Ports, LocalPorts, PeerPorts []PortRange
	CIDRs, LocalCIDRs, PeerCIDRs []netip.Prefix
	// Executables with a slash are compared with the whole path, else with the
	// base name.
	Executables, Cgroups, Namespaces []Glob
	// Labels are the pod's; all of them must hold.
	Labels []Label
}

// PortRange is from its first to its last port, both included.
type PortRange struct{ First, Last uint16 }

// Label is a pod label and what its value may be.
type Label struct {
	Key    string
	Values []Glob
}

// Facts are what is known of a socket that may become a finding.
type Facts struct {
	Kind finding.Kind
	Sock *flow.Sock
	// Owner and Workload are nil where they are not known.
	Owner    *finding.Owner
	Workload *finding.Workload
	// Cgroups are those of the owner's process, as far as they are known.
	Cgroups []string
}

// Set is an ordered list of rules; the first that matches decides. The zero Set has
// none. It is not changed once it is in use, and may be used by several goroutines.
type Set struct {
	Base  Thresholds
	Rules []Rule
}

// Threshold returns what is too long for a socket, 0 if it is left alone.
func (s *Set) Threshold(f *Facts) time.Duration {
	for i := range s.Rules {
		if r := &s.Rules[i]; r.Match.socket(f) && r.Match.owner(f) {
			return r.threshold(f.Kind, s.Base)
		}
	}
	return s.Base[f.Kind]
}

// Foregone is Threshold where the owner makes no difference; false if it does, or may.
func (s *Set) Foregone(kind finding.Kind, sock *flow.Sock) (time.Duration, bool) {
	f := Facts{Kind: kind, Sock: sock}
	for i := range s.Rules {
		r := &s.Rules[i]
		switch {
		case !r.Match.socket(&f):
		case r.Match.asksOwner():
			return 0, false
		default:
			return r.threshold(kind, s.Base), true
		}
	}
	return s.Base[kind], true
}

func (r *Rule) threshold(kind finding.Kind, base Thresholds) time.Duration {
	switch own := r.Threshold[kind]; {
	case r.Ignore:
		return 0
	case own != nil:
		return *own
	}
	return base[kind]
}

// AsksCgroup reports whether a rule asks about cgroups.
func (s *Set) AsksCgroup() bool {
	return slices.ContainsFunc(s.Rules, func(r Rule) bool { return len(r.Match.Cgroups) > 0 })
}

// Least returns, by kind, the shortest threshold that a socket can have; 0 where the
// kind is turned off for all.
func (s *Set) Least() Thresholds {
	least := s.Base
	for i := range s.Rules {
		for k, own := range s.Rules[i].Threshold {
			if own != nil && *own > 0 && (least[k] == 0 || *own < least[k]) {
				least[k] = *own
			}
		}
	}
	return least
}
