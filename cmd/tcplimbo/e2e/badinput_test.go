package e2e

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The exit codes of the contract.
const (
	exitFailed     = 1
	exitUsage      = 2
	exitKernel     = 69
	exitPermission = 77
)

// Capability numbers (linux/capability.h).
const (
	capPerfmon = "38"
	capBPF     = "39"
	capsBPF    = "21,38,39" // SYS_ADMIN stands in for both
)

// badInput is a start that must fail with one line.
type badInput struct {
	args    []string
	env     []string
	uid     uint32 // start as this user instead of root
	confine string // see runConfined
	code    int
	words   []string // what the line must contain
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	unknownKey := filepath.Join(dir, "unknown.yaml")
	if err := os.WriteFile(unknownKey, []byte("close-wait: 3s\nclose-wiat: 4s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	for name, in := range map[string]badInput{
		"unknown command":   {args: []string{"rnu"}, code: exitUsage, words: []string{"rnu", "run"}},
		"unknown flag":      {args: []string{"run", "--close-wiat", "3s"}, code: exitUsage, words: []string{"close-wiat", "close-wait"}},
		"flag of run":       {args: []string{"trace", "--source", "ebpf"}, code: exitUsage, words: []string{"source"}},
		"flag of list":      {args: []string{"list", "--nope"}, code: exitUsage, words: []string{"nope"}},
		"bad duration":      {args: []string{"run", "--close-wait", "soon"}, code: exitUsage, words: []string{"close-wait", "soon"}},
		"no unit":           {args: []string{"run", "--close-wait", "30"}, code: exitUsage, words: []string{"close-wait", "30"}},
		"negative":          {args: []string{"run", "--syn-sent", "-3s"}, code: exitUsage, words: []string{"syn-sent", "-3s"}},
		"overflow":          {args: []string{"run", "--fin-wait2", "999999999h"}, code: exitUsage, words: []string{"fin-wait2"}},
		"no tick":           {args: []string{"run", "--tick", "0"}, code: exitUsage, words: []string{"tick"}},
		"all off":           {args: []string{"run", "--syn-sent", "0", "--fin-wait2", "0", "--close-wait", "0", "--closing", "0", "--established", "0"}, code: exitUsage},
		"bad source":        {args: []string{"run", "--source", "kprobe"}, code: exitUsage, words: []string{"kprobe", "sockdiag"}},
		"list, bad source":  {args: []string{"list", "--source", "kprobe"}, code: exitUsage, words: []string{"kprobe", "sockdiag"}},
		"bad output":        {args: []string{"run", "-o", "xml"}, code: exitUsage, words: []string{"xml", "json"}},
		"argument":          {args: []string{"run", "fast"}, code: exitUsage, words: []string{"fast"}},
		"missing value":     {args: []string{"run", "--close-wait"}, code: exitUsage, words: []string{"close-wait"}},
		"bad environment":   {args: []string{"run"}, env: []string{"TCPLIMBO_CLOSE_WAIT=-1s"}, code: exitUsage, words: []string{"TCPLIMBO_CLOSE_WAIT", "-1s"}},
		"unknown key":       {args: []string{"run", "--config", unknownKey}, code: exitUsage, words: []string{"close-wiat", "2"}},
		"no config":         {args: []string{"run", "--config", filepath.Join(dir, "none.yaml")}, code: exitUsage, words: []string{"none.yaml"}},
		"bad state":         {args: []string{"list", "--state", "sleeping"}, code: exitUsage, words: []string{"sleeping"}},
		"bad port":          {args: []string{"trace", "--port", "70000"}, code: exitUsage, words: []string{"70000"}},
		"bad pid":           {args: []string{"list", "--pid", "self"}, code: exitUsage, words: []string{"self"}},
		"bad cidr":          {args: []string{"trace", "--cidr", "10.0.0.0/99"}, code: exitUsage, words: []string{"10.0.0.0/99"}},
		"unpin nothing":     {args: []string{"unpin"}, code: exitUsage, words: []string{"--pin-path"}},
		"unpin elsewhere":   {args: []string{"unpin", "--pin-path", dir}, code: exitFailed, words: []string{dir, "BPF file system"}},
		"hostile argument":  {args: []string{"\x1b[31m\n\xff"}, code: exitUsage},
		"no root":           {args: []string{"run", "--source", "ebpf"}, uid: 65534, code: exitPermission, words: []string{"CAP_BPF"}},
		"list, no root":     {args: []string{"list", "--source", "ebpf"}, uid: 65534, code: exitPermission},
		"trace, no root":    {args: []string{"trace"}, uid: 65534, code: exitPermission, words: []string{"trace needs eBPF"}},
		"no capabilities":   {args: []string{"run", "--source", "ebpf"}, confine: confineCaps + capsBPF, code: exitPermission, words: []string{"CAP_BPF", "CAP_PERFMON"}},
		"no CAP_PERFMON":    {args: []string{"run", "--source", "ebpf"}, confine: confineCaps + capPerfmon + ",21", code: exitPermission, words: []string{"CAP_PERFMON"}},
		"no CAP_BPF":        {args: []string{"run", "--source", "ebpf"}, confine: confineCaps + capBPF + ",21", code: exitPermission, words: []string{"CAP_BPF"}},
		"no BTF":            {args: []string{"run", "--source", "ebpf"}, confine: confineNoBTF, code: exitKernel, words: []string{"BTF"}},
		"port taken":        {args: []string{"run", "--metrics-addr", taken.Addr().String()}, code: exitFailed, words: []string{taken.Addr().String(), "metrics-addr"}},
		"bad address":       {args: []string{"run", "--metrics-addr", "nowhere"}, code: exitUsage, words: []string{"nowhere"}},
		"log file":          {args: []string{"run", "--metrics-addr", "", "--log-file", dir}, code: exitFailed, words: []string{dir}},
		"log file's folder": {args: []string{"run", "--metrics-addr", "", "--log-file", dir + "/none/x"}, code: exitFailed, words: []string{dir + "/none"}},
		"ready file":        {args: []string{"run", "--metrics-addr", "", "--ready-file", dir + "/none/x"}, code: exitFailed, words: []string{dir + "/none"}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			if in.code != exitUsage { // those come before the question who asks
				needBPF(t)
			}
			t.Parallel()
			stdout, stderr, code := in.start(t)
			if code != in.code {
				t.Errorf("exit code %d, want %d", code, in.code)
			}
			if stdout != "" {
				t.Errorf("standard output: %s", stdout)
			}
			checkOneLine(t, stderr, in.words...)
		})
	}
}

func (in *badInput) start(t *testing.T) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, in.args...)
	if in.confine != "" {
		cmd = exec.CommandContext(ctx, os.Args[0], append([]string{binary}, in.args...)...)
		in.env = append(in.env, confineEnv+"="+in.confine)
	}
	if in.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: in.uid, Gid: in.uid}}
	}
	cmd.Env = append(os.Environ(), in.env...)
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("starting %v: %v", in.args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// checkOneLine checks that a failure is one line that begins with the
// program's name and says what it must.
func checkOneLine(t *testing.T, stderr string, words ...string) {
	t.Helper()
	line, rest, _ := strings.Cut(stderr, "\n")
	if rest != "" || !strings.HasSuffix(stderr, "\n") || !strings.HasPrefix(line, "tcplimbo: ") {
		t.Errorf("want exactly one line that begins with tcplimbo: on standard error, got %q", stderr)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("the line does not name %q: %q", w, line)
		}
	}
	for _, c := range line {
		if c < 0x20 || c == 0x7f || c == '\ufffd' && len(words) > 0 {
			t.Errorf("the line contains %U: %q", c, line)
		}
	}
	if strings.Contains(line, "goroutine ") || strings.Contains(line, "failed to") {
		t.Errorf("not a sentence for a user: %q", line)
	}
}
