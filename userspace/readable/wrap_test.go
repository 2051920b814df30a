package readable

import (
	"slices"
	"testing"
)

func TestWrap(t *testing.T) {
	tests := []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 6, []string{"one", "two", "three"}},
		{"exceedingly long", 4, []string{"exceedingly", "long"}},
		{"字字 字字", 8, []string{"字字", "字字"}},
		{"字字 字字", 9, []string{"字字 字字"}},
		{"  spaces\n\tcollapse ", 80, []string{"spaces collapse"}},
		{"a b", -5, []string{"a", "b"}},
	}
	for _, tt := range tests {
		if got := Wrap(tt.text, tt.width); !slices.Equal(got, tt.want) {
			t.Errorf("Wrap(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}
