package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// selfEnv makes the test binary the command itself.
const selfEnv = "LIMBOLOAD_TEST_SELF"

func TestMain(m *testing.M) {
	if os.Getenv(selfEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), selfEnv+"=1")
	return cmd
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatal("needs root, and REQUIRE_BPF=1 forbids to skip")
	}
	t.Skip("needs root: TCP_REPAIR and network namespaces")
}

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		word string
	}{
		"help":            {[]string{"--help"}, 0, ""},
		"no command":      {nil, 0, ""},
		"help of command": {[]string{"stuck", "--help"}, 0, ""},
		"unknown command": {[]string{"nap"}, 2, "nap"},
		"unknown flag":    {[]string{"churn", "--nap"}, 2, "nap"},
		"no kind":         {[]string{"stuck"}, 2, "--kind"},
		"unknown kind":    {[]string{"stuck", "--kind", "nap"}, 2, "nap"},
		"unknown family":  {[]string{"stuck", "--kind", "all", "--family", "5"}, 2, "5"},
		"negative count":  {[]string{"stuck", "--kind", "all", "--count", "-1"}, 2, "-1"},
		"negative hold":   {[]string{"hold", "--connections", "-1"}, 2, "-1"},
		"no such netns":   {[]string{"churn", "--netns", "there-is-none"}, 1, "there-is-none"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(c.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d: %s", got, c.code, stderr.String())
			}
			if lines := strings.Count(stderr.String(), "\n"); c.code == 0 && lines != 0 || c.code != 0 && lines != 1 {
				t.Errorf("%d lines on standard error: %s", lines, stderr.String())
			}
			if !strings.Contains(stderr.String(), c.word) {
				t.Errorf("no %q in %s", c.word, stderr.String())
			}
		})
	}
}

// conversation is a running command that is talked to.
type conversation struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func talk(t *testing.T, args ...string) *conversation {
	t.Helper()
	return converse(t, command(args...))
}

func converse(t *testing.T, cmd *exec.Cmd) *conversation {
	t.Helper()
	c := &conversation{t: t, cmd: cmd}
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

// until returns the truths printed before the line with the word.
func (c *conversation) until(word string) []workload.Truth {
	c.t.Helper()
	var out []workload.Truth
	for c.out.Scan() {
		if strings.Contains(c.out.Text(), word) {
			return out
		}
		var tr workload.Truth
		if err := json.Unmarshal(c.out.Bytes(), &tr); err != nil {
			c.t.Fatal(err)
		}
		out = append(out, tr)
	}
	c.t.Fatalf("no line with %q", word)
	return nil
}

func TestStuck(t *testing.T) {
	needRoot(t)
	c := talk(t, "stuck", "--kind", "close-wait-unread", "--kind", "syn-sent", "--count", "3", "--family", "both",
		"--payload", "5", "--netns", "new")
	made := c.until(`"ready"`)
	if len(made) != 12 || made[0].PID != c.cmd.Process.Pid || made[0].Unread != 5 {
		t.Errorf("made %d sockets, the first is %+v", len(made), made[0])
	}
	if _, err := io.WriteString(c.in, "end\n"); err != nil {
		t.Fatal(err)
	}
	for _, tr := range c.until(`"ended"`) {
		if want := map[string]string{"close_wait": "closed", "syn_sent": "canceled"}[tr.State]; tr.Outcome != want {
			t.Errorf("outcome %q, want %q: %+v", tr.Outcome, want, tr)
		}
	}
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestHoldInParts has more connections than one process may have descriptors
// for (unless it may raise the limit, then one process does it all).
func TestHoldInParts(t *testing.T) {
	cmd := command("hold", "--connections", "150")
	limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 160 && exec "$0" "$@"`}, cmd.Args...)...)
	limited.Env = cmd.Env
	c := converse(t, limited)
	c.until(`"ready"`)
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
