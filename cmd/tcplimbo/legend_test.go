package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/table"
)

// TestLegends: the help explains each column that the commands print, and none
// that they do not.
func TestLegends(t *testing.T) {
	for _, tt := range []struct {
		command string
		legend  []legendEntry
		header  string
	}{
		{"list", listLegend, string(table.AppendSockets(nil, nil, table.Options{Pods: true}))},
		{"trace", traceLegend, strings.ReplaceAll(string(table.Trace{Wide: true}.AppendHeader(nil)), " -> ", " ")},
	} {
		var words []string
		for _, l := range tt.legend {
			words = append(words, strings.Split(l.word, ", ")...)
		}
		if want := strings.Fields(tt.header); !slices.Equal(sorted(words), sorted(want)) {
			t.Errorf("%s explains %v and prints %v", tt.command, words, want)
		}
		w := newTestWorld(t)
		if code := w.run(t, tt.command, "--help"); code != 0 || !strings.Contains(w.out.String(), "\nCOLUMNS\n") {
			t.Errorf("%s --help ends with %d and explains no columns:\n%s", tt.command, code, w.out.String())
		}
		w = newTestWorld(t)
		w.run(t, "man")
		for _, word := range words {
			if !strings.Contains(w.out.String(), strings.ReplaceAll(word, "-", `\-`)) {
				t.Errorf("the manual page does not explain %s of %s", word, tt.command)
			}
		}
	}
}

func sorted(words []string) []string {
	slices.Sort(words)
	return words
}
