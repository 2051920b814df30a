package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is a program of testdata that runs and does what it is told.
type program struct {
	t     *testing.T
	pid   int
	in    io.WriteCloser
	lines *bufio.Scanner
}

// buildGo builds a program of testdata with more flags of go build.
func buildGo(t *testing.T, name string, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", bin}, flags...), "./testdata/"+name)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return bin
}

// buildC builds a C program of testdata; without a compiler the test is skipped.
func buildC(t *testing.T, source string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skipf("needs a C compiler: %v", err)
	}
	bin := filepath.Join(t.TempDir(), strings.TrimSuffix(source, ".c"))
	if out, err := exec.Command(cc, append(flags, "-o", bin, filepath.Join("testdata", source))...).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", source, err, out)
	}
	return bin
}

// startProgram starts a program and waits until it says that it is ready. It ends
// with the test.
func startProgram(t *testing.T, bin string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(bin, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, pid: cmd.Process.Pid, in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended with %v", filepath.Base(bin), err)
		}
	})
	p.answer("ready")
	return p
}

func (p *program) answer(want string) {
	p.t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		p.t.Fatalf("the program says %q, want %q: %v", p.lines.Text(), want, p.lines.Err())
	}
}

// do tells the program what to do and waits until it is done.
func (p *program) do(what string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, what+"\n"); err != nil {
		p.t.Fatal(err)
	}
	p.answer("done")
}

// marks are the lines of a source file that carry a comment "mark: NAME".
func marks(t *testing.T, source string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for i, line := range strings.Split(string(text), "\n") {
		if _, name, ok := strings.Cut(line, "mark: "); ok {
			found[strings.Fields(name)[0]] = i + 1
		}
	}
	return found
}
