package readable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSafe(t *testing.T) {
	for name, tc := range map[string]struct {
		in    string
		limit int
		want  string
	}{
		"plain":               {"postgres: writer", 64, "postgres: writer"},
		"empty":               {"", 8, ""},
		"letters":             {"größe 日本 α", 64, "größe 日本 α"},
		"escape sequence":     {"\x1b[31mred", 64, `\x1b[31mred`},
		"newline and tab":     {"a\nb\tc\r", 64, `a\x0ab\x09c\x0d`},
		"nul and delete":      {"a\x00b\x7f", 64, `a\x00b\x7f`},
		"C1":                  {"a\u009bb", 64, `a\x9bb`},
		"bidi":                {"gpj\u202eexe", 64, `gpj\u202eexe`},
		"bidi isolate":        {"\u2066x\u2069", 64, `\u2066x\u2069`},
		"zero width":          {"a\u200bb\ufeff", 64, `a\u200bb\ufeff`},
		"soft hyphen":         {"a\u00adb", 64, `a\xadb`},
		"line separators":     {"a\u2028b\u2029c\u0085", 64, `a\u2028b\u2029c\x85`},
		"other spaces":        {"a\u00a0b\u3000c", 64, `a\xa0b\u3000c`},
		"tag characters":      {"a\U000e0041", 64, `a\U000e0041`},
		"hangul filler":       {"a\u3164b", 64, `a\u3164b`},
		"variation selector":  {"a\ufe0f", 64, `a\ufe0f`},
		"private use":         {"\ue000", 64, `\ue000`},
		"invalid bytes":       {"a\xff\xfeb", 64, "a\ufffd\ufffdb"},
		"overlong and halves": {"\xc0\x80\xe2\x82", 64, "\ufffd\ufffd\ufffd\ufffd"},
		"surrogate":           {"\xed\xa0\x80", 64, "\ufffd\ufffd\ufffd"},
		"backslash stays":     {`\x1b`, 64, `\x1b`},
		"fits exactly":        {"12345678", 8, "12345678"},
		"cut":                 {"123456789", 8, "12345…"},
		"cut before a rune":   {"1234日本", 8, "1234…"},
		"cut before escape":   {"1234\x1b[31m", 8, "1234…"},
		"escape fits exactly": {"1234\x1b", 8, `1234\x1b`},
		"no room for mark":    {"abcdef", 2, ""},
		"limit zero":          {"a", 0, ""},
		"limit negative":      {"a", -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Safe(tc.in, tc.limit); got != tc.want {
				t.Errorf("Safe(%q, %d) = %q, want %q", tc.in, tc.limit, got, tc.want)
			}
		})
	}
}

func TestSafePlainDoesNotAllocate(t *testing.T) {
	s := strings.Repeat("worker", 4)
	if n := testing.AllocsPerRun(100, func() { _ = Safe(s, 64) }); n != 0 {
		t.Errorf("%v allocations for a plain text, want 0", n)
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range []string{
		"nginx", "a\x1b]0;t\x07", "\xff\xfe", "a\u202eb", "日本", "\\x1b", "\"q\"",
		strings.Repeat("\n", 300), "\u2028", "é", "e\u0301",
	} {
		f.Add(s, 16)
		f.Add(s, 200)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := Safe(s, limit)
		if len(got) > max(limit, 0) {
			t.Fatalf("Safe(%q, %d) is %d bytes long", s, limit, len(got))
		}
		if !utf8.ValidString(got) {
			t.Fatalf("Safe(%q, %d) = %q is not UTF-8", s, limit, got)
		}
		for _, r := range got {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs) {
				t.Fatalf("Safe(%q, %d) = %q holds %U", s, limit, got, r)
			}
		}
		if again := Safe(got, limit); again != got {
			t.Fatalf("Safe is not idempotent: %q became %q", got, again)
		}
	})
}
