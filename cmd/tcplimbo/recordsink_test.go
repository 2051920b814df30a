package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/console"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// gated takes records while its gate is open.
type gated struct {
	gate chan struct{} // holds one while it is open
	text bytes.Buffer
}

func newGated() *gated {
	g := &gated{gate: make(chan struct{}, 1)}
	g.open()
	return g
}

func (g *gated) open()  { g.gate <- struct{}{} }
func (g *gated) close() { <-g.gate }

func (g *gated) Write(_ context.Context, p []byte) (int, error) {
	g.close()
	defer g.open()
	return g.text.Write(p)
}

func (g *gated) Batch() int   { return 4096 }
func (g *gated) Alive() error { return nil }
func (g *gated) Close() error { return nil }

// twoSinks are records that go to a sink with room for about so many, and to one
// with room for all.
func twoSinks(most int) (r *records, small, large *gated) {
	r = &records{
		json: jsonline.New(jsonline.Options{Host: "h"}), human: console.New(console.Options{}),
		stop: func() {},
	}
	small, large = newGated(), newGated()
	size := len(r.json.AppendFinding(nil, &sinktest.Findings()[0].Finding))
	r.lines = []*recordSink{
		{Sink: sink.New(small, sink.Options{QueueBytes: most * (size + 20)})},
		{Sink: sink.New(large, sink.Options{})},
	}
	return r, small, large
}

// said is what a sink was told of each finding or group, in order.
func said(t *testing.T, g *gated) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(g.text.String()) {
		var keys map[string]any
		if err := json.Unmarshal([]byte(line), &keys); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, what := range []string{"finding", "group"} {
			if id, ok := keys["tcplimbo."+what+".id"].(string); ok {
				status, _ := keys["tcplimbo."+what+".status"].(string)
				all[id] = append(all[id], status)
			}
		}
	}
	return all
}

// TestDroppedOpenIsSaidLater: what a full queue dropped as open is opened by the next
// word about it, and what ended meanwhile is not mentioned.
func TestDroppedOpenIsSaidLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, small, large := twoSinks(8)
		f := sinktest.Findings()[0].Finding
		tell := func(status finding.Status, ids ...int) {
			for _, id := range ids {
				f.ID, f.Status = fmt.Sprint(id), status
				r.Finding(&f)
			}
			synctest.Wait()
		}
		small.close()
		tell(finding.Open, 0) // it is under way, and not in the queue
		tell(finding.Open, 1, 2, 3, 4, 5, 6)
		tell(finding.Open, 7, 8, 9)
		g := finding.Group{ID: "g", Kind: f.Kind, Status: finding.Open, Time: f.Time, Count: 30, Opened: 30}
		r.Group(&g)
		tell(finding.Update, 0, 7)
		tell(finding.Resolved, 1, 8)
		small.open()
		synctest.Wait()
		tell(finding.Update, 7, 9, 7)
		tell(finding.Resolved, 0, 7)
		g.Status, g.Resolved = finding.Resolved, 30
		r.Group(&g)
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		got := said(t, small)
		for id, want := range map[string]string{
			"0": "[open resolved]", "1": "[open resolved]", "2": "[open]",
			"7": "[open update resolved]", "8": "[]", "9": "[open]", "g": "[resolved]",
		} {
			if fmt.Sprint(got[id]) != want {
				t.Errorf("%s: %v, want %s", id, got[id], want)
			}
		}
		// Three opens, one of a group, two updates, one end that says nothing by itself.
		if st := r.lines[0].Stats(); st.DroppedFindings != 7 {
			t.Errorf("%+v, want 7 dropped", st)
		}
		if all := said(t, large); fmt.Sprint(all["8"]) != "[open resolved]" || r.lines[1].Stats().DroppedFindings != 0 {
			t.Errorf("the other sink has %v", all)
		}
	})
}

// TestWordsOfASmallSink says at random, with a reader that stops and goes on: whatever is
// dropped, nothing is updated or ended that was not opened, and all is counted.
func TestWordsOfASmallSink(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			r, small, _ := twoSinks(5 + rnd.IntN(20))
			f := sinktest.Findings()[0].Finding
			var open []string
			held, words := false, uint64(0)
			for i := range 1000 {
				switch k := rnd.IntN(20); {
				case k == 0 && held:
					small.open()
					held = false
				case k == 1 && !held:
					synctest.Wait()
					small.close()
					held = true
				case k < 8:
					f.ID, f.Status = fmt.Sprint("finding ", i), finding.Open
					open = append(open, f.ID)
				case len(open) == 0:
					continue
				default:
					at := rnd.IntN(len(open))
					f.ID, f.Status = open[at], finding.Update
					if k < 13 {
						f.Status, open = finding.Resolved, slices.Delete(open, at, at+1)
					}
				}
				if f.ID != "" {
					r.Finding(&f)
					words++
				}
				f.ID = ""
				if !held {
					synctest.Wait()
				}
			}
			if held {
				small.open()
			}
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
			for id, statuses := range said(t, small) {
				for i, s := range statuses {
					if (s == "open") != (i == 0) || s == "resolved" && i < len(statuses)-1 {
						t.Errorf("seed %d: %s is %v", seed, id, statuses)
					}
				}
			}
			if st := r.lines[0].Stats(); st.Written+st.DroppedFindings != words || st.DroppedFindings == 0 {
				t.Errorf("seed %d: %d said, %+v", seed, words, st)
			}
		})
	}
}
