package nearest

import (
	"strings"
	"testing"
)

func TestTo(t *testing.T) {
	candidates := []string{"close-wait", "closing", "fin-wait2", "syn-sent", "output", "o", "log-file", "log-file-max-size"}
	tests := []struct{ word, want string }{
		{"close-wiat", "close-wait"},
		{"closewait", "close-wait"},
		{"CLOSE-WAIT", "close-wait"},
		{"fin-wait-2", "fin-wait2"},
		{"clsoing", "closing"},
		{"ouput", "output"},
		{"outp", "output"},
		{"syn", "syn-sent"},
		{"log", ""}, // two begin like this
		{"x", ""},
		{"pprof", ""},
		{"established", ""},
		{"", ""},
		{strings.Repeat("close-wait", 1000), ""},
	}
	for _, tt := range tests {
		if got := To(tt.word, candidates); got != tt.want {
			t.Errorf("To(%.20q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "acb", 1},
		{"abc", "abd", 1},
		{"kitten", "sitting", 3},
		{"ca", "abc", 3}, // the alignment distance, not Damerau's
	}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
