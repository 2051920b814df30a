package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	packageOrTest = regexp.MustCompile("`([a-z0-9/]+)`|\\b((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\\b")
	testFunction  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// TestPromisesAreTested: each clause of promises.md names tests, and those exist.
func TestPromisesAreTested(t *testing.T) {
	text, err := os.ReadFile("promises.md")
	if err != nil {
		t.Fatal(err)
	}
	promises, clauses := 0, 0
	known := map[string]map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "## ") {
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
