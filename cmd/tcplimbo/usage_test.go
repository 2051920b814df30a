package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

func TestBadInput(t *testing.T) {
	const threshold = "; allowed: 0 (off) to 8760h, such as 30s"
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"rnu"}, 2, "unknown command \"rnu\"; did you mean `tcplimbo run`?"},
		{[]string{"lsit"}, 2, "unknown command \"lsit\"; did you mean `tcplimbo list`?"},
		{[]string{"frobnicate"}, 2, "unknown command \"frobnicate\"; `tcplimbo --help` lists the commands"},
		{[]string{"top"}, 2, "unknown command \"top\"; `tcplimbo --help` lists the commands"},
		{[]string{"help", "chekc"}, 2, "unknown command \"chekc\"; did you mean `tcplimbo check`?"},
		{[]string{"run", "help"}, 2, `unexpected argument "help"; "tcplimbo run" takes flags only`},

		{[]string{"run", "--clos-wait", "3s"}, 2, `unknown flag "--clos-wait" for "tcplimbo run"; did you mean --close-wait?`},
		{[]string{"run", "-clos-wait=3s"}, 2, `unknown flag "--clos-wait" for "tcplimbo run"; did you mean --close-wait?`},
		{[]string{"run", "--pprof", "on"}, 2, "--pprof: \"on\" is not known; allowed: off, auto, or a port such as :6060, or an address such as 127.0.0.1:6060"},
		{[]string{"run", "--capture-dir", "/tmp"}, 2, "--capture-dir keeps what --pprof fetches, and that is off; give --pprof auto too"},
		{[]string{"run", "--stacks=yes"}, 2, `--stacks: "yes" is not known; allowed: on, always, off`},
		{[]string{"run", "-x"}, 2, "unknown flag \"-x\" for \"tcplimbo run\"; see `tcplimbo run --help`"},
		{[]string{"run", "--evil\x1b[2J\n\u202e"}, 2, "unknown flag \"--evil\\x1b[2J\\n\\u202e\" for \"tcplimbo run\"; see `tcplimbo run --help`"},
		{[]string{"--close-wait", "3s", "run"}, 2, "unknown flag \"--close-wait\"; flags stand after the command, as in `tcplimbo run --close-wait`"},
		{[]string{"--bogus"}, 2, "unknown flag \"--bogus\"; see `tcplimbo --help`"},
		{[]string{"run", "--close-wait"}, 2, "--close-wait needs a value: DURATION such as 30s"},
		{[]string{"run", "-o"}, 2, "-o needs a value: json, console, none"},
		{[]string{"list", "--pid"}, 2, "--pid needs a value: PID"},
		{[]string{"list", "--all=maybe"}, 2, "--all is a switch and takes no value"},
		{[]string{"list", "---all"}, 2, "\"---all\" is not a flag; see `tcplimbo list --help`"},
		{[]string{"run", "-o", "json", "--output", "none"}, 2, "-o and --output are the same flag; give it once"},

		{[]string{"run", "--close-wait", "-3s"}, 2, `--close-wait: "-3s" is negative` + threshold},
		{[]string{"run", "--close-wait=soon"}, 2, `--close-wait: "soon" is not a duration` + threshold},
		{[]string{"run", "--syn-sent", "10"}, 2, `--syn-sent: "10" has no unit (ms, s, m, h)` + threshold},
		{[]string{"run", "--tick", "0"}, 2, `--tick: "0" is too short; allowed: 10ms to 1m, such as 250ms`},
		{[]string{"run", "-o", "xml"}, 2, `--output: "xml" is not known; allowed: json, console, none`},
		{[]string{"run", "--syn-sent=0", "--fin-wait2=0", "--close-wait=0", "--established=0", "--closing=0"}, 2, "--syn-sent, --fin-wait2, --close-wait, --established and --closing are all 0, so nothing would be watched; give at least one of them a duration"},
		{[]string{"run", "--config", "/nonexistent/limbo.yaml"}, 2, "--config: reading configuration: open /nonexistent/limbo.yaml: no such file or directory; name a readable YAML file"},

		{[]string{"list", "-o", "xml"}, 2, `--output: "xml" is not known; allowed: table, json`},
		{[]string{"list", "--state", "close-wiat"}, 2, `--state: "close-wiat" is not a TCP state; did you mean close_wait?`},
		{[]string{"list", "--state", "zzzzzzzz"}, 2, `--state: "zzzzzzzz" is not a TCP state; allowed: established, syn_sent, syn_received, fin_wait_1, fin_wait_2, time_wait, closed, close_wait, last_ack, listen, closing`},
		{[]string{"list", "--state", "unknown"}, 2, `--state: "unknown" is not a TCP state; allowed: established, syn_sent, syn_received, fin_wait_1, fin_wait_2, time_wait, closed, close_wait, last_ack, listen, closing`},
		{[]string{"list", "--older-than", "-1s"}, 2, `--older-than: "-1s" is negative; allowed: 0 or more, such as 5m`},
		{[]string{"list", "--older-than", "5"}, 2, `--older-than: "5" has no unit (ms, s, m, h); allowed: 0 or more, such as 5m`},
		{[]string{"list", "--pid", "0"}, 2, `--pid: "0" does not fit; allowed: a number from 1 to 4194304`},
		{[]string{"list", "--port", "65536"}, 2, `--port: "65536" does not fit; allowed: a number from 1 to 65535`},
		{[]string{"list", "--netns", "no-such-name"}, 2, `--netns: "no-such-name": open /run/netns/no-such-name: no such file or directory; allowed: an inode number (lsns -t net), a name in /run/netns, or a path such as /proc/PID/ns/net`},
		{[]string{"list", "--netns", "/proc/self/ns/pid"}, 2, `--netns: "/proc/self/ns/pid": not a network namespace; allowed: an inode number (lsns -t net), a name in /run/netns, or a path such as /proc/PID/ns/net`},
		{[]string{"list", "--netns", "/etc/passwd"}, 2, `--netns: "/etc/passwd": not a network namespace; allowed: an inode number (lsns -t net), a name in /run/netns, or a path such as /proc/PID/ns/net`},

		{[]string{"trace", "--cidr", "10.0.0.0/40"}, 2, `--cidr: "10.0.0.0/40" is not a network; allowed: an address or a prefix such as 10.0.0.0/8 or fd00::/8`},
		{[]string{"trace", "-6", "--cidr", "10.1.2.3"}, 2, `--cidr: "10.1.2.3/32" is of the other IP version than the one asked for; leave out -4 or -6`},
		{[]string{"trace", "--retransmits-only", "--no-retransmits"}, 2, "--retransmits-only and --no-retransmits leave nothing to show; give one of them"},
		{[]string{"trace", "--duration", "x"}, 2, `--duration: "x" is not a duration; allowed: 0 (no end) or more, such as 10s`},
		{[]string{"trace", "--old-state", "x"}, 2, `--old-state: "x" is not a TCP state; allowed: established, syn_sent, syn_received, fin_wait_1, fin_wait_2, time_wait, closed, close_wait, last_ack, listen, closing`},

		{[]string{"check", "-o", "yaml"}, 2, `--output: "yaml" is not known; allowed: table, json`},
		{[]string{"version", "now"}, 2, `unexpected argument "now"; "tcplimbo version" takes flags only`},
		{[]string{"completion"}, 2, "which shell? give one of bash, zsh, fish"},
		{[]string{"completion", "tcsh"}, 2, `no completion for "tcsh"; there is one for bash, zsh, fish`},
		{[]string{"completion", "bash", "zsh"}, 2, `unexpected argument "zsh"; give one shell`},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			w := newTestWorld(t)
			code := w.run(t, tt.args...)
			if got := oneLine(t, w.errs.String()); code != tt.code || got != "tcplimbo: "+tt.want {
				t.Errorf("got  %d %s\nwant %d tcplimbo: %s", code, got, tt.code, tt.want)
			}
			if w.out.Len() != 0 {
				t.Errorf("standard output: %q", w.out.String())
			}
		})
	}
}

func TestHelpIsFine(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--help"},
		{"-h"},
		{"help"},
		{"run", "--help"},
		{"list", "-h"},
		{"help", "trace"},
		{"help", "help"},
		{"check", "--help"},
		{"version", "--help"},
		{"completion", "--help"},
		{"help", "--help"},
	} {
		w := newTestWorld(t)
		if code := w.run(t, args...); code != 0 || w.errs.Len() != 0 {
			t.Errorf("%v: exit code %d, standard error %q", args, code, w.errs.String())
		}
		for _, want := range []string{"USAGE\n", "EXAMPLES\n"} {
			if !strings.Contains(w.out.String(), want) {
				t.Errorf("%v: the help has no %q:\n%s", args, want, w.out.String())
			}
		}
		for line := range strings.Lines(w.out.String()) {
			if !strings.Contains(line, "tcplimbo") && len(line) > helpWidth+1 {
				t.Errorf("%v: line of %d bytes: %s", args, len(line), line)
			}
		}
	}
}

// TestHelpAndManualAreComplete compares them with the flags that are there.
func TestHelpAndManualAreComplete(t *testing.T) {
	w := newTestWorld(t)
	commands := w.commands()
	page := manual(commands)
	for _, c := range commands {
		help := c.help()
		if c.usage == "" || !c.hidden && len(c.examples) == 0 {
			t.Errorf("%s has no usage or no examples", c.name)
		}
		for i := range c.flags {
			f := &c.flags[i]
			if got := strings.Contains(help, dashed(f.name)); got == f.hidden {
				t.Errorf("%s --%s: hidden is %v and it is in the help: %v", c.name, f.name, f.hidden, got)
			}
			if !f.hidden && !strings.Contains(page, roffText(f.label())+"\n") {
				t.Errorf("%s --%s is not in the manual", c.name, f.name)
			}
		}
	}
}

func TestHiddenFlagsWork(t *testing.T) {
	w := newTestWorld(t)
	if code := w.run(t, "run", "--metrics-addr=", "--ring-bytes", "4096", "--max-promoted", "64", "--young-slots", "128"); code != 0 {
		t.Errorf("exit code %d: %s", code, w.errs.String())
	}
}

func TestExitCodes(t *testing.T) {
	wrapped := errors.Join(errors.New("a"), usageError("b"))
	tests := []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{errors.New("opening log file: no"), 1, "tcplimbo: opening log file: no\n"},
		{wrapped, 2, "tcplimbo: a\\x0ab\n"},
		{writing(syscall.EPIPE), 1, "tcplimbo: writing to standard output: broken pipe; the program that read it has ended\n"},
		{errors.New(strings.Repeat("x", 5000)), 1, "tcplimbo: " + strings.Repeat("x", maxErrorLine-13) + "…\n"},
	}
	for _, tt := range tests {
		var errs strings.Builder
		if code := report(&errs, tt.err); code != tt.code || errs.String() != tt.want {
			t.Errorf("%.40v: got %d %q, want %d %q", tt.err, code, errs.String(), tt.code, tt.want)
		}
	}
}

// What unpin cannot do is said with what to do about it.
func TestUnpinAdvice(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{&os.PathError{Op: "stat", Path: "/x", Err: syscall.ENOENT}, "; name the directory that was given to run"},
		{fmt.Errorf("locking: %w", tracer.ErrPinsInUse), "; stop it first"},
		{tracer.ErrNotBPFFS, "(mount -t bpf bpf /sys/fs/bpf)"},
	} {
		if got := unpinning(tt.err); (got == nil) != (tt.err == nil) || !strings.HasSuffix(fmt.Sprint(got), cmp.Or(tt.want, "<nil>")) {
			t.Errorf("%v is said as %q", tt.err, got)
		}
	}
}

func TestMissingPermission(t *testing.T) {
	for name, args := range map[string][]string{
		"": {"run", "--source", "ebpf"}, " ": {"list", "--source=ebpf"}, "trace needs eBPF: ": {"trace"},
	} {
		w := newTestWorld(t)
		w.host = hostWith(t, "0000000000000000")
		code := w.run(t, args...)
		want := "tcplimbo: " + strings.TrimPrefix(name, " ") + "missing CAP_BPF and CAP_PERFMON, which loading BPF programs takes; run as root (sudo), or `setcap"
		if got := oneLine(t, w.errs.String()); code != 77 || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %d %s", name, code, got)
		}
	}
}

func TestKernelCannot(t *testing.T) {
	w := newTestWorld(t)
	if err := os.Remove(filepath.Join(w.host.Root, "sys/kernel/btf/vmlinux")); err != nil {
		t.Fatal(err)
	}
	code := w.run(t, "run", "--source", "ebpf")
	want := "tcplimbo: btf: no /sys/kernel/btf/vmlinux: the programs cannot be fitted to this kernel; boot a kernel with CONFIG_DEBUG_INFO_BTF=y"
	if got := oneLine(t, w.errs.String()); code != 69 || !strings.HasPrefix(got, want) {
		t.Errorf("%d %s", code, got)
	}
}

// TestAutoFallsBack: what eBPF lacks is told to whoever opens the kernel side, and
// is no error.
func TestAutoFallsBack(t *testing.T) {
	for _, args := range [][]string{{"run"}, {"list"}, {"run", "--source", "sockdiag"}, {"list", "--source", "sockdiag"}} {
		w := newTestWorld(t)
		w.host = hostWith(t, "0000000000000000")
		var got sourceChoice
		w.runAgent = func(_ context.Context, in *agentInput) error { got = in.Source; return nil }
		w.listSockets = func(_ context.Context, in *listInput) error { got = in.Source; return nil }
		code := w.run(t, args...)
		if auto := len(args) == 1; code != 0 || auto != (got.Blocked != nil) {
			t.Errorf("%v: exit code %d, blocked by %v: %s", args, code, got.Blocked, w.errs.String())
		}
	}
}

// TestUsageComesBeforePermission: a typo is told without sudo.
func TestUsageComesBeforePermission(t *testing.T) {
	w := newTestWorld(t)
	w.host = hostWith(t, "0000000000000000")
	if code := w.run(t, "run", "--close-wait", "x"); code != 2 {
		t.Errorf("exit code %d", code)
	}
}

// FuzzArguments sees that whatever stands on the command line ends in success
// or in one clean line. `run` is left out: it opens what it is told to.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		"list\x00--state\x00close-wait", "trace\x00--cidr\x00::ffff:1.2.3.4/97", "list\x00--pid=-1", "help\x00x\x1b[2J",
		"__complete\x00run\x00--output\x00=\x00", "-\x00-", "--\x00list", "trace\x00-46", "version\x00--output=\u202e", "check\x00\n",
		"list\x00--older-than\x009223372036854775807ns", "trace\x00--port\x000x50", "list\x00--state=,,,", "\x00", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		if slices.Contains(args, "run") && args[0] != "help" && args[0] != completeName {
			t.Skip("run")
		}
		w := newTestWorld(t)
		code := w.run(t, args...)
		switch {
		case code == 0 && w.errs.Len() == 0:
		case code == exitUsage:
			text := oneLine(t, w.errs.String())
			if !strings.HasPrefix(text, "tcplimbo: ") || len(text) > maxErrorLine || strings.ContainsFunc(text, unprintable) {
				t.Errorf("%q: standard error %q", args, text)
			}
		default:
			t.Errorf("%q: exit code %d, standard error %q", args, code, w.errs.String())
		}
	})
}

func unprintable(r rune) bool { return !readable.Printable(r) && r != '\ufffd' }
