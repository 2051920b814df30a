package finding

// Workload is the container that a process or a socket belongs to. Fields are
// empty where they are not known; a Workload is shared by the findings about it
// and never changed.
type Workload struct {
	// Cgroup is the path of the cgroup below the root of its hierarchy.
	Cgroup string
	// ContainerID is the runtime's id, in hex; Container is the name in its pod,
	// or that which Docker or Podman gave it.
	ContainerID, Container string
	Namespace, Pod, PodUID string
	// Labels are the pod's.
	Labels map[string]string
}

// StackOf says what the program was doing when its stack was taken.
type StackOf uint8

// What stacks are taken of.
const (
	StackNone StackOf = iota
	StackConnect
	StackAccept
	StackEOFRead
	StackCount
)

var stackNames = [StackCount]string{
	StackNone:    "none",
	StackConnect: "connect",
	StackAccept:  "accept",
	StackEOFRead: "eof_read",
}

func (s StackOf) String() string { return stackNames[s] }

// Frame is one function of a user stack.
type Frame struct {
	// Function is demangled; "" where there is no symbol, and then Module and
	// Offset tell where the code is.
	Function string
	// File and Line are those of the call; "" and 0 where they are not known.
	File string
	Line int
	// Module is the base name of the executable or library, Offset the address
	// in its file.
	Module string
	Offset uint64
	// Plumbing marks what stands between the program and the kernel: the Go
	// runtime, package net's polling, the C library.
	Plumbing bool
}

// Stack is a user stack, innermost function first.
type Stack struct {
	Of     StackOf
	Frames []Frame
	// Missing says why there are no frames, or none of the program's own; "" if
	// there are.
	Missing string
	// Goroutine is the id of the goroutine of a Go program, 0 where that is not
	// known; MadeBy has the go statement that made it, nil where that is not known.
	Goroutine uint64
	MadeBy    *Frame
}
