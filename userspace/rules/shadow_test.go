package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		glob Glob
		text string
		want bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"?", "", false},
		{"?", "/", true},
		{"a*b", "ab", true},
		{"a*b", "axxb", true},
		{"a*b", "axxbc", false},
		{"*a*b*", "xxayybzz", true},
		{"a**b", "ab", true},
		{"*.service", "/x/nginx.service", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"[a]", "a", false},
		{"*a", strings.Repeat("a", 100) + "b", false},
	}
	for _, tt := range tests {
		if got := tt.glob.Matches(tt.text); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.glob, tt.text, got)
		}
	}
}

func TestGlobCovers(t *testing.T) {
	tests := []struct {
		a, b Glob
		want bool
	}{
		{"*", "*", true},
		{"*", "a?b*", true},
		{"a*", "ab*", true},
		{"ab*", "a*", false},
		{"?", "a", true},
		{"a", "?", false},
		{"?", "*", false},
		{"*?", "*", false},
		{"?*", "a*", true},
		{"a*c", "abc", true},
		{"a*c", "a*", false},
		{"??", "?*", false},
	}
	for _, tt := range tests {
		if got := tt.a.covers(tt.b); got != tt.want {
			t.Errorf("%q covers %q: %v", tt.a, tt.b, got)
		}
	}
}

// FuzzGlob: what covers another matches all that the other matches.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][3]string{{"*", "a*", "ab"}, {"a?*", "a*", "a"}, {"*b*", "?b?", "xby"}, {"***?", "*?**", "\xff*"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, a, b, text string) {
		if len(a)+len(b)+len(text) > 1<<12 {
			return
		}
		if Glob(a).covers(Glob(b)) && Glob(b).Matches(text) && !Glob(a).Matches(text) {
			t.Errorf("%q covers %q, which matches %q", a, b, text)
		}
		if !strings.ContainsAny(a, "*?") && Glob(a).Matches(text) != (a == text) {
			t.Errorf("%q matches %q", a, text)
		}
	})
}

func TestContradicts(t *testing.T) {
	tests := []struct {
		name  string
		match Match
		want  bool
	}{
		{"nothing", Match{}, false},
		{"ports at both ends", Match{LocalPorts: []PortRange{{1, 9}}, PeerPorts: []PortRange{{10, 20}}}, false},
		{"port is one of them", Match{Ports: []PortRange{{9, 9}}, LocalPorts: []PortRange{{1, 9}}, PeerPorts: []PortRange{{10, 20}}}, false},
		{"port is the other end's", Match{Ports: []PortRange{{30, 30}}, LocalPorts: []PortRange{{1, 9}}}, false},
		{"port is neither", Match{Ports: []PortRange{{30, 30}}, LocalPorts: []PortRange{{1, 9}}, PeerPorts: []PortRange{{10, 20}}}, true},
		{"families", Match{LocalCIDRs: prefixes("10.0.0.0/8"), PeerCIDRs: prefixes("fd00::/8")}, true},
		{"one family of two", Match{LocalCIDRs: prefixes("10.0.0.0/8", "::1/128"), PeerCIDRs: prefixes("fd00::/8")}, false},
		{"network of neither", Match{CIDRs: prefixes("172.16.0.0/12"), LocalCIDRs: prefixes("10.0.0.0/8"), PeerCIDRs: prefixes("192.0.2.0/24")}, true},
		{"network within one", Match{CIDRs: prefixes("10.1.0.0/16"), LocalCIDRs: prefixes("10.0.0.0/8"), PeerCIDRs: prefixes("192.0.2.0/24")}, false},
		{"network of another family", Match{CIDRs: prefixes("::/0"), PeerCIDRs: prefixes("192.0.2.0/24")}, true},
	}
	for _, tt := range tests {
		if got := tt.match.Contradicts(); (got != "") != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestCovers(t *testing.T) {
	web := Match{Executables: []Glob{"nginx"}, PeerPorts: []PortRange{{80, 90}}}
	tests := []struct {
		name string
		a, b Match
		want bool
	}{
		{"itself", web, web, true},
		{"everything", Match{}, web, true},
		{"fewer conditions", Match{PeerPorts: []PortRange{{80, 90}}}, web, true},
		{"more conditions", web, Match{PeerPorts: []PortRange{{80, 90}}}, false},
		{"a part of the range", Match{PeerPorts: []PortRange{{1, 100}}}, web, true},
		{"beyond the range", Match{PeerPorts: []PortRange{{1, 85}}}, web, false},
		{"either end", Match{Ports: []PortRange{{1, 100}}}, web, true},
		{"one end of either", web, Match{Executables: []Glob{"nginx"}, Ports: []PortRange{{80, 90}}}, false},
		{"smaller network", Match{CIDRs: prefixes("10.0.0.0/8")}, Match{LocalCIDRs: prefixes("10.1.0.0/16")}, true},
		{"larger network", Match{CIDRs: prefixes("10.1.0.0/16")}, Match{LocalCIDRs: prefixes("10.0.0.0/8")}, false},
		{"base name and path", Match{Executables: []Glob{"nginx"}}, Match{Executables: []Glob{"/usr/*/nginx"}}, true},
		{"base name and open path", Match{Executables: []Glob{"ngin*"}}, Match{Executables: []Glob{"/usr/ngin*"}}, false},
		{"path and base name", Match{Executables: []Glob{"/usr/sbin/nginx"}}, Match{Executables: []Glob{"nginx"}}, false},
		{"kinds", Match{Kinds: []finding.Kind{1, 2}}, Match{Kinds: []finding.Kind{2}}, true},
		{"all kinds", Match{Kinds: []finding.Kind{1, 2}}, Match{}, false},
		{"labels", Match{Labels: []Label{{"a", []Glob{"*"}}}}, Match{Labels: []Label{{"b", []Glob{"1"}}, {"a", []Glob{"1"}}}}, true},
		{"other labels", Match{Labels: []Label{{"a", []Glob{"*"}}}}, Match{Labels: []Label{{"b", []Glob{"1"}}}}, false},
	}
	for _, tt := range tests {
		if got := tt.a.Covers(&tt.b); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A rule that is refused because another covers it must really never come to its turn,
// and one that contradicts itself must match nothing.
func TestCoversIsSound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	covered, contradicting := 0, 0
	for range 20000 {
		a, b := randomMatch(r), randomMatch(r)
		covers, contradiction := a.Covers(&b), b.Contradicts() != ""
		for range 20 {
			f := randomFacts(r)
			if b.socket(f) && b.owner(f) && (contradiction || covers && (!a.socket(f) || !a.owner(f))) {
				t.Fatalf("%+v covers %+v (%v), which contradicts itself (%v), but %s", a, b, covers, contradiction, show(f))
			}
		}
		if covers {
			covered++
		}
		if contradiction {
			contradicting++
		}
	}
	if covered < 100 || contradicting < 100 {
		t.Errorf("the test is empty: %d covered, %d contradicting", covered, contradicting)
	}
}

func show(f *Facts) string {
	return fmt.Sprintf("%v %v %+v", f.Sock.Local, f.Sock.Peer, f.Owner.Process.Path)
}

func pick[T any](r *rand.Rand, some ...T) []T {
	if r.IntN(3) > 0 {
		return nil
	}
	out := []T{some[r.IntN(len(some))]}
	if r.IntN(3) == 0 {
		out = append(out, some[r.IntN(len(some))])
	}
	return out
}

func randomMatch(r *rand.Rand) Match {
	ranges := []PortRange{{1, 1}, {1, 2}, {2, 3}, {3, 3}, {1, 3}}
	nets := prefixes("10.0.0.0/8", "10.0.0.0/31", "10.0.0.1/32", "fd00::/16", "::/0")
	names := []Glob{"a", "b", "a*", "?", "*", "/a/*", "/a/b", "/*/a", "/*", "*/b"}
	return Match{
		Kinds: pick(r, finding.SynSentStalled, finding.CloseWaitSilent),
		Ports: pick(r, ranges...), LocalPorts: pick(r, ranges...), PeerPorts: pick(r, ranges...),
		CIDRs: pick(r, nets...), LocalCIDRs: pick(r, nets...), PeerCIDRs: pick(r, nets...),
		Executables: pick(r, names...),
	}
}

func randomFacts(r *rand.Rand) *Facts {
	ends := [][2]string{{"10.0.0.1", "10.0.0.2"}, {"10.0.0.2", "10.9.9.9"}, {"fd00::1", "fe80::1"}}
	end := ends[r.IntN(len(ends))]
	at := func(addr string) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(1+r.IntN(3)))
	}
	paths := []string{"/a", "/b", "/a/b", "/a/a", "/c/a", "/ab", "/a/c/b", ""}
	return &Facts{
		Kind:  []finding.Kind{finding.SynSentStalled, finding.CloseWaitSilent}[r.IntN(2)],
		Sock:  &flow.Sock{ID: flow.ID{Local: at(end[r.IntN(2)]), Peer: at(end[r.IntN(2)])}},
		Owner: &finding.Owner{Process: finding.Process{Path: paths[r.IntN(len(paths))]}},
	}
}
