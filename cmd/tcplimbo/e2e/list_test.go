package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// listed runs `tcplimbo list -o json` and returns its records.
func listed(t *testing.T, args ...string) map[workload.Tuple]*record {
	t.Helper()
	stdout, _ := output(t, append([]string{"list", "-o", "json"}, args...)...)
	out := make(map[workload.Tuple]*record)
	for line := range strings.Lines(stdout) {
		r := &record{line: line}
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&r.fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if out[r.tuple()] != nil {
			t.Errorf("listed twice: %s", line)
		}
		out[r.tuple()] = r
	}
	return out
}

// output runs a command that must succeed and be silent on standard error.
func output(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("tcplimbo %s: %v: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), errs.String()
}

// listJob is what a one-shot look can tell; who closed an orphan it cannot.
var listJob = []workload.Spec{
	{Kind: workload.CloseWaitUnread, Payload: 10},
	{Kind: workload.CloseWaitIgnored, Payload: 10},
	{Kind: workload.CloseWaitUnaccepted, Payload: 10},
	{Kind: workload.CloseWaitSending},
	{Kind: workload.SynSent},
	{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld},
	{Kind: workload.FinWait2Orphaned},
	{Kind: workload.FinWait1, Shutdown: true},
	{Kind: workload.FinWait1ZeroWindow, Shutdown: true},
	{Kind: workload.Closing, Shutdown: true},
	{Kind: workload.LastAck},
}

// TestList: everything is listed at once, with owner, and the filters filter.
func TestList(t *testing.T) {
	s := newScene(t)
	other := s.namespace(false)
	for _, spec := range listJob {
		for i, f := range workload.Families() {
			spec.Family, spec.Count, spec.NS = f, 2, []*workload.Namespace{nil, other}[i%2]
			s.make(spec)
		}
	}
	// What is stuck is stuck for long; a second is what it takes to tell it
	// from what is only passing through.
	until := time.Now().Add(1500 * time.Millisecond)
	time.Sleep(time.Until(until))

	all := listed(t)
	wrong := problems{t: t}
	for _, tr := range s.truths {
		r := all[tr.Tuple()]
		if r == nil {
			wrong.add("not listed: "+tr.State+" "+tr.Reason+" "+tr.Network+" "+s.place(tr), tr)
			continue
		}
		if got := r.str("tcplimbo.finding.reason"); got != tr.Reason {
			wrong.add("reason is "+got+", not "+tr.Reason, r.line)
		}
		if r.cookie() != tr.Cookie || r.str("network.connection.state") != tr.State {
			wrong.add("state or cookie is wrong: "+tr.State, r.line)
		}
		if tr.FD >= 0 && (r.pid() != tr.PID || r.num("tcplimbo.socket.fd") != int64(tr.FD)) {
			wrong.add("pid or descriptor is wrong: "+tr.State, r.line)
		}
		if since := r.time("tcplimbo.finding.since"); since.Before(tr.Since.Add(-tick)) {
			wrong.add("older than it is: "+tr.State, r.line)
		}
	}
	for tp, r := range all {
		// The peer that leaves no room for a FIN is one that does not read.
		unread := r.str("tcplimbo.finding.reason") == "not_reading"
		known := slices.ContainsFunc(s.truths, func(tr *workload.Truth) bool {
			return tr.Tuple() == tp || unread && tr.Local == tp.Peer && tr.Peer == tp.Local && tr.Reason == "zero_window"
		})
		if !known && s.mine(r) {
			wrong.add("listed and not stuck", r.line)
		}
	}
	wrong.report()
	s.checkFilters(other)
}

func (s *scene) checkFilters(other *workload.Namespace) {
	s.t.Helper()
	inode, err := other.Inode()
	if err != nil {
		s.t.Fatal(err)
	}
	port := s.truths[0].Local.Port()
	for name, f := range map[string]struct {
		args []string
		want func(*workload.Truth) bool
	}{
		"state":  {[]string{"--state", "CLOSE-WAIT"}, func(tr *workload.Truth) bool { return tr.State == "close_wait" }},
		"states": {[]string{"--state", "syn_sent,last_ack"}, func(tr *workload.Truth) bool { return tr.State == "syn_sent" || tr.State == "last_ack" }},
		"netns":  {[]string{"--netns", strconv.FormatUint(inode, 10)}, func(tr *workload.Truth) bool { return tr.NetNS == inode }},
		"pid":    {[]string{"--pid", strconv.Itoa(os.Getpid())}, func(tr *workload.Truth) bool { return tr.FD >= 0 }},
		"port":   {[]string{"--port", strconv.Itoa(int(port))}, func(tr *workload.Truth) bool { return tr.Local.Port() == port || tr.Peer.Port() == port }},
		"old":    {[]string{"--older-than", "1h"}, func(*workload.Truth) bool { return false }},
	} {
		got := listed(s.t, f.args...)
		wrong := problems{t: s.t}
		for _, tr := range s.truths {
			if name == "pid" && tr.Relation == "listener" {
				continue // the process is named but does not hold it: both may be expected
			}
			if r := got[tr.Tuple()]; (r != nil) != f.want(tr) {
				wrong.add(strings.Join(f.args, " ")+" ("+name+") is wrong about "+tr.State+" "+tr.Reason, tr)
			}
		}
		wrong.report()
	}
}

// TestListNothing says plainly that there is nothing.
func TestListNothing(t *testing.T) {
	s := newScene(t)
	inode, err := s.namespace(true).Inode()
	if err != nil {
		t.Fatal(err)
	}
	ns := strconv.FormatUint(inode, 10)
	if out, _ := output(t, "list", "--netns", ns); strings.Count(out, "\n") != 1 {
		t.Errorf("want one line that says there is nothing, got %q", out)
	}
	if out, _ := output(t, "list", "-o", "json", "--netns", ns); out != "" {
		t.Errorf("nothing in JSON is no lines, got %q", out)
	}
}

// TestListTable: the table fits a pipe, names everything, and a hostile name
// breaks no line.
func TestListTable(t *testing.T) {
	s := newScene(t)
	exe := filepath.Join(t.TempDir(), "a\nb\x1b[2J")
	copyFile(t, os.Args[0], exe)
	c := s.child(workload.ChildOptions{Executable: exe, NS: s.namespace(false)})
	_, truths, err := c.Make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // see TestList
	out, _ := output(t, "list", "--pid", strconv.Itoa(c.PID))
	if n := strings.Count(out, "\n"); n != 4 {
		t.Errorf("%d lines for three sockets and the head:\n%s", n, out)
	}
	for _, tr := range truths {
		for _, want := range []string{tr.Local.String(), "CLOSE-WAIT", strconv.Itoa(c.PID), "eof_unread"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in the table:\n%s", want, out)
			}
		}
	}
	if strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("the table contains escape sequences: %q", out)
	}
}
