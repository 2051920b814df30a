package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/group"
	"github.com/tcplimbo/tcplimbo/userspace/listing"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
	"github.com/tcplimbo/tcplimbo/userspace/table"
)

// listMemory is what the heap may grow to before garbage is collected.
const listMemory = 256 << 20

// stackTime is how long functions are looked up at most; some 10 ms a program are
// usual.
const stackTime = 10 * time.Second

// openStacks finds the stacks that a daemon has taken.
func openStacks() (*tracer.RunningStacks, error) {
	stacks, err := tracer.OpenRunningStacks()
	switch {
	case errors.Is(err, tracer.ErrNothingRuns):
		return nil, fmt.Errorf("--by stack: %w; sockets do not tell who opened them: start `tcplimbo run`, and those opened "+
			"from then on can be counted by stack", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, &check.Blocked{
			Code: check.ExitNoPermission, What: "--by stack: " + err.Error(), Remedy: "run as root, or with CAP_SYS_ADMIN",
		}
	case err != nil:
		return nil, fmt.Errorf("--by stack: %w", err)
	}
	return stacks, nil
}

// listSockets prints the sockets in limbo of this moment.
func listSockets(ctx context.Context, in *listInput) (err error) {
	// It ends soon: collecting garbage costs more than the memory is worth.
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(listMemory)
	}
	var stacks *tracer.RunningStacks
	if in.By == group.ByStack {
		if stacks, err = openStacks(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stacks.Close()) }()
	}
	kernel, _, err := in.Source.open(tracer.Options{ReadOnly: true}, in.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	rows, err := listing.Collect(kernel, listing.Filter{
		All: in.All, States: in.States, OlderThan: in.OlderThan, PID: in.PID, NetNS: in.NetNS, Port: in.Port,
		OtherEnds: in.JSON,
	}, procRoot, time.Now())
	if err != nil {
		return err
	}
	if stacks != nil {
		within, cancel := context.WithTimeout(ctx, stackTime)
		defer cancel()
		if err := listing.AddStacks(within, rows, stacks, stack.New(procRoot)); err != nil {
			return err
		}
	}
	pods := addOrigins(ctx, rows, in.Runtime)
	if in.By != "" {
		return writing(printGroups(in, rows))
	}
	if in.JSON {
		return writing(printRows(in.Stdout, rows))
	}
	return writing(printTable(in, rows, pods))
}

// printGroups prints how many sockets there are of a program, service or pod.
func printGroups(in *listInput, rows []finding.Finding) error {
	groups := group.Summarize(rows, in.By)
	if !in.JSON {
		if len(rows) == 0 {
			return printTable(in, rows, false)
		}
		_, err := in.Stdout.Write(table.AppendGroups(nil, groups, string(in.By), table.Options{NoHeader: in.NoHeader}))
		return err
	}
	enc := newEncoder()
	var buf []byte
	for i := range groups {
		groups[i].Time, groups[i].Message = rows[0].Time, explain.GroupMessage(&groups[i])
		buf = enc.AppendGroup(buf, &groups[i])
	}
	_, err := in.Stdout.Write(buf)
	return err
}

func newEncoder() *jsonline.Encoder {
	return jsonline.New(jsonline.Options{Host: hostName(), Node: os.Getenv("NODE_NAME")})
}

func printTable(in *listInput, rows []finding.Finding, pods bool) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(in.Stdout, nothing(in))
		return err
	}
	opt := table.Options{Width: in.Terminal.Width, NoHeader: in.NoHeader, Pods: pods}
	if in.Wide {
		opt.Width = 0
	}
	_, err := in.Stdout.Write(table.AppendSockets(nil, rows, opt))
	return err
}

// limboStates are those in which a socket is in limbo if it stays.
const limboStates = flow.StateSet(1<<flow.StateSynSent | 1<<flow.StateFinWait1 | 1<<flow.StateFinWait2 |
	1<<flow.StateCloseWait | 1<<flow.StateLastAck | 1<<flow.StateClosing)

// nothing says whether that is good news.
func nothing(in *listInput) string {
	switch {
	case in.All || in.States&^limboStates != 0:
		return "no such socket"
	case in.States != 0 || in.OlderThan != 0 || in.PID != 0 || in.NetNS != 0 || in.Port != 0:
		return "nothing in limbo that fits these filters"
	}
	return "nothing in limbo"
}

// rowsAtOnce bounds the memory between encoding and writing.
const rowsAtOnce = 64 << 10

func printRows(w io.Writer, rows []finding.Finding) error {
	enc := newEncoder()
	var buf []byte
	for i := range rows {
		if rows[i].Kind != finding.KindNone {
			rows[i].Message = explain.Message(&rows[i])
		}
		buf = enc.AppendFinding(buf, &rows[i])
		if len(buf) < rowsAtOnce && i < len(rows)-1 {
			continue
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return nil
}
