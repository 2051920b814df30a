package finding

import "time"

// Goroutines is what a Go program said of its goroutines.
type Goroutines struct {
	// Total counts all.
	Total int64
	// Matching counts those in Function, which is the program's own function of the
	// finding's stack; "" where there is no stack.
	Matching int64
	Function string
	// Parked is where most of them wait, of all if there is no Function: the
	// innermost function of the program's own.
	Parked Frame
	// Age is how long ago it was said.
	Age time.Duration
	// Dump is the name of the whole profile in the folder for them, "" if it is not kept.
	Dump string
	// Missing says why the program said nothing; "" if it did.
	Missing string
}
