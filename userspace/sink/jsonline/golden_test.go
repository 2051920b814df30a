package jsonline

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

func testEncoder() *Encoder { return New(Options{Host: "db-1", Node: "node-a.example"}) }

func TestGolden(t *testing.T) {
	e := testEncoder()
	for _, s := range sinktest.Findings() {
		t.Run(s.Name, func(t *testing.T) {
			sinktest.Golden(t, s.Name+".json", e.AppendFinding(nil, &s.Finding))
		})
	}
	t.Run("transitions", func(t *testing.T) {
		var out []byte
		for _, tr := range sinktest.Transitions() {
			out = e.AppendTransition(out, &tr)
		}
		sinktest.Golden(t, "transitions.json", out)
	})
	t.Run("groups", func(t *testing.T) {
		var out []byte
		for _, g := range sinktest.Groups() {
			out = e.AppendGroup(out, &g)
		}
		sinktest.Golden(t, "groups.json", out)
	})
	t.Run("losses", func(t *testing.T) {
		var out []byte
		for _, l := range sinktest.Losses() {
			out = e.AppendLoss(out, &l)
		}
		sinktest.Golden(t, "losses.json", out)
	})
}
