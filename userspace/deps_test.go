// Package userspace_test holds the module's packages to the one direction that
// imports may go: cmd → userspace → tracer/flow, cmd → tracer → tracer/flow.
package userspace_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tcplimbo/tcplimbo"

// rule forbids the packages under from to depend on those under to, whatever
// way the dependency takes. Paths in this module are written without it.
type rule struct {
	from string
	// but are packages under from that the rule is not about.
	but []string
	to  string
	// except are packages under to that are allowed.
	except []string
	why    string
}

var rules = []rule{
	{from: "userspace", to: "tracer", except: []string{"tracer/flow"}, why: "verdicts and sinks must build and be tested without a kernel"},
	{from: "userspace", to: "cmd", why: "commands join the parts, not the other way round"},
	{from: "userspace", to: "github.com/cilium/ebpf", why: "the tracer alone knows BPF"},
	{from: "tracer", to: "userspace", why: "the tracer decides nothing"},
	{from: "tracer", to: "cmd", why: "commands join the parts, not the other way round"},
	{from: "tracer/flow", to: module, except: []string{"tracer/flow"}, why: "flow is a leaf"},
}

// direct are rules about what a package's own files import.
var direct = []rule{
	{
		from: "", but: []string{"tracer", "cmd/limbobench", "cmd/limboload", "cmd/tcplimbo/e2e"},
		to: "github.com/cilium/ebpf", why: "the tracer alone knows BPF; only what measures or tests it from outside may look too",
	},
}

// goPackage is what is asked of `go list`.
type goPackage struct {
	path string
	// imports are those of its own files, tests included; deps are all that
	// it is built from, without what only tests import.
	imports, deps []string
}

func list(t *testing.T) []goPackage {
	t.Helper()
	const format = `{{.ImportPath}}|{{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}|{{join .Deps " "}}`
	cmd := exec.Command("go", "list", "-f", format, module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		all = append(all, goPackage{
			path:    fields[0],
			imports: strings.Fields(fields[1]),
			deps:    strings.Fields(fields[2]),
		})
	}
	return all
}

// full writes a path as Go does.
func full(path string) string {
	host, _, _ := strings.Cut(path, "/")
	switch {
	case path == "":
		return module
	case strings.Contains(host, "."):
		return path
	}
	return module + "/" + path
}

func under(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == full(root) || strings.HasPrefix(path, full(root)+"/")
	})
}

// broken returns what the rule forbids and the package does.
func (r rule) broken(from string, to []string) []string {
	var bad []string
	if !under(from, r.from) || under(from, r.but...) {
		return nil
	}
	for _, path := range to {
		if under(path, r.to) && !under(path, r.except...) {
			bad = append(bad, path)
		}
	}
	return bad
}

// standard tells a package of the standard library: its first element has no dot.
func standard(path string) bool {
	host, _, _ := strings.Cut(path, "/")
	return !strings.Contains(host, ".")
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		for _, r := range rules {
			for _, bad := range r.broken(p.path, append(slices.Clone(p.imports), p.deps...)) {
				t.Errorf("%s depends on %s: %s", p.path, bad, r.why)
			}
		}
		for _, r := range direct {
			for _, bad := range r.broken(p.path, p.imports) {
				t.Errorf("%s imports %s: %s", p.path, bad, r.why)
			}
		}
		for _, dep := range p.deps {
			if under(p.path, "tracer/flow") && !standard(dep) {
				t.Errorf("%s depends on %s: flow imports the standard library only", p.path, dep)
			}
		}
		seen[p.path] = true
	}
	for _, path := range []string{"tracer", "tracer/flow", "userspace/finding"} {
		if !seen[full(path)] {
			t.Errorf("go list does not know %s: the rules above were not tested on it", path)
		}
	}
}

// modulePath is a module as docs/dependencies.md names it.
var modulePath = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

func TestDependenciesAreExplained(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, m := range modulePath.FindAllStringSubmatch(string(doc), -1) {
		explained = append(explained, m[1])
	}
	for _, p := range list(t) {
		for _, path := range p.imports {
			if !standard(path) && !under(path, "") && !under(path, explained...) {
				t.Errorf("%s imports %s, which docs/dependencies.md does not explain", p.path, path)
			}
		}
	}
}

func TestRulesCanBreak(t *testing.T) {
	tests := []struct {
		from, to string
		rules    []rule
		broken   bool
	}{
		{"userspace/detect", "tracer", rules, true},
		{"userspace/detect", "tracer/flow", rules, false},
		{"userspace/detect", "tracer/flowers", rules, true},
		{"userspace/serve", "github.com/cilium/ebpf/link", rules, true},
		{"userspace/serve", "github.com/cilium/ebpfother", rules, false},
		{"userspace/serve", "userspace/finding", rules, false},
		{"tracer", "userspace/finding", rules, true},
		{"tracer", "tracer/flow", rules, false},
		{"tracer/flow", "tracer", rules, true},
		{"cmd/tcplimbo", "tracer", rules, false},
		{"cmd/tcplimbo", "github.com/cilium/ebpf", direct, true},
		{"cmd/tcplimbo/e2e", "github.com/cilium/ebpf", direct, false},
		{"tracer", "github.com/cilium/ebpf/btf", direct, false},
	}
	for _, tt := range tests {
		broken := slices.ContainsFunc(tt.rules, func(r rule) bool {
			return len(r.broken(full(tt.from), []string{full(tt.to)})) > 0
		})
		if broken != tt.broken {
			t.Errorf("%s importing %s: forbidden %v, want %v", tt.from, tt.to, broken, tt.broken)
		}
	}
}
