package flow

import "time"

// Census is how many TCP sockets a host has in each state, all network namespaces
// together. Minisockets count in the state they stand for.
type Census [StateMax]uint64

// Usage is how full and how busy the kernel side is.
type Usage struct {
	// RingFill is the most that waited in the ring buffer when it was read, since
	// the last Usage; RingSize is what it holds. Both in bytes.
	RingFill, RingSize uint64
	Maps               []MapUse
	Programs           []ProgramUse
}

// MapUse is how full a map is, in elements.
type MapUse struct {
	Name           string
	Used, Capacity uint64
}

// ProgramUse is what the kernel counted of a program. Runs and Time are 0 where
// kernel.bpf_stats_enabled is off.
type ProgramUse struct {
	Name string
	Runs uint64
	Time time.Duration
	// Missed counts runs that the kernel left out because the program was
	// running on that CPU already.
	Missed uint64
}
