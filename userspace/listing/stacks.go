package listing

import (
	"context"
	"fmt"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/callstack"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// StackSource is a running daemon's memory of who opened sockets.
type StackSource interface {
	SocketStacks(id flow.ID) (flow.SocketStacks, error)
	UserStack(id flow.StackID) (flow.UserStack, bool, error)
}

// AddStacks says which code opened the rows or read their end of file, as far as the
// source knows and until ctx is done. Others are left without a stack.
func AddStacks(ctx context.Context, rows []finding.Finding, source StackSource, symbols callstack.Symbols) error {
	known := make(map[flow.StackID]*callstack.Resolved)
	for i := range rows {
		f := &rows[i]
		if f.Sock.TimeWait {
			continue
		}
		taken, err := source.SocketStacks(f.Sock.ID)
		if err != nil {
			return fmt.Errorf("finding stacks: %w", err)
		}
		for _, c := range callstack.Candidates(f.Kind, taken) {
			if !c.ID.Taken() {
				continue
			}
			if known[c.ID] == nil {
				us, ok, err := source.UserStack(c.ID)
				if err != nil {
					return fmt.Errorf("finding stacks: %w", err)
				}
				if !ok || us.PID == 0 {
					continue
				}
				known[c.ID] = callstack.Look(ctx, symbols, us)
			}
			if s := known[c.ID].As(c.Of); f.Stack == nil || f.Stack.Missing != "" && s.Missing == "" {
				f.Stack = s
			}
		}
	}
	return nil
}
