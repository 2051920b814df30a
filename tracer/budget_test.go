package tracer

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	// budgetFile has a line for each kernel, mode and program; `make verifier-budget` writes it.
	budgetFile = "testdata/verifier.txt"
	// growth is what a change may add without anybody having to say so.
	growth = 1.2
	// verifierLimit is where every kernel gives up (BPF_COMPLEXITY_LIMIT_INSNS); we
	// stay far away, because newer kernels follow more paths than older ones.
	verifierLimit = 1_000_000 / 2
)

// budgeted are the ways that programs are loaded in: knobs make the verifier cut
// other branches away in each.
var budgeted = map[string]Options{
	"run":      {Watch: stuckStates, Established: true, Stacks: flow.StacksOn},
	"trace":    {Trace: &Trace{}},
	"filtered": {Trace: &Trace{PID: 1, Port: 80, States: stuckStates}},
}

// budgetKey is a line's beginning: kernel, mode, program.
type budgetKey struct{ kernel, mode, program string }

func (k budgetKey) String() string { return k.kernel + " " + k.mode + " " + k.program }

var processed = regexp.MustCompile(`processed (\d+) insns`)

// verified returns how many instructions the verifier follows in each program.
func verified(t *testing.T, kernel string) map[budgetKey]int {
	t.Helper()
	requireBPF(t)
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[budgetKey]int)
	for mode, opts := range budgeted {
		opts.setDefaults(cpus)
		spec, err := loadSpec(opts, cpus)
		if err != nil {
			t.Fatal(err)
		}
		if opts.Trace != nil {
			leaveOut(spec, synPrograms...)
			leaveOut(spec, stackPrograms...)
		}
		if !hasTracepoint(btf.NewCache(), "sock_recv_length") {
			leaveOut(spec, "limbo_eof")
		}
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
			Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
		})
		if err != nil {
			t.Fatalf("loading for %s: %+v", mode, verifierLog(err))
		}
		for name, prog := range coll.Programs {
			m := processed.FindStringSubmatch(prog.VerifierLog)
			if m == nil {
				t.Fatalf("%s of %s: no count in the verifier's log: %q", name, mode, prog.VerifierLog)
			}
			counts[budgetKey{kernel, mode, name}], _ = strconv.Atoi(m[1])
		}
		coll.Close()
	}
	return counts
}

// runningKernel returns such as "6.12".
func runningKernel(t *testing.T) string {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	label := regexp.MustCompile(`^\d+\.\d+`).FindString(unix.ByteSliceToString(uts.Release[:]))
	if label == "" {
		t.Fatalf("release %q", uts.Release)
	}
	return label
}

func readBudget(t *testing.T) map[budgetKey]int {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(budgetFile))
	if err != nil {
		t.Fatal(err)
	}
	budget := make(map[budgetKey]int)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		n, err := strconv.Atoi(f[len(f)-1])
		if err != nil || len(f) != 4 {
			t.Fatalf("%s: %q", budgetFile, line)
		}
		budget[budgetKey{f[0], f[1], f[2]}] = n
	}
	return budget
}

// budgetFor is what a program may cost on a kernel: what is written for it, or
// where nobody has measured that kernel, the most that it costs on any.
func budgetFor(budget map[budgetKey]int, key budgetKey, measured bool) (int, bool) {
	if measured {
		n, ok := budget[key]
		return n, ok
	}
	most, found := 0, false
	for k, n := range budget {
		if k.mode == key.mode && k.program == key.program {
			most, found = max(most, n), true
		}
	}
	return most, found
}

// TestVerifierBudget: no program costs the verifier a fifth more than the last
// time somebody looked. Its output is what `make verifier-budget` gathers.
func TestVerifierBudget(t *testing.T) {
	kernel := runningKernel(t)
	counts := verified(t, kernel)
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b budgetKey) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		fmt.Printf("verifier-budget: %s %d\n", key, counts[key])
		if counts[key] > verifierLimit {
			t.Errorf("%s: %d instructions are followed, the limit of this project is %d", key, counts[key], verifierLimit)
		}
	}
	if os.Getenv("VERIFIER_BUDGET") == "measure" {
		return
	}
	budget := readBudget(t)
	measured := false
	for key := range budget {
		measured = measured || key.kernel == kernel
	}
	for _, key := range keys {
		allowed, ok := budgetFor(budget, key, measured)
		if !ok {
			t.Errorf("%s is not in %s: run make verifier-budget", key, budgetFile)
			continue
		}
		if float64(counts[key]) > growth*float64(allowed) {
			t.Errorf("%s: %d instructions, %d in %s: more than a fifth too many; if they are worth it, run make verifier-budget",
				key, counts[key], allowed, budgetFile)
		}
	}
	for key := range budget {
		if _, there := counts[key]; !there && key.kernel == kernel {
			t.Errorf("%s is in %s and not in the object: run make verifier-budget", key, budgetFile)
		}
	}
}
