package check

import "context"

// StackHooks are why user stacks cannot be taken where a program connects, accepts
// and reads the end of file, and Registers why it is not known where a system call came
// from; nil where they can.
type StackHooks struct{ Connect, Accept, EOF, Registers error }

// stacks tells which code can be named. None of it is needed to find the socket.
func (h Host) stacks(ctx context.Context, loads bool, k Kernel) Result {
	const (
		name     = "stacks"
		noStacks = "findings do not say which code opened the socket"
		noAccept = "findings about accepted connections do not say which code accepted them"
		noRing   = "findings about connections that io_uring accepted do not say which code accepted them"
		noEOF    = "findings in CLOSE_WAIT say who opened the socket, not who read its end of file and did not close"
		tracefs  = "mount -t tracefs none /sys/kernel/tracing; in a container, mount that directory of the host"
	)
	if !loads {
		return warn(name, "not tried", noStacks, "repair the failed lines, then run `tcplimbo check` again")
	}
	hooks := k.TakeStacks(ctx)
	also := ""
	if hooks.Registers != nil {
		also = "; they name no goroutine, nor who called the C library: " + oneLine(hooks.Registers)
	}
	switch {
	case hooks.Connect != nil:
		return warn(name, oneLine(hooks.Connect), noStacks, reportIt)
	case hooks.Accept != nil && hooks.EOF != nil:
		return warn(name, "at connect only; "+oneLine(hooks.Accept)+"; "+oneLine(hooks.EOF), noAccept+", nor who read their end of file"+also, tracefs)
	case hooks.Accept != nil:
		return warn(name, "at connect and end of file; "+oneLine(hooks.Accept), noAccept+also, tracefs)
	case hooks.EOF != nil:
		return warn(name, "at connect and accept; "+oneLine(hooks.EOF), noEOF+"; "+noRing+also, "boot Linux 6.3 or newer")
	}
	return ok(name, "at connect, accept and end of file; "+noRing)
}
