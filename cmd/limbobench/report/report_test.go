package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
)

func example() *Report {
	return &Report{
		Machine: host.Machine{
			Kernel: "6.1.0", Arch: "amd64", CPU: "Example", CPUs: 2, Memory: 8 << 30, Go: "go1.26",
			Time: time.Date(2026, 3, 9, 7, 5, 0, 0, time.UTC), Load: 0.25,
		},
		Rows: []Row{
			{ID: "P1", What: "rate", Budget: "≥ 0.97", Reached: "0.981", Verdict: OK, Notes: []string{"ten pairs"}},
			{ID: "P2", What: "run time a|b", Budget: "≤ 90 ns", Reached: "120 ns", Verdict: Miss},
		},
		Peers: []Peer{
			{Name: "one", Rate: 0.5, CPU: 4.25, Lost: 3, Made: 100, RSS: 12e6},
			{Name: "two", Skipped: "not installed"},
			{Name: "three", Rate: 0.25, CPU: 1},
		},
	}
}

func TestPrint(t *testing.T) {
	var b bytes.Buffer
	if err := example().Print(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Linux 6.1.0 amd64, 2 CPUs (Example), 8 GB, go1.26, 2026-03-09 07:05 UTC, load before 0.25

id  what          budget   reached
P1  rate          ≥ 0.97   0.981    ok
P2  run time a|b  ≤ 90 ns  120 ns   MISS

  P1: ten pairs

The same load with other tools

tool   connection rate, relative to none  its CPU s per 1 M transitions  lost         RSS MB
one    0.50                               4.25                           3 of 100     12
two    skipped: not installed
three  0.25                               1.00                           not counted  0
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestMarkdown(t *testing.T) {
	got := example().Markdown()
	for _, line := range []string{
		"| id | what | budget | reached |  |\n|---|---|---|---|---|\n",
		"| P1 | rate | ≥ 0.97 | 0.981 | ok |\n",
		`| P2 | run time a\|b | ≤ 90 ns | 120 ns | MISS |` + "\n",
		"\n- P1: ten pairs\n",
		"| one | 0.50 | 4.25 | 3 of 100 | 12 |\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is not in\n%s", line, got)
		}
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := example().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Rows) != 2 || back.Rows[1].Verdict != Miss || back.Peers[0].Lost != 3 || back.Machine.CPUs != 2 {
		t.Errorf("got %+v", back)
	}
}

func TestWriteInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	doc := "# Title\n\n" + beginMark + "\nold\n" + endMark + "\n\nThe rest.\n"
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time finds what the first one wrote
		if err := example().WriteInto(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(got)
	if !strings.HasPrefix(text, "# Title\n\n"+beginMark+"\n\nLinux 6.1.0") || !strings.HasSuffix(text, "\n\n"+endMark+"\n\nThe rest.\n") {
		t.Errorf("got\n%s", text)
	}
	if strings.Contains(text, "old") || strings.Count(text, "| P1 |") != 1 {
		t.Errorf("the old table is still there:\n%s", text)
	}
}

func TestSpliceWithoutMarks(t *testing.T) {
	for _, doc := range []string{"", beginMark, endMark, endMark + beginMark} {
		if got, err := splice([]byte(doc), "text"); err == nil {
			t.Errorf("%q: got %q, want an error", doc, got)
		}
	}
}

func TestJudge(t *testing.T) {
	if Judge(true) != OK || Judge(false) != Miss {
		t.Error("a budget that is kept is ok, another is a MISS")
	}
}
