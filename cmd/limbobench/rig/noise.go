package rig

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
)

// Noise watches what else uses the machine while something is measured.
type Noise struct {
	groups []int
	began  time.Time
	times  host.Times
	ours   time.Duration
	others []ebpf.ProgramID
}

// ListenForNoise begins; groups are the process groups that belong to the
// measurement, beside this one.
func ListenForNoise(groups ...int) (*Noise, error) {
	n := &Noise{groups: append(groups, unix.Getpgrp())}
	var err error
	if n.others, err = n.otherAgents(); err != nil {
		return nil, err
	}
	if n.ours, err = n.user(); err != nil {
		return nil, err
	}
	n.began = time.Now()
	n.times, err = host.ReadTimes()
	return n, err
}

const (
	// foreignMost is the user time of other processes, in CPUs, that is still
	// calm. Most of it is the error of a clock that ticks every 10 ms.
	foreignMost = 0.06
	// stealMost is the share of one CPU that the hypervisor may take.
	stealMost = 0.03
)

// Heard returns what disturbed since ListenForNoise, empty if nothing did.
func (n *Noise) Heard() (string, error) {
	times, err := host.ReadTimes()
	if err != nil {
		return "", err
	}
	elapsed := time.Since(n.began)
	ours, err := n.user()
	if err != nil {
		return "", err
	}
	others, err := n.otherAgents()
	if err != nil {
		return "", err
	}
	foreign := float64(times.User-n.times.User-(ours-n.ours)) / float64(elapsed)
	steal := float64(times.Steal-n.times.Steal) / float64(elapsed)
	switch {
	case len(others) > 0 || len(n.others) > 0:
		return "another tcplimbo is attached", nil
	case foreign > foreignMost:
		return fmt.Sprintf("other processes used %.0f %% of a CPU", 100*foreign), nil
	case steal > stealMost:
		return fmt.Sprintf("the hypervisor took %.0f %% of a CPU", 100*steal), nil
	}
	return "", nil
}

func (n *Noise) user() (sum time.Duration, err error) {
	for _, group := range n.groups {
		u, err := host.ReadUsage(group)
		if err != nil {
			return 0, err
		}
		sum += u.User
	}
	return sum, nil
}

// otherAgents returns the tracepoint programs of other agents: they cost
// every transition as much as ours.
func (n *Noise) otherAgents() ([]ebpf.ProgramID, error) {
	all, err := host.Named("limbo_set_state")
	if err != nil || len(all) == 0 {
		return nil, err
	}
	for _, pid := range n.groups {
		own, err := host.Programs(pid)
		if err != nil {
			return nil, err
		}
		for _, p := range own {
			all = slices.DeleteFunc(all, func(id ebpf.ProgramID) bool { return id == p.ID })
		}
	}
	return all, nil
}

// calmLook is how long the machine is listened to before it is called calm.
const calmLook = 300 * time.Millisecond

// AwaitCalm waits until nothing else uses the machine, but no longer than what
// is left of the patience that all measurements share. groups belong to the
// measurement.
func (b *Bench) AwaitCalm(ctx context.Context, groups ...int) error {
	for told := false; b.Patience > 0; told = true {
		began := time.Now()
		n, err := ListenForNoise(groups...)
		if err != nil {
			return err
		}
		if err := Sleep(ctx, calmLook); err != nil {
			return err
		}
		heard, err := n.Heard()
		if err != nil || heard == "" {
			return err
		}
		if !told {
			b.Progress("waiting for a calm machine, at most %s: %s", b.Patience.Round(time.Second), heard)
		}
		b.Patience -= time.Since(began)
	}
	return nil
}
