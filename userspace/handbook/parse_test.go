package handbook

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tcplimbo/tcplimbo/docs"
)

const goodPage = "intro\n# `a_kind`\n\nIt is\nstuck.\n\n## Meaning\n\nText.\n\n```console\n## Reason: `no`\n```\n" +
	"## Usual cause\n\n- One\n  item\n- two\n## How to confirm\nx\n## Fix in code\nx\n## Fix in sysctls\nx\n" +
	"## Reason: `a_reason`\n\nWhy.\n\n### Meaning\n### Usual cause\n### How to confirm\n### Fix in code\n### Fix in sysctls\n" +
	"## Record\n\n```json\n{}\n```\n"

func TestParsePage(t *testing.T) {
	entries, err := parsePage("a_kind", goodPage)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	kind, reason := entries[0], entries[1]
	if kind.Title() != "a_kind: kind" || kind.Summary != "It is stuck." || strings.Contains(kind.Markdown, "intro") {
		t.Errorf("kind: %+v", kind)
	}
	if reason.Title() != "a_reason: reason of a_kind" || reason.Summary != "Why." || strings.Contains(reason.Markdown, "json") {
		t.Errorf("reason: %+v", reason)
	}
	b := &Book{entries: entries}
	want := "a_kind: kind\n  It is stuck.\n\nMeaning\n  Text.\n\n      ## Reason: `no`\n\nUsual cause\n  - One item\n  - two\n\n" +
		"How to confirm\n  x\n\nFix in code\n  x\n\nFix in sysctls\n  x\n\nReasons\n  a_reason              Why.\n"
	if got := b.Text(entries[:1], Style{Width: 80}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestParsePageRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ old, new, says string }{
		"a section is missing":   {"## Fix in code\n", "", "sections"},
		"a section is misnamed":  {"### Usual cause", "### Cause", "a_reason: reason of a_kind: sections"},
		"sections change places": {"### Meaning\n### Usual cause\n", "### Usual cause\n### Meaning\n", "sections"},
		"no summary":             {"It is\nstuck.\n\n", "", "no sentence"},
	} {
		t.Run(name, func(t *testing.T) {
			page := strings.Replace(goodPage, tt.old, tt.new, 1)
			if page == goodPage {
				t.Fatal("nothing was changed")
			}
			if _, err := parsePage("a_kind", page); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one with %q", err, tt.says)
			}
		})
	}
}

func TestParseNamesThePage(t *testing.T) {
	if _, err := Parse(fstest.MapFS{}, "findings"); err == nil || !strings.Contains(err.Error(), "syn_sent_stalled.md") {
		t.Errorf("error %v", err)
	}
	pages := fstest.MapFS{"findings/syn_sent_stalled.md": {Data: []byte("# `syn_sent_stalled`\n\nX.\n")}}
	if _, err := Parse(pages, "findings"); err == nil || !strings.Contains(err.Error(), "findings/syn_sent_stalled.md") {
		t.Errorf("error %v", err)
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add(goodPage)
	page, err := docs.Findings.ReadFile("findings/close_wait_silent.md")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(page))
	f.Add("# `a`\n## Record\n## Reason: `b`\n```\n#")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parsePage("a_kind", text)
		if err != nil {
			return
		}
		b := &Book{entries: entries}
		b.Text(entries, Style{Width: 20})
		b.Markdown(entries)
	})
}
