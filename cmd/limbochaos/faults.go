package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// trouble is a fault that a round can have.
type trouble struct {
	name, what string
	// prepare comes before the agent's start, during beside the load.
	prepare func(*round) error
	during  func(*round, context.Context) error
	// after looks at what is left when the agent has ended.
	after func(*round)
	// lossy: the kernel side must drop what it would have told.
	lossy bool
	// own troubles are done only when they are named: they change the whole machine.
	own bool
}

func troubles() []*trouble {
	return []*trouble{
		{name: "none", what: "nothing is wrong: the load alone"},
		{name: "stop", what: "the agent is stopped and continued", during: stopAndContinue},
		{name: "kill", what: "the agent is killed at any moment and started again", during: killAndRestart},
		{name: "ring", what: "the ring buffer has one page, and nobody empties it for seconds", prepare: tinyRing, during: stopAndContinue, lossy: true},
		{name: "maps", what: "the kernel's maps are too small", prepare: withArgs("--max-promoted", "16", "--young-slots", "64"), lossy: true},
		{name: "disk", what: "the log file's disk is full", prepare: fullDisk, during: emptyDisk, after: readDisk},
		{name: "sink", what: "nobody reads standard output for seconds", during: slowReader},
		{name: "reader", what: "who reads standard output goes away, and the agent is started again", during: readerLeaves},
		{name: "namespaces", what: "namespaces come and go", during: manyNamespaces},
		{name: "reuse", what: "few ports, used again at once", prepare: fewPorts, after: countReuse},
		{name: "pids", what: "processes end and others get their pids", during: reusedPids},
		{name: "memory", what: "the agent has 64 MiB and no more", prepare: littleMemory},
		{name: "everything", what: "stops, kills, a ring of one page and namespaces at once", prepare: tinyRing, during: everything, lossy: true},
		{name: "clock", what: "the wall clock is set forth and back by an hour (changes the machine's)", during: stepClock, own: true},
	}
}

func withArgs(args ...string) func(*round) error {
	return func(r *round) error {
		r.launch.args = append(r.launch.args, args...)
		return nil
	}
}

// tinyRing leaves room for some thirty events, and makes more sockets at once than
// that.
func tinyRing(r *round) error {
	r.load.most = 32
	return withArgs("--ring-bytes", "4096")(r)
}

func stopAndContinue(r *round, ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.agent.suspend(r.between(50*time.Millisecond, 3*time.Second)); err != nil {
			return err
		}
		wait(ctx, r.between(50*time.Millisecond, time.Second))
	}
	r.note("stopped %d times", len(r.agent.dark))
	return nil
}

func killAndRestart(r *round, ctx context.Context) error {
	for ctx.Err() == nil {
		wait(ctx, r.between(0, 2500*time.Millisecond))
		if err := r.restart(); err != nil {
			return err
		}
	}
	r.note("killed %d times", len(r.sessions))
	return nil
}

func (r *round) restart() (err error) {
	r.agent.kill()
	r.keep()
	r.agent, err = start(r.launch, r.j)
	return err
}

func slowReader(r *round, ctx context.Context) error {
	for ctx.Err() == nil {
		wait(ctx, r.between(100*time.Millisecond, 2*time.Second))
		r.agent.stall(r.between(500*time.Millisecond, 3*time.Second))
	}
	r.note("not read %d times", len(r.agent.dark))
	return nil
}

// readerLeaves closes the pipe at any moment: the agent ends by itself, with an
// exit code and one line that say why.
func readerLeaves(r *round, ctx context.Context) error {
	for ctx.Err() == nil {
		wait(ctx, r.between(0, 2500*time.Millisecond))
		if why := r.agent.abandon(); why != "" {
			r.problems = append(r.problems, why)
		}
		r.keep()
		var err error
		if r.agent, err = start(r.launch, r.j); err != nil {
			return err
		}
	}
	r.note("left %d times", len(r.sessions))
	return nil
}

// manyNamespaces makes 50 a second, each with a socket that is stuck shorter than
// the threshold; every tenth stays.
func manyNamespaces(r *round, ctx context.Context) error {
	const rate, stays = 50, 10
	made := 0
	begin := time.Now()
	for ; ctx.Err() == nil; made++ {
		wait(ctx, time.Until(begin.Add(time.Duration(made)*time.Second/rate)))
		ns, err := workload.NewNamespace()
		if err != nil {
			return err
		}
		s, err := r.j.open(ns)
		if err != nil {
			return err
		}
		set, err := workload.Make(workload.Spec{Kind: workload.CloseWaitIgnored, NS: ns, Family: workload.Families()[made%3]})
		if err != nil {
			return err
		}
		lives := r.j.born(set.Truths())
		end := func() error {
			r.j.dying(lives)
			if err := set.Close(); err != nil {
				return err
			}
			r.j.died(lives, nil)
			if err := ns.Close(); err != nil {
				return err
			}
			r.j.close(s)
			return nil
		}
		if made%stays == 0 {
			r.undo = append(r.undo, end)
			continue
		}
		if err := end(); err != nil {
			return err
		}
	}
	r.note("%d namespaces, %.0f a second", made, float64(made)/time.Since(begin).Seconds())
	return nil
}

// fewPorts leaves 24 ports in each namespace of the load.
func fewPorts(r *round) error {
	r.load.most = 4
	for _, ns := range r.load.spaces {
		if err := ns.Sysctl("net/ipv4/ip_local_port_range", "20000 20023"); err != nil {
			return err
		}
	}
	return nil
}

// countReuse says how often a socket had the addresses and ports of one before it.
func countReuse(r *round) {
	seen, again := map[workload.Tuple]bool{}, 0
	ports, portsAgain := map[uint16]bool{}, 0
	for _, l := range r.j.lives {
		tuple, port := l.Truth.Tuple(), l.Truth.Local.Port()
		if seen[tuple] {
			again++
		}
		if ports[port] {
			portsAgain++
		}
		seen[tuple], ports[port] = true, true
	}
	r.note("%d ports and %d pairs of ports had again, %d times none was free", portsAgain, again, r.load.unmade.Load())
	if portsAgain == 0 {
		r.problems = append(r.problems, "no port was had again: this round proves nothing")
	}
}

func everything(r *round, ctx context.Context) error {
	many := make(chan error, 1)
	go func() { many <- manyNamespaces(r, ctx) }()
	for ctx.Err() == nil {
		err := r.agent.suspend(r.between(50*time.Millisecond, time.Second))
		if wait(ctx, r.between(0, time.Second)); err == nil && r.rnd.IntN(2) == 0 {
			err = r.restart()
		}
		if err != nil {
			<-many
			return err
		}
	}
	r.note("killed %d times", len(r.sessions))
	return <-many
}

func byName(name string) (*trouble, error) {
	for _, t := range troubles() {
		if t.name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("--fault %q is not known; allowed: %s", name, names())
}
