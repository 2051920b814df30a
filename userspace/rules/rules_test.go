package rules

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

var base = Thresholds{
	finding.SynSentStalled:     3 * time.Second,
	finding.FinWait2Dangling:   30 * time.Second,
	finding.CloseWaitSilent:    30 * time.Second,
	finding.EstablishedStalled: 0,
	finding.ClosingStalled:     time.Minute,
}

func facts() *Facts {
	return &Facts{
		Kind: finding.CloseWaitSilent,
		Sock: &flow.Sock{ID: flow.ID{Local: netip.MustParseAddrPort("10.1.2.3:8080"), Peer: netip.MustParseAddrPort("192.0.2.9:40000")}},
		Owner: &finding.Owner{Process: finding.Process{
			Executable: "nginx", Path: "/usr/sbin/nginx", Relation: finding.RelationHolder,
		}},
		Cgroups: []string{"/", "/system.slice/a.service"},
		Workload: &finding.Workload{
			Cgroup: "/kubepods.slice/pod1/abc", Namespace: "shop", Labels: map[string]string{"app": "web", "tier": ""},
		},
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestMatch(t *testing.T) {
	tests := []struct {
		name  string
		match Match
		want  bool
	}{
		{"nothing asked", Match{}, true},
		{"kind", Match{Kinds: []finding.Kind{finding.SynSentStalled, finding.CloseWaitSilent}}, true},
		{"other kind", Match{Kinds: []finding.Kind{finding.SynSentStalled}}, false},
		{"port at this end", Match{Ports: []PortRange{{1, 1}, {8080, 8080}}}, true},
		{"port at the other end", Match{Ports: []PortRange{{30000, 50000}}}, true},
		{"port at neither end", Match{Ports: []PortRange{{8081, 39999}}}, false},
		{"local port", Match{LocalPorts: []PortRange{{8080, 8080}}}, true},
		{"local port that is the peer's", Match{LocalPorts: []PortRange{{40000, 40000}}}, false},
		{"peer port", Match{PeerPorts: []PortRange{{40000, 40000}}}, true},
		{"peer port that is local", Match{PeerPorts: []PortRange{{8080, 8080}}}, false},
		{"network of one end", Match{CIDRs: prefixes("192.0.2.0/24")}, true},
		{"network of neither end", Match{CIDRs: prefixes("172.16.0.0/12", "::/0")}, false},
		{"local network", Match{LocalCIDRs: prefixes("10.0.0.0/8")}, true},
		{"peer network", Match{PeerCIDRs: prefixes("10.0.0.0/8")}, false},
		{"base name", Match{Executables: []Glob{"java", "nginx"}}, true},
		{"part of a name", Match{Executables: []Glob{"ngin"}}, false},
		{"path", Match{Executables: []Glob{"/usr/*"}}, true},
		{"other path", Match{Executables: []Glob{"/opt/*"}}, false},
		{"cgroup", Match{Cgroups: []Glob{"/kubepods*"}}, true},
		{"cgroup of the process", Match{Cgroups: []Glob{"/system.slice/*"}}, true},
		{"other cgroup", Match{Cgroups: []Glob{"/user.slice*"}}, false},
		{"namespace", Match{Namespaces: []Glob{"kube-*", "shop"}}, true},
		{"other namespace", Match{Namespaces: []Glob{"kube-*"}}, false},
		{"label", Match{Labels: []Label{{"app", []Glob{"api", "w*"}}}}, true},
		{"empty label", Match{Labels: []Label{{"tier", []Glob{"*"}}}}, true},
		{"one of two labels", Match{Labels: []Label{{"app", []Glob{"web"}}, {"tier", []Glob{"front"}}}}, false},
		{"no such label", Match{Labels: []Label{{"role", []Glob{"*"}}}}, false},
		{"all", Match{Ports: []PortRange{{8080, 8080}}, Namespaces: []Glob{"shop"}, Executables: []Glob{"nginx"}}, true},
		{"all but one", Match{Ports: []PortRange{{8080, 8080}}, Namespaces: []Glob{"shop"}, Executables: []Glob{"java"}}, false},
	}
	for _, tt := range tests {
		s := Set{Base: base, Rules: []Rule{{Match: tt.match, Ignore: true}}}
		if got := s.Threshold(facts()) == 0; got != tt.want {
			t.Errorf("%s: matches %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What is not known holds no condition.
func TestUnknownMatchesNothing(t *testing.T) {
	for name, m := range map[string]Match{
		"executable": {Executables: []Glob{"*"}}, "cgroup": {Cgroups: []Glob{"*"}}, "namespace": {Namespaces: []Glob{"*"}},
		"label": {Labels: []Label{{"app", []Glob{"*"}}}}, "port": {Ports: []PortRange{{1, 65535}}},
		"peer port": {PeerPorts: []PortRange{{1, 65535}}}, "network": {CIDRs: prefixes("0.0.0.0/0", "::/0")},
	} {
		s := Set{Base: base, Rules: []Rule{{Match: m, Ignore: true}}}
		for what, f := range map[string]*Facts{
			"nothing": {Kind: finding.CloseWaitSilent, Sock: &flow.Sock{}},
			"empty":   {Kind: finding.CloseWaitSilent, Sock: &flow.Sock{}, Owner: &finding.Owner{}, Workload: &finding.Workload{}},
		} {
			if s.Threshold(f) == 0 {
				t.Errorf("%s matches where %s is known", name, what)
			}
		}
	}
}

func TestFirstMatchDecides(t *testing.T) {
	second, hour, off := time.Second, time.Hour, time.Duration(0)
	web := Match{Namespaces: []Glob{"shop"}}
	s := Set{Base: base, Rules: []Rule{
		{Match: Match{PeerPorts: []PortRange{{5432, 5432}}}, Ignore: true},
		{Match: web, Threshold: [finding.KindCount]*time.Duration{finding.CloseWaitSilent: &hour, finding.EstablishedStalled: &second, finding.FinWait2Dangling: &off}},
		{Match: Match{}, Ignore: true},
	}}
	for kind, want := range map[finding.Kind]time.Duration{
		finding.CloseWaitSilent: hour, finding.EstablishedStalled: second, finding.FinWait2Dangling: 0, finding.ClosingStalled: time.Minute,
	} {
		f := facts()
		f.Kind = kind
		if got := s.Threshold(f); got != want {
			t.Errorf("%v: %v, want %v", kind, got, want)
		}
	}
	f := facts()
	f.Workload = nil
	if got := s.Threshold(f); got != 0 {
		t.Errorf("without a workload the last rule matches, got %v", got)
	}
	want := base
	want[finding.EstablishedStalled] = second
	if got := s.Least(); got != want {
		t.Errorf("least %v, want %v", got, want)
	}
}

func TestForegone(t *testing.T) {
	hour := time.Hour
	s := Set{Base: base, Rules: []Rule{
		{Match: Match{Kinds: []finding.Kind{finding.SynSentStalled}}, Ignore: true},
		{Match: Match{LocalPorts: []PortRange{{8080, 8080}}, Executables: []Glob{"nginx"}}, Ignore: true},
		{Match: Match{LocalPorts: []PortRange{{8000, 8999}}}, Threshold: [finding.KindCount]*time.Duration{finding.CloseWaitSilent: &hour}},
	}}
	tests := []struct {
		kind finding.Kind
		port string
		want time.Duration
		sure bool
	}{
		{finding.SynSentStalled, "8080", 0, true},
		{finding.CloseWaitSilent, "8080", 0, false},
		{finding.CloseWaitSilent, "8081", hour, true},
		{finding.ClosingStalled, "8081", time.Minute, true},
		{finding.CloseWaitSilent, "9000", 30 * time.Second, true},
	}
	for _, tt := range tests {
		sock := &flow.Sock{ID: flow.ID{Local: netip.MustParseAddrPort("[::1]:" + tt.port)}}
		if got, sure := s.Foregone(tt.kind, sock); got != tt.want || sure != tt.sure {
			t.Errorf("%v at %s: %v, %v, want %v, %v", tt.kind, tt.port, got, sure, tt.want, tt.sure)
		}
	}
}
