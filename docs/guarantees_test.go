package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	packageOrTest  = regexp.MustCompile("`([a-z0-9/]+)`|\\b((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\\b")
	promiseHeading = regexp.MustCompile(`^## \d+\. `)
	testFunction   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

var update = flag.Bool("update", false, "write the figures of guarantees.md anew")

// figuresOf says by which budgets of performance.md a promise is measured.
var figuresOf = []struct {
	promise string
	budgets []string
}{
	{"1. no stuck socket is missed", []string{"P4"}},
	{"3. in time", []string{"P8", "P12"}},
	{"4. healthy connections cost almost nothing", []string{"P1", "P2", "P3", "P6"}},
	{"5. the host is never at risk", []string{"P7"}},
}

// TestFiguresAreTheLastOnes: guarantees.md cites what was measured last.
func TestFiguresAreTheLastOnes(t *testing.T) {
	const page = "guarantees.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin := strings.Index(string(text), "<!-- figures:begin")
	end := strings.Index(string(text), "<!-- figures:end -->")
	if begin < 0 || end < begin {
		t.Fatalf("%s has no place for figures", page)
	}
	begin += strings.IndexByte(string(text[begin:]), '\n') + 1
	want := figures(t)
	if *update {
		if err := os.WriteFile(page, []byte(string(text[:begin])+want+string(text[end:])), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text[begin:end]) != want {
		t.Errorf("%s does not say what performance.md does: go test ./docs -update", page)
	}
}

// figures makes the table out of performance.md's.
func figures(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("performance.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- limbobench:begin -->")
	table, _, _ = strings.Cut(table, "<!-- limbobench:end -->")
	machine, _, _ := strings.Cut(strings.TrimSpace(table), "\n")
	rows := make(map[string][]string)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			rows[strings.TrimSpace(cells[1])] = append(rows[strings.TrimSpace(cells[1])], strings.Join(cells[1:6], "|"))
		}
	}
	var out strings.Builder
	out.WriteString("\n" + machine + "\n\n| promise | id | what | budget | reached |  |\n|---|---|---|---|---|---|\n")
	for _, f := range figuresOf {
		for _, id := range f.budgets {
			if len(rows[id]) == 0 {
				t.Errorf("performance.md has no row %s", id)
			}
			for _, row := range rows[id] {
				out.WriteString("| " + f.promise + " |" + row + "|\n")
			}
		}
	}
	return out.String() + "\n"
}

// TestGuaranteesAreTested: each clause of guarantees.md names tests, and those exist.
func TestGuaranteesAreTested(t *testing.T) {
	text, err := os.ReadFile("guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	promises, clauses := 0, 0
	known := map[string]map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if promiseHeading.MatchString(line) {
			promises++
		}
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| clause |") {
			continue
		}
		clauses++
		in, named := "", 0
		for _, m := range packageOrTest.FindAllStringSubmatch(cells[2], -1) {
			if m[1] != "" {
				in = m[1]
				if known[in] == nil {
					known[in] = testsOf(t, in)
				}
				continue
			}
			named++
			if !known[in][m[2]] {
				t.Errorf("%s: %q has no %s", strings.TrimSpace(cells[1]), in, m[2])
			}
		}
		if named == 0 {
			t.Errorf("%s: no test is named", strings.TrimSpace(cells[1]))
		}
	}
	if promises != 6 || clauses < 20 {
		t.Errorf("%d promises and %d clauses found, want 6 and all of them", promises, clauses)
	}
}

// testsOf returns the tests of a package, by its folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%q has no tests: %v", folder, err)
	}
	tests := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunction.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
	}
	return tests
}
