package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/docs"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/handbook"
)

func TestExplain(t *testing.T) {
	tests := []struct {
		args []string
		// begins is what the output begins with, has what stands in it.
		begins, has string
	}{
		{nil, "Kinds and reasons\n  syn_sent_stalled ", "\n    eof_ignored "},
		{[]string{"-o", "markdown"}, "# Kinds and reasons\n\n- `syn_sent_stalled`: ", "\n  - `eof_ignored`: "},
		{[]string{"eof_ignored"}, "eof_ignored: reason of close_wait_silent\n  Nothing", "\nFix in code\n  "},
		{[]string{"EOF-IGNORED"}, "eof_ignored: reason", ""},
		{[]string{"close_wait_silent"}, "close_wait_silent: kind\n", "\nReasons\n  eof_ignored "},
		{[]string{"--output=markdown", "close_wait_silent"}, "# `close_wait_silent`\n", "\n## Usual cause\n"},
		{[]string{"unaccepted"}, "unaccepted: reason of close_wait_silent\n", "\nunaccepted: reason of established_stalled\n"},
		{[]string{"unreachable"}, "unreachable: reason", "\nunreachable: outcome\n"},
		{[]string{"-o", "markdown", "refused"}, "## Outcome: `refused`\n", "\n### Fix in sysctls\n"},
		{[]string{"CLOSE-WAIT"}, "close_wait_silent: kind\n", ""},
		{[]string{"LAST_ACK"}, "closing_stalled: kind\n", ""},
		{[]string{"established"}, "established: outcome\n", "established_stalled"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			w := newTestWorld(t)
			if code := w.run(t, append([]string{"explain"}, tt.args...)...); code != 0 || w.errs.Len() > 0 {
				t.Fatalf("exit code %d: %s", code, w.errs.String())
			}
			if got := w.out.String(); !strings.HasPrefix(got, tt.begins) || !strings.Contains(got, tt.has) {
				t.Errorf("want %q and %q in\n%s", tt.begins, tt.has, got)
			}
			if strings.Contains(w.out.String(), "\x1b") {
				t.Error("escape sequences, and it is no terminal")
			}
		})
	}
}

func TestExplainOnATerminal(t *testing.T) {
	longest := func(term terminal) (int, string) {
		w := newTestWorld(t)
		w.stdoutTerminal = term
		if code := w.run(t, "explain"); code != 0 {
			t.Fatalf("exit code %d: %s", code, w.errs.String())
		}
		most := 0
		for line := range strings.Lines(w.out.String()) {
			most = max(most, len(line)-1)
		}
		return most, w.out.String()
	}
	for _, tt := range []struct{ width, from, to int }{{60, 50, 60}, {0, 70, helpWidth}, {400, 90, explainWidth}} {
		if got, text := longest(terminal{Width: tt.width}); got < tt.from || got > tt.to || strings.Contains(text, "\x1b") {
			t.Errorf("width %d: the longest line has %d, want %d to %d", tt.width, got, tt.from, tt.to)
		}
	}
	if _, text := longest(terminal{Width: 80, Color: true}); !strings.HasPrefix(text, "\x1b[1mKinds and reasons\x1b[0m\n") {
		t.Error("the headings are not bold")
	}
}

func TestExplainRefuses(t *testing.T) {
	for args, says := range map[string]string{
		"eof_ignord":                 "did you mean `tcplimbo explain eof_ignored`?",
		"close-wait-silnt":           "did you mean `tcplimbo explain close_wait_silent`?",
		"quux":                       "`tcplimbo explain` lists the words",
		"time_wait":                  "TIME-WAIT is no state in limbo: the connection has ended",
		"LISTEN":                     "LISTEN is no state in limbo: the socket waits for connections",
		"syn-recv":                   "SYN-RECV is no state in limbo: the handshake",
		"close":                      "is no state in limbo: the socket has no connection",
		"none":                       "unknown word",
		"\x1b[31m":                   `unknown word "\x1b[31m"`,
		"refused reset":              `unexpected argument "reset"; give one word`,
		"refused -o markdown":        "flags stand before the word",
		"-o json refused":            "allowed: text, markdown",
		"-o":                         "-o needs a value: text, markdown",
		strings.Repeat("x", 100_000): "unknown word",
	} {
		w := newTestWorld(t)
		code := w.run(t, append([]string{"explain"}, strings.Fields(args)...)...)
		line := w.errs.String()
		if code != exitUsage || !strings.Contains(line, says) || strings.Count(line, "\n") != 1 || len(line) > 2*maxErrorLine {
			t.Errorf("%.40q: exit code %d, %.200q, want %q", args, code, line, says)
		}
		if w.out.Len() > 0 {
			t.Errorf("%.40q prints %q", args, w.out.String())
		}
	}
}

// pages are all pages under docs that the command prints or links to.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := filepath.Glob("../../docs/findings/*.md")
	if err != nil || len(files) < int(finding.KindCount) {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	for _, file := range append(files, "../../docs/joining.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

// kindFlags are the flags of the kinds' thresholds.
var kindFlags = map[finding.Kind]string{
	finding.SynSentStalled: "syn-sent", finding.FinWait2Dangling: "fin-wait2", finding.CloseWaitSilent: "close-wait",
	finding.EstablishedStalled: "established", finding.ClosingStalled: "closing",
}

// TestPagesSayWhatIsFlagged: a kind with a flag names it, a kind without one
// says that it is still to come.
func TestPagesSayWhatIsFlagged(t *testing.T) {
	const notYet = "This version does not flag it yet"
	run := find(newTestWorld(t).commands(), "run")
	book, err := handbook.Parse(docs.Findings, "findings")
	if err != nil {
		t.Fatal(err)
	}
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		flagged := run.flag(kindFlags[k]) != nil
		e := book.Find(k.String())[0]
		if strings.Contains(e.Markdown, notYet) == flagged {
			t.Errorf("docs/findings/%s.md: %q must stand there if and only if there is no --%s", k, notYet, kindFlags[k])
		}
		if strings.Contains(e.Summary, "`--"+kindFlags[k]+"`") != flagged {
			t.Errorf("docs/findings/%s.md: its first sentence must name --%s if and only if there is such a flag", k, kindFlags[k])
		}
	}
}

var (
	flagName    = regexp.MustCompile("(?:^|[ `(])--([a-z][a-z0-9-]*)")
	sysctlName  = regexp.MustCompile(`\b(?:net|fs|kernel|vm)\.[a-z0-9_]+(?:\.[a-z0-9_]+)+(?:\*)?`)
	ourCommand  = regexp.MustCompile("`tcplimbo ([a-z]+)[^`]*`")
	commandLine = regexp.MustCompile(`^[#$] (.+)`)
	insideCode  = regexp.MustCompile("`[^`\n]+`")
)

func find(commands []*command, name string) *command {
	i := slices.IndexFunc(commands, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return commands[i]
}

// TestPagesNameFlagsThatExist looks at flags in running text, which are ours,
// and at our own commands with theirs.
func TestPagesNameFlagsThatExist(t *testing.T) {
	commands := newTestWorld(t).commands()
	run := find(commands, "run")
	for page, text := range pages(t) {
		for _, code := range insideCode.FindAllString(text, -1) {
			c := run
			if m := ourCommand.FindStringSubmatch(code); m != nil {
				if c = find(commands, m[1]); c == nil {
					t.Errorf("%s: no such command: %s", page, code)
					continue
				}
			}
			for _, m := range flagName.FindAllStringSubmatch(code, -1) {
				if c.flag(m[1]) == nil {
					t.Errorf("%s: %s has no flag --%s: %s", page, c.name, m[1], code)
				}
			}
		}
	}
}

// tools are the commands that the pages may use, with what they come from.
var tools = map[string]string{
	"ss": "iproute2", "ip": "iproute2", "tc": "iproute2", "nstat": "iproute2",
	"nft": "nftables", "iptables": "iptables", "tcpdump": "tcpdump", "tracepath": "iputils", "ping": "iputils",
	"sysctl": "procps", "strace": "strace", "lsof": "lsof", "perf": "linux-perf", "jstack": "a JDK", "curl": "curl",
	"journalctl": "systemd", "ls": "coreutils", "cat": "coreutils", "grep": "grep",
}

// TestPagesQuoteCommandsThatExist looks at the examples of a shell.
func TestPagesQuoteCommandsThatExist(t *testing.T) {
	commands := newTestWorld(t).commands()
	for page, text := range pages(t) {
		for _, line := range shellLines(text) {
			words := strings.Fields(line)
			if words[0] != programName {
				if tools[words[0]] == "" {
					t.Errorf("%s: %q is no standard tool that the tests know: %s", page, words[0], line)
				}
				continue
			}
			c := find(commands, words[1])
			if c == nil {
				t.Errorf("%s: no such command: %s", page, line)
				continue
			}
			for _, word := range words[2:] {
				if name, _, _ := strings.Cut(word, "="); strings.HasPrefix(name, "-") && c.typed(name) == nil {
					t.Errorf("%s: no such flag %s: %s", page, name, line)
				}
			}
		}
	}
}

// shellLines returns the commands of fenced console examples.
func shellLines(text string) []string {
	var lines []string
	console := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			console = strings.HasPrefix(line, "```console")
			continue
		}
		if m := commandLine.FindStringSubmatch(line); console && m != nil {
			lines = append(lines, m[1])
		}
	}
	return lines
}

// newSysctls are younger than the oldest kernel that is supported, 5.10.
var newSysctls = map[string]string{"net.ipv4.tcp_syn_linear_timeouts": "6.5", "net.ipv4.tcp_migrate_req": "5.14"}

func TestPagesNameSysctlsThatExist(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_fin_timeout"); err != nil {
		t.Skip("no /proc/sys/net to compare with")
	}
	for page, text := range pages(t) {
		for _, name := range sysctlName.FindAllString(text, -1) {
			found, err := filepath.Glob("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
			if newSysctls[name] == "" && (err != nil || len(found) == 0) {
				t.Errorf("%s: no sysctl %s", page, name)
			}
		}
	}
}

// TestStatesLeadToKinds: the state that ss prints leads to the kind it can be.
func TestStatesLeadToKinds(t *testing.T) {
	for s := flow.StateUnknown + 1; s < flow.StateMax; s++ {
		want := 0
		// CLOSED is also the outcome.
		if finding.KindOf(s) == finding.KindNone && s != flow.StateClose {
			want = exitUsage
		}
		w := newTestWorld(t)
		if code := w.run(t, "explain", s.Label()); code != want {
			t.Errorf("explain %s: exit code %d, want %d", s.Label(), code, want)
		}
	}
}
