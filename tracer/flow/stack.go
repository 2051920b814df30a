package flow

import "time"

// StackID names a user stack that the kernel side has or had: a hash of all
// that the stack is, so that it never comes to mean another one.
type StackID uint64

// Ids of stacks that are none.
const (
	// StackNone: none was taken.
	StackNone StackID = iota
	// StackEmpty: one was taken, of a task without frames in user space.
	StackEmpty
)

// Taken reports whether there are, or were, frames under the id.
func (id StackID) Taken() bool { return id > StackEmpty }

// SocketStacks are the stacks taken of one socket.
type SocketStacks struct {
	// Opener connected it, or accepted it if Accepted is set.
	Opener   StackID
	Accepted bool
	// Reader read its end of file while it was in CLOSE_WAIT.
	Reader StackID
	// Goroutine is who did so if Reader is set, else the opener.
	Goroutine Goroutine
}

// Goroutine is one of a Go program.
type Goroutine struct {
	// ID is 0 where it is not known, and then all is.
	ID uint64
	// Created is the address that the call of a go statement returns to, and
	// Creator what it calls; it was a go statement if that is runtime.newproc.
	// Both are 0 where that is not known.
	Created, Creator uint64
}

// UserStack is a stack of a process at one moment, innermost address first. All
// but the first are return addresses: their calls are before them.
type UserStack struct {
	// PID is the process in the agent's pid namespace, 0 if it is not in it, and
	// Start when it started, since boot.
	PID   uint32
	Start time.Duration
	// Base is where the stack of its first thread begins: it moves at exec, and
	// tells that the addresses are another program's now.
	Base  uint64
	Addrs []uint64
}

// StackMode is how many user stacks are taken.
type StackMode uint8

// The modes of the setting "stacks".
const (
	StacksOff StackMode = iota
	// StacksOn takes those of connect and accept within a budget, and of who
	// reads the end of file while that is asked for.
	StacksOn
	// StacksAlways takes all of them.
	StacksAlways
)
