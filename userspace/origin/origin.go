// Package origin answers in which container a process or a socket is. What it
// reads it reads from /proc and the cgroup file system; names that only a
// container runtime knows come from package names, when they come.
package origin

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Namer knows the names of containers. It answers at once with what it knows, and
// finds out the rest for later.
type Namer interface {
	Workload(p Place) *finding.Workload
}

// Resolver finds the container of a process, or of a socket that no process has.
// It is used by one goroutine.
type Resolver struct {
	procRoot string
	groups   *Groups
	namer    Namer
	tasks    map[taskKey]remembered
}

type taskKey struct {
	pid   uint32
	start time.Duration
}

type remembered struct {
	place Place
	until time.Duration
}

const (
	// rememberFor is how long the cgroup of a process is believed: a process is
	// hardly ever moved once its container has started.
	rememberFor = time.Minute
	// rememberMax bounds the memory: some 200 bytes a process.
	rememberMax = 8192
)

// New returns a Resolver. groups may be nil where cgroups are not looked for by
// their numbers.
func New(procRoot string, groups *Groups, namer Namer) *Resolver {
	return &Resolver{procRoot: procRoot, groups: groups, namer: namer, tasks: make(map[taskKey]remembered)}
}

// Of returns the container of the process that is named with a socket, or of the
// socket if that process is gone; nil if it is in none, or that is not known. now
// and since, when the socket entered its state, are times since boot.
func (r *Resolver) Of(p *finding.Process, s *flow.ID, since, now time.Duration) *finding.Workload {
	place, ok := r.ofTask(&p.Task, since, now)
	if !ok {
		place = r.ofSocket(s.CgroupID)
	}
	if !place.Known() {
		return nil
	}
	return r.namer.Workload(place)
}

// Rename takes names from another Namer from now on.
func (r *Resolver) Rename(namer Namer) { r.namer = namer }

// startSlack is how much later than the socket's state a process may seem to have
// begun: /proc counts in hundredths, and some beginnings are known in jiffies.
const startSlack = 20 * time.Millisecond

func (r *Resolver) ofTask(t *flow.Task, since, now time.Duration) (Place, bool) {
	if !t.Known() {
		return Place{}, false
	}
	key := taskKey{t.PID, t.StartBoot}
	// Without its start a pid may be another process's in a moment.
	known := t.StartBoot != 0
	old, had := r.tasks[key]
	if had && known && now < old.until {
		return old.place, true
	}
	place, ok := placeOf(r.procRoot, t.PID, t.StartBoot, since+startSlack)
	if !ok {
		return old.place, had && known
	}
	if known {
		if len(r.tasks) >= rememberMax {
			clear(r.tasks)
		}
		r.tasks[key] = remembered{place, now + rememberFor}
	}
	return place, true
}

// ofSocket returns the container in which a socket was made.
func (r *Resolver) ofSocket(cgroup uint64) Place {
	if cgroup == 0 || r.groups == nil {
		return Place{}
	}
	path, ok := r.groups.Path(cgroup)
	if !ok {
		return Place{}
	}
	return ParsePath(path)
}
