package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

const (
	testNS  = 4026539999
	birth   = 100 * time.Second
	atReady = 90 * time.Second
	atEnd   = 200 * time.Second
)

// stuckAt is a socket of the workload that was stuck from birth until the given
// time; 0 is for ever.
func stuckAt(until boot) *life {
	l := &life{Since: birth, SinceLatest: birth + time.Millisecond, Truth: workload.Truth{
		Kind: "close_wait_silent", Reason: "eof_unread", State: "close_wait", Outcome: "closed", NetNS: testNS, Cookie: 0xabc,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Peer: netip.MustParseAddrPort("127.0.0.1:2000"), PID: 7, FD: 3,
	}}
	if until != 0 {
		l.Until, l.UntilLatest = until, until+10*time.Millisecond
	}
	return l
}

// said is a line about it, read at the given time.
func said(t *testing.T, at boot, status string, change ...string) *record {
	t.Helper()
	line := fmt.Sprintf(`{"event.name":"tcplimbo.finding","tcplimbo.finding.id":"a1","tcplimbo.finding.status":%q,
		"tcplimbo.finding.kind":"close_wait_silent","tcplimbo.finding.reason":"eof_unread","tcplimbo.finding.duration_seconds":2.1,
		"tcplimbo.finding.threshold_seconds":2,"network.local.address":"127.0.0.1","network.local.port":1000,
		"network.peer.address":"127.0.0.1","network.peer.port":2000,"tcplimbo.socket.netns":%d,"tcplimbo.socket.cookie":"abc",
		"process.pid":7,"tcplimbo.socket.fd":3}`, status, testNS)
	if status == "resolved" {
		line = strings.Replace(line, `"process.pid"`, `"tcplimbo.finding.outcome":"closed","process.pid"`, 1)
	}
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(line, change[i]) {
			t.Fatalf("no %q to change", change[i])
		}
		line = strings.Replace(line, change[i], change[i+1], 1)
	}
	r, err := parseRecord([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	r.at = at
	r.Time = r.wall.Format(time.RFC3339Nano)
	return r
}

// TestJudge: the oracle is content with the truth and sees each way to break it.
func TestJudge(t *testing.T) {
	const opened, ended = birth + 2*time.Second + 100*time.Millisecond, 150 * time.Second
	open := func(t *testing.T, change ...string) *record { return said(t, opened, "open", change...) }
	resolved := func(t *testing.T, change ...string) *record {
		return said(t, ended+100*time.Millisecond, "resolved", change...)
	}
	one := func(l *life) []*life { return []*life{l} }
	for name, c := range map[string]struct {
		lives   []*life
		records func(*testing.T) []*record
		session session
		lossy   bool
		want    []fault
	}{
		"told and resolved": {
			lives: one(stuckAt(ended)), records: func(t *testing.T) []*record { return []*record{open(t), resolved(t)} },
		},
		"still stuck":      {lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t)} }},
		"too short to say": {lives: one(stuckAt(birth + time.Second))},
		"missed":           {lives: one(stuckAt(0)), want: []fault{missed}},
		"end missed":       {lives: one(stuckAt(ended)), records: func(t *testing.T) []*record { return []*record{open(t)} }, want: []fault{missed}},
		"killed before the end": {
			lives: one(stuckAt(ended)), records: func(t *testing.T) []*record { return []*record{open(t)} }, session: session{killed: true},
		},
		"not there in time": {lives: one(stuckAt(0)), session: session{end: birth + 3*time.Second}},
		"dark all the time": {
			lives: one(stuckAt(ended)), session: session{dark: []span{{birth - time.Second, ended + time.Second}}},
		},
		"dark, then missed": {
			lives: one(stuckAt(0)), session: session{dark: []span{{birth, birth + 20*time.Second}}}, want: []fault{missed},
		},
		"opened twice": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t), open(t, `"a1"`, `"a2"`)} },
			want: []fault{doubled},
		},
		"resolved twice": {
			lives: one(stuckAt(ended)), records: func(t *testing.T) []*record { return []*record{open(t), resolved(t), resolved(t)} },
			want: []fault{doubled},
		},
		"resolved, not opened": {
			lives: one(stuckAt(birth + time.Second)), records: func(t *testing.T) []*record { return []*record{resolved(t)} },
			want: []fault{untrue},
		},
		"resolved too soon": {
			lives: one(stuckAt(ended)), records: func(t *testing.T) []*record { return []*record{open(t), said(t, ended-time.Second, "resolved")} },
			want: []fault{untrue},
		},
		"too early": {
			lives: one(stuckAt(ended)), records: func(t *testing.T) []*record { return []*record{said(t, birth+time.Second, "open"), resolved(t)} },
			want: []fault{untrue},
		},
		"after the end": {
			lives: one(stuckAt(birth + time.Second)), records: func(t *testing.T) []*record { return []*record{open(t), resolved(t)} },
			want: []fault{untrue},
		},
		"nobody's socket": {records: func(t *testing.T) []*record { return []*record{open(t)} }, want: []fault{untrue}},
		"another cookie": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t, `"abc"`, `"abd"`)} },
			want: []fault{untrue, missed},
		},
		"somebody else's": {records: func(t *testing.T) []*record { return []*record{open(t, "4026539999", "4026531840")} }},
		"of a healthy connection": {
			records: func(t *testing.T) []*record { return []*record{open(t), resolved(t)} }, want: []fault{untrue, untrue},
		},
		"of a healthy connection, and the kernel showed it": {
			records: func(t *testing.T) []*record {
				r := open(t)
				r.shown = true
				return []*record{r, resolved(t)}
			},
		},
		"wrong reason": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t, "eof_unread", "eof_ignored")} },
			want: []fault{wrong},
		},
		"wrong reason after a loss": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t, "eof_unread", "eof_ignored")} }, lossy: true,
		},
		"wrong pid": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t, `pid":7`, `pid":8`)} }, want: []fault{wrong},
		},
		"a fork holds it too": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record {
				return []*record{open(t, `pid":7`, `pid":6,"tcplimbo.socket.holders":["6/3","7/3"]`)}
			},
		},
		"others hold it": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record {
				return []*record{open(t, `pid":7`, `pid":6,"tcplimbo.socket.holders":["6/3","8/3"]`)}
			},
			want: []fault{wrong},
		},
		"not the lowest pid of two": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record {
				return []*record{open(t, `pid":7`, `pid":8,"tcplimbo.socket.holders":["7/3","8/3"]`)}
			},
			want: []fault{wrong},
		},
		"no descriptor": {
			lives: one(stuckAt(0)), records: func(t *testing.T) []*record { return []*record{open(t, `,"tcplimbo.socket.fd":3`, "")} },
			want: []fault{wrong},
		},
		"wrong outcome": {
			lives: one(stuckAt(ended)),
			records: func(t *testing.T) []*record {
				return []*record{open(t), resolved(t, `outcome":"closed"`, `outcome":"reset"`)}
			},
			want: []fault{wrong},
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(io.Discard)
			j.lives = c.lives
			j.spaces[testNS] = &space{from: time.Second, slow: false}
			s := c.session
			s.ready = atReady
			if s.end == 0 {
				s.end = atEnd
			}
			if c.records != nil {
				s.records = c.records(t)
			}
			v := judge(j, []*session{&s}, rules{
				thresholds: map[string]time.Duration{"close_wait_silent": 2 * time.Second}, slack: 3 * time.Second, lossy: c.lossy,
			})
			var got []fault
			for _, complaint := range v.complaints {
				got = append(got, complaint.fault)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v: %v", got, c.want, v.complaints)
			}
		})
	}
}

// TestCookiesMayBeMissing: before Linux 5.12 the latest socket with the ports is meant.
func TestCookiesMayBeMissing(t *testing.T) {
	first, second := stuckAt(birth+time.Second), stuckAt(0)
	second.Since, second.SinceLatest = birth+10*time.Second, birth+10*time.Second
	second.Truth.Cookie = 0xdef
	byTuple := map[workload.Tuple][]*life{first.Truth.Tuple(): {first, second}}
	bare := func(at boot) *record { return said(t, at, "open", `"tcplimbo.socket.cookie":"abc",`, "") }
	if got := lifeOf(bare(birth+2*time.Second), byTuple); got != first {
		t.Errorf("early: %+v", got)
	}
	if got := lifeOf(bare(birth+20*time.Second), byTuple); got != second {
		t.Errorf("late: %+v", got)
	}
}

// TestEveryFaultIsNamedOnce and can be chosen.
func TestEveryFaultIsNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range troubles() {
		got, err := byName(f.name)
		if err != nil || got.what != f.what || seen[f.name] || f.what == "" {
			t.Errorf("%q: %+v, %v", f.name, got, err)
		}
		seen[f.name] = true
	}
	if _, err := byName("nap"); err == nil || !strings.Contains(err.Error(), "everything") {
		t.Errorf("an unknown fault: %v", err)
	}
}
