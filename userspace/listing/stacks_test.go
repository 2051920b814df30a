package listing

import (
	"context"
	"errors"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

// fakeStacks knows sockets by their address, and names functions by the first of a
// stack's addresses.
type fakeStacks struct {
	of    map[uint64]flow.SocketStacks
	asked int
	err   error
}

func (s *fakeStacks) SocketStacks(id flow.ID) (flow.SocketStacks, error) {
	return s.of[id.Addr], s.err
}

func (s *fakeStacks) UserStack(id flow.StackID) (flow.UserStack, bool, error) {
	return flow.UserStack{PID: uint32(id) % 100, Addrs: []uint64{uint64(id)}}, id < 1000, nil
}

func (s *fakeStacks) Resolve(_ context.Context, _ stack.Process, addrs []uint64) ([]finding.Frame, error) {
	s.asked++
	if addrs[0] == 13 {
		return nil, stack.ErrGone
	}
	return []finding.Frame{{Function: map[uint64]string{10: "main.open", 11: "main.read"}[addrs[0]]}}, nil
}

func TestAddStacks(t *testing.T) {
	const evicted, elsewhere = 1000, 200
	for _, tt := range []struct {
		name  string
		kind  finding.Kind
		taken flow.SocketStacks
		want  string // "" for no stack
	}{
		{"accepted", finding.CloseWaitSilent, flow.SocketStacks{Opener: 10, Accepted: true}, "accept main.open "},
		{"connected", finding.SynSentStalled, flow.SocketStacks{Opener: 10}, "connect main.open "},
		{"read to the end", finding.CloseWaitSilent, flow.SocketStacks{Opener: 10, Reader: 11}, "eof_read main.read "},
		{"not about the end", finding.ClosingStalled, flow.SocketStacks{Opener: 10, Reader: 11}, "connect main.open "},
		{"its reader ended", finding.CloseWaitSilent, flow.SocketStacks{Opener: 10, Reader: 13}, "connect main.open "},
		{"its process ended", finding.CloseWaitSilent, flow.SocketStacks{Opener: 13}, "connect  process_gone"},
		{"evicted", finding.CloseWaitSilent, flow.SocketStacks{Opener: evicted}, ""},
		{"unseen process", finding.CloseWaitSilent, flow.SocketStacks{Opener: elsewhere}, ""},
		{"no frames", finding.CloseWaitSilent, flow.SocketStacks{Opener: flow.StackEmpty}, ""},
		{"opened before", finding.CloseWaitSilent, flow.SocketStacks{}, ""},
	} {
		source := &fakeStacks{of: map[uint64]flow.SocketStacks{1: tt.taken}}
		var f finding.Finding
		f.Kind, f.Sock.Addr = tt.kind, 1
		rows := []finding.Finding{f, f}
		if err := AddStacks(t.Context(), rows, source, source); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			got := ""
			if s := rows[i].Stack; s != nil {
				got = s.Of.String() + " "
				for _, frame := range s.Frames {
					got += frame.Function
				}
				got += " " + s.Missing
			}
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
		if source.asked > 2 {
			t.Errorf("%s: %d stacks looked up for two sockets of one leak", tt.name, source.asked)
		}
	}
	source := &fakeStacks{err: errors.New("no")}
	if err := AddStacks(t.Context(), make([]finding.Finding, 1), source, source); !errors.Is(err, source.err) {
		t.Errorf("error %v", err)
	}
}
