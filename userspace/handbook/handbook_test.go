package handbook

import (
	"slices"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/docs"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

func book(t *testing.T) *Book {
	t.Helper()
	b, err := Parse(docs.Findings, "findings")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reasonsOf is the contract's section 3.
var reasonsOf = map[finding.Kind][]finding.Reason{
	finding.SynSentStalled:     {finding.NoReply, finding.DroppedLocally, finding.Unreachable, finding.ListenerOverflow},
	finding.FinWait2Dangling:   {finding.HalfClosed, finding.Orphaned},
	finding.CloseWaitSilent:    {finding.EOFIgnored, finding.EOFUnread, finding.StillSending, finding.Unaccepted},
	finding.EstablishedStalled: {finding.PeerSilent, finding.ZeroWindow, finding.NotReading, finding.Unaccepted},
	finding.ClosingStalled:     {finding.PeerSilent, finding.ZeroWindow},
}

func TestEveryWordHasItsText(t *testing.T) {
	b := book(t)
	has := func(sort Sort, word, of string) {
		t.Helper()
		n := len(b.filter(func(e *Entry) bool { return e.Sort == sort && e.Word == word && e.Of == of }))
		if n != 1 {
			t.Errorf("%s %s of %q has %d texts, want 1", sort, word, of, n)
		}
	}
	want := 0
	seen := map[finding.Reason]bool{}
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		has(Kind, k.String(), "")
		want++
		if len(reasonsOf[k]) == 0 {
			t.Errorf("this test does not know the reasons of %s", k)
		}
		for _, r := range reasonsOf[k] {
			has(Reason, r.String(), k.String())
			seen[r] = true
			want++
		}
	}
	for r := finding.ReasonNone + 1; r < finding.ReasonCount; r++ {
		if !seen[r] {
			t.Errorf("no kind has the reason %s", r)
		}
	}
	for o := finding.OutcomeNone + 1; o < finding.OutcomeCount; o++ {
		has(Outcome, o.String(), "")
		want++
	}
	if len(b.entries) != want {
		t.Errorf("%d texts, want %d: some word is not in the contract", len(b.entries), want)
	}
}

func TestWordsAreThoseOfThePages(t *testing.T) {
	var words []string
	for _, e := range book(t).entries {
		if !slices.Contains(words, e.Word) {
			words = append(words, e.Word)
		}
	}
	got := slices.Sorted(slices.Values(Words()))
	if want := slices.Sorted(slices.Values(words)); !slices.Equal(got, want) {
		t.Errorf("got %q, the pages have %q", got, want)
	}
}

func TestFind(t *testing.T) {
	b := book(t)
	for word, want := range map[string]string{
		"eof_ignored":       "eof_ignored: reason of close_wait_silent",
		"EOF-Ignored":       "eof_ignored: reason of close_wait_silent",
		"close-wait-silent": "close_wait_silent: kind",
		"unreachable":       "unreachable: reason of syn_sent_stalled, unreachable: outcome",
		"peer_silent":       "peer_silent: reason of established_stalled, peer_silent: reason of closing_stalled",
		"none":              "",
		"":                  "",
		"outcomes":          "",
		"eof_ignored\x1b":   "",
	} {
		var titles []string
		for _, e := range b.Find(word) {
			titles = append(titles, e.Title())
		}
		if got := strings.Join(titles, ", "); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

// TestSummaries holds them to one sentence that says something.
func TestSummaries(t *testing.T) {
	for _, e := range book(t).entries {
		if !strings.HasSuffix(e.Summary, ".") || len(e.Summary) < 15 || len(e.Summary) > 110 {
			t.Errorf("%s: %q is no short sentence", e.Title(), e.Summary)
		}
		if strings.ContainsAny(e.Summary, "[*") {
			t.Errorf("%s: %q has marks that a list does not show", e.Title(), e.Summary)
		}
	}
}

// TestMarkdownIsThePage: what is printed stands word for word in the source.
func TestMarkdownIsThePage(t *testing.T) {
	for _, e := range book(t).entries {
		page := "outcomes"
		switch e.Sort {
		case Kind:
			page = e.Word
		case Reason:
			page = e.Of
		case Outcome:
		}
		source, err := docs.Findings.ReadFile("findings/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), e.Markdown) {
			t.Errorf("%s differs from its page", e.Title())
		}
		if e.Of == "" && e.Sort == Kind && strings.Contains(e.Markdown, "## Reason") {
			t.Errorf("%s runs on into its reasons", e.Title())
		}
	}
}

// TestPagesUseWhatIsRendered: of Markdown the printer knows headings,
// paragraphs, lists with dashes, fenced examples, links and code.
func TestPagesUseWhatIsRendered(t *testing.T) {
	for _, e := range book(t).entries {
		fenced := false
		for line := range strings.Lines(e.Markdown) {
			if isFence(line) {
				fenced = !fenced
				continue
			}
			bad := strings.HasPrefix(line, "|") || strings.HasPrefix(line, ">") || strings.Contains(line, "**") ||
				strings.HasPrefix(line, "* ") || strings.HasPrefix(line, "<") || strings.Count(line, "`")%2 != 0
			if !fenced && bad {
				t.Errorf("%s: not rendered: %s", e.Title(), line)
			}
		}
		if fenced {
			t.Errorf("%s: an example does not end", e.Title())
		}
	}
}

func TestText(t *testing.T) {
	b := book(t)
	for _, width := range []int{40, 80, 100} {
		for _, e := range b.entries {
			text := b.Text([]*Entry{e}, Style{Width: width})
			checkText(t, text, width)
			for _, s := range Sections {
				if !strings.Contains(text, "\n\n"+s+"\n  ") {
					t.Errorf("%s: no section %q in\n%s", e.Title(), s, text)
				}
			}
		}
		checkText(t, b.Contents(Style{Width: width}), width)
	}
}

// checkText fails for lines that could be shorter, marks that were left, and
// gaps of more than a line.
func checkText(t *testing.T, text string, width int) {
	t.Helper()
	if strings.Contains(text, "\n\n\n") || strings.HasSuffix(text, "\n\n") || strings.Contains(text, "\x1b") {
		t.Errorf("gaps or escapes in %q", text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		code := strings.HasPrefix(line, codeIndent) && !strings.HasPrefix(line, strings.Repeat(" ", wordColumn))
		if !code && readable.Width(line) > width && len(strings.Fields(line)) > 2 {
			t.Errorf("longer than %d: %q", width, line)
		}
		if strings.HasPrefix(line, "#") || !code && strings.Contains(line, "](") || strings.TrimRight(line, " ") != line {
			t.Errorf("marks or blanks left in %q", line)
		}
	}
}

func TestBold(t *testing.T) {
	b := book(t)
	text := b.Text(b.Find("no_reply"), Style{Width: 80, Bold: true})
	if want := len(Sections) + 1; strings.Count(text, "\x1b[1m") != want || strings.Count(text, "\x1b[0m") != want {
		t.Errorf("%d headings are bold, want %d", strings.Count(text, "\x1b[1m"), want)
	}
	without := strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(text)
	if without != b.Text(b.Find("no_reply"), Style{Width: 80}) {
		t.Error("bold changes more than the headings")
	}
}

func TestMarkdownOfAKindListsItsReasons(t *testing.T) {
	b := book(t)
	got := b.Markdown(b.Find("fin_wait2_dangling"))
	if !strings.HasPrefix(got, "# `fin_wait2_dangling`\n\n") || !strings.Contains(got, "\n## Reasons\n\n- `half_closed`: A process") {
		t.Errorf("got\n%s", got)
	}
	for _, e := range b.entries {
		if !strings.Contains(b.MarkdownContents(), "- `"+e.Word+"`: "+e.Summary) {
			t.Errorf("%s is not in the list", e.Title())
		}
	}
}
