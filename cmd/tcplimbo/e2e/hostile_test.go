package e2e

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// What the hostile process calls itself: what breaks lines, terminals, quotes,
// pages, labels, tables and UTF-8. The mark tells where a name came through.
const (
	hostileMark = "EVIL"
	hostileComm = "\n\x1b[2J\"\xffEVIL"
	hostileName = hostileMark + "\n\x1b]0;owned\a\x9b31m\"'\\`$(id)<script>alert(1)<&\u202e\u2066\u2028\u200b\xff\xc3}{\t|\r%n%s"
)

// hostilePath makes a copy of the test's own program under a path of nearly
// 4 KiB, the longest that can be executed.
func hostilePath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for len(dir) < unix.PathMax-300-len(hostileName) {
		dir += "/" + hostileName + strings.Repeat("\u202e\n", 40)
	}
	dir += "/" + strings.Repeat("d", min(255, unix.PathMax-len(dir)-len(hostileName)-3))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := dir + "/" + hostileName
	copyFile(t, os.Args[0], path)
	return path
}

// TestHostileEverywhere: one real process whose comm and path hold newlines,
// escape sequences, quotes, markup, invalid UTF-8, bidi marks and 4 KiB of text
// goes through every output.
func TestHostileEverywhere(t *testing.T) {
	s := newScene(t)
	c := s.child(workload.ChildOptions{Executable: hostilePath(t)})
	if err := c.SetName(hostileComm); err != nil {
		t.Fatal(err)
	}
	// Its own transitions are what bears its names. All of a busy machine would be gigabytes.
	trace := []string{"trace", "--pid", strconv.Itoa(c.PID), "--output"}
	traces := []*written{
		startOutput(t, append(trace, "columns")...), startOutput(t, append(trace, "json")...),
		startTerminal(t, append(trace, "columns")...),
	}
	log, addr := filepath.Join(t.TempDir(), "findings.json"), freeAddr(t)
	run := append([]string{"run", "--log-file", log}, quick...)
	daemons := []*written{
		startOutput(t, append(run, "--metrics-addr", addr, "--output", "json")...),
		startOutput(t, append(run[:1:1], append(quick, "--metrics-addr", "", "--output", "console")...)...),
		startTerminal(t, append(run[:1:1], append(quick, "--metrics-addr", "", "--output", "console")...)...),
	}
	all := append(traces, daemons...)
	// A trace shows what happens after it has attached: go on until each has seen it. The
	// daemons find what was there before, in their time.
	for begin := time.Now(); ; time.Sleep(settle) {
		if len(s.truths) == 0 || slices.ContainsFunc(traces, func(o *written) bool { return !o.marked() }) {
			_, truths, err := c.Make(workload.Spec{Kind: workload.CloseWaitUnread, Payload: 1, Peers: workload.PeersHeld})
			if err != nil {
				t.Fatal(err)
			}
			s.add(truths...)
		}
		silent := slices.DeleteFunc(slices.Clone(all), (*written).marked)
		if len(silent) == 0 {
			break
		}
		if time.Since(begin) > readyTime {
			t.Fatalf("%q shows nothing of it: %s", silent[0].cmd.Args, tailOf(silent[0].stderr.String()))
		}
	}
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz"} {
		checkPage(t, "http://"+addr+path)
	}
	for _, args := range [][]string{{"list"}, {"list", "-o", "json"}} {
		o := startOutput(t, args...)
		o.end(0, true)
	}
	startTerminal(t, "list").end(0, true)
	for _, args := range [][]string{{"check"}, {"check", "-o", "json"}, {"explain", "eof_unread"}} {
		o := startOutput(t, args...)
		<-o.exited
		o.check(false)
	}
	for _, args := range [][]string{{"explain", hostileName}, {"list", "--state", hostileName}, {hostileName}, {"run", "--config", hostileName}} {
		o := startOutput(t, args...)
		o.end(exitUsage, false)
		checkOneLine(t, o.stderr.String())
	}
	for _, o := range all {
		if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		o.end(0, true)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, "the log file", text)
}

// checkPage: nothing that a process chose is on a page or in a label at all, and
// nothing breaks out of either.
func checkPage(t *testing.T, url string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || len(body) == 0 {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	if bytes.Contains(body, []byte(hostileMark)) || bytes.Contains(body, []byte("<script")) {
		t.Errorf("%s holds what a process called itself", url)
	}
	checkText(t, url, body)
}

// checkText: every line is valid UTF-8 that prints.
func checkText(t *testing.T, what string, text []byte) {
	t.Helper()
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if !utf8.Valid(line) {
			t.Errorf("%s: not UTF-8: %q", what, line)
		}
		for _, r := range string(line) {
			if !readable.Printable(r) && r != utf8.RuneError {
				t.Errorf("%s: %U in %q", what, r, line)
				break
			}
		}
	}
}

// checkLines: every line is a JSON record of the contract.
func checkLines(t *testing.T, what string, text []byte) {
	t.Helper()
	n := 0
	for line := range bytes.Lines(text) {
		n++
		_, err := parseRecord(line)
		// What `list` shows is no finding of an agent and has no identity.
		if err != nil && !strings.Contains(err.Error(), "tcplimbo.finding.id is missing") {
			t.Errorf("%s: %v: %.300q", what, err, line)
		}
	}
	if n == 0 {
		t.Errorf("%s has no line", what)
	}
	checkText(t, what, text)
}

// freeAddr returns an address that nobody listens on at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
