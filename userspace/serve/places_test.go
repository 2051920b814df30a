package serve

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// shown are the values of tcplimbo_sockets by place, all kinds and reasons together.
func shown(m *Metrics) map[place]int64 {
	got := map[place]int64{}
	m.open.each(func(at place, _ series, n int64) { got[at] += n })
	return got
}

func wantShown(t *testing.T, m *Metrics, want map[place]int64) {
	t.Helper()
	if got := shown(m); !maps.Equal(got, want) {
		t.Errorf("shown: %v, want %v", got, want)
	}
}

func TestWorkloadsHaveSeries(t *testing.T) {
	m := newTestMetrics()
	now := time.Unix(0, 0)
	m.open.now = func() time.Time { return now }
	web := &finding.Workload{Namespace: "shop", Pod: "web-1", Container: "app", ContainerID: "abc"}
	at := place{"shop", "web-1", "app"}

	m.Opened(finding.CloseWaitSilent, finding.EOFUnread, nil)
	m.Opened(finding.CloseWaitSilent, finding.EOFUnread, web)
	wantShown(t, m, map[place]int64{{}: 1, at: 1})

	// The workload becomes known, by another record of the same pod.
	again := *web
	m.Changed(finding.CloseWaitSilent, finding.EOFUnread, finding.EOFUnread, nil, &again)
	wantShown(t, m, map[place]int64{{}: 0, at: 2})
	m.Changed(finding.CloseWaitSilent, finding.EOFUnread, finding.EOFIgnored, web, web)
	if n := m.Open(finding.CloseWaitSilent, finding.EOFUnread); n != 1 {
		t.Errorf("%d open with the old reason, want 1", n)
	}

	m.Resolved(finding.CloseWaitSilent, finding.EOFIgnored, finding.OutcomeClosed, time.Second, web)
	m.Resolved(finding.CloseWaitSilent, finding.EOFUnread, finding.OutcomeClosed, time.Second, &again)
	wantShown(t, m, map[place]int64{{}: 0, at: 0})
	now = now.Add(forgetAfter - time.Second)
	wantShown(t, m, map[place]int64{{}: 0, at: 0})
	now = now.Add(time.Second)
	wantShown(t, m, map[place]int64{{}: 0})
}

// TestCrowdedWorkloads: what found no room counts as other, and goes back to 0
// there, also when room has come meanwhile.
func TestCrowdedWorkloads(t *testing.T) {
	m := newTestMetrics()
	now := time.Unix(0, 0)
	m.open.now = func() time.Time { return now }
	pod := func(i int) *finding.Workload { return &finding.Workload{Namespace: "n", Pod: fmt.Sprint(i)} }
	open := func(i int) { m.Opened(finding.SynSentStalled, finding.NoReply, pod(i)) }
	resolve := func(i int) {
		m.Resolved(finding.SynSentStalled, finding.NoReply, finding.OutcomeRefused, time.Second, pod(i))
	}
	for i := range maxPlaces {
		open(i)
	}
	open(maxPlaces)
	open(maxPlaces)
	open(maxPlaces + 1)
	got := shown(m)
	if got[others] != 3 || len(got) != maxPlaces+1 {
		t.Fatalf("%d series, %d among others, want %d and 3", len(got), got[others], maxPlaces+1)
	}
	resolve(0)
	now = now.Add(time.Hour)
	open(maxPlaces) // still among others: it has findings there
	if got := shown(m); got[others] != 4 {
		t.Errorf("%d among others, want 4", got[others])
	}
	for range 3 {
		resolve(maxPlaces)
	}
	resolve(maxPlaces + 1)
	if got := shown(m); got[others] != 0 || len(m.open.crowded) != 0 {
		t.Errorf("%d among others, %d places remembered, want none", got[others], len(m.open.crowded))
	}
	for i := 1; i < maxPlaces; i++ {
		resolve(i)
	}
	now = now.Add(forgetAfter)
	if got := shown(m); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
	if len(m.open.totals) != 1 || m.Open(finding.SynSentStalled, finding.NoReply) != 0 {
		t.Errorf("totals %v, want one 0", m.open.totals)
	}
}

// TestLongEmptyPlacesMakeRoom: a place that Prometheus has seen at 0 gives way.
func TestLongEmptyPlacesMakeRoom(t *testing.T) {
	p := newPlaces()
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	s := series{finding.SynSentStalled, finding.NoReply}
	for i := range maxPlaces {
		p.add(s, &finding.Workload{Pod: fmt.Sprint(i)}, 1)
	}
	p.add(s, &finding.Workload{Pod: "7"}, -1)
	p.add(s, &finding.Workload{Pod: "soon"}, 1)
	if _, own := p.counts[place{pod: "soon"}]; own {
		t.Error("a place gave way that nobody can have seen at 0")
	}
	now = now.Add(3 * time.Minute)
	p.add(s, &finding.Workload{Pod: "later"}, 1)
	if _, own := p.counts[place{pod: "later"}]; !own {
		t.Error("no place gave way")
	}
}

func TestHostileWorkload(t *testing.T) {
	m := newTestMetrics()
	bad := &finding.Workload{Namespace: "a\nb\"}", Pod: "\xff\xfe", Container: "\u202e" + string(make([]byte, 5000))}
	m.Opened(finding.SynSentStalled, finding.NoReply, bad)
	if _, err := m.Registry().Gather(); err != nil {
		t.Fatalf("a label breaks the scrape: %v", err)
	}
	if problems, err := testutil.GatherAndLint(m.Registry()); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	m.Resolved(finding.SynSentStalled, finding.NoReply, finding.OutcomeRefused, time.Second, bad)
	for at, n := range shown(m) {
		if n != 0 {
			t.Errorf("%d left at %q", n, at)
		}
	}
}
