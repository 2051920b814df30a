package finding

import (
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// MaxSamples is how many ids of its findings a group's record has.
const MaxSamples = 5

// Group is one record about findings that are alike: one leak.
type Group struct {
	// ID names the group from its first record to its last.
	ID     string
	Kind   Kind
	Status Status
	Time   time.Time

	// Count is how many alike are open now, also those with records of their own.
	Count int
	// Opened and Resolved count the findings without records of their own, since
	// the group's first record; what was opened and not resolved is open.
	Opened, Resolved uint64
	// Oldest is how long the oldest that is open has been in its state; only if
	// Count > 0, negative if it is not known. AtLeast: of some that are open only a
	// bound is known, so one may be older.
	Oldest  time.Duration
	AtLeast bool
	// Grown is by how many Count grew in GrownIn without those that were there at
	// the start, negative where it shrank; only if GrownIn > 0. Growth is how many a
	// minute that is; only if GrowthKnown: it took a minute at least.
	Grown       int
	GrownIn     time.Duration
	Growth      float64
	GrowthKnown bool
	// Samples are ids of findings that are open, at most MaxSamples of them.
	Samples []string

	// Process is the program they share; its PID is 0 if it runs in several
	// processes.
	Process  Process
	Workload *Workload
	Stack    *Stack
	// Role is the side of the connection that the program has; Service is the
	// address that was connected to: of servers their own. It is the zero AddrPort
	// where they have many.
	Role    flow.Role
	Service netip.AddrPort
	Message string
}
