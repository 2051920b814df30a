package main

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// keeper keeps what the next run has to know. What fails is told once.
type keeper struct {
	pins *tracer.Pins
	log  zerolog.Logger
	once sync.Once
}

// Keep implements agent.Keeper.
func (k *keeper) Keep(state *flow.Kept) { k.tell(k.pins.Keep(state)) }

// Forget implements agent.Keeper.
func (k *keeper) Forget(state *flow.Kept) { k.tell(k.pins.Forget(state)) }

func (k *keeper) tell(err error) {
	if err != nil {
		k.once.Do(func() {
			k.log.Warn().Err(err).Msg("not all findings are kept for the next run, which will open the others anew")
		})
	}
}

// keepState takes over what the last run left, if that is wanted; the result lets go
// of it when everything is written. Without it only a restart is worse, so what
// fails is a warning.
func keepState(in *agentInput, cfg *agent.Config) (release func()) {
	if in.Config.PinPath == "" {
		return func() {}
	}
	pins, err := tracer.OpenPins(in.Config.PinPath)
	var kept []flow.Kept
	if err == nil {
		if kept, err = pins.Take(); err != nil {
			err = errors.Join(err, pins.Close())
		}
	}
	if err != nil {
		in.Log.Warn().Err(err).Msg("--pin-path: nothing is kept across restarts")
		return func() {}
	}
	if pins.Discarded {
		in.Log.Warn().Str("pin_path", in.Config.PinPath).Msg("another version's state was removed; its findings open anew")
	}
	k := &keeper{pins: pins, log: in.Log}
	cfg.Keep, cfg.Kept = k, kept
	return func() { k.tell(pins.Close()) }
}

func (w *world) unpinCommand() *command {
	return &command{
		name: "unpin", usage: "remove what `run --pin-path` left in the kernel",
		description: "It removes the state that is kept across restarts, and the directory if nothing else is in it. " +
			"While a daemon uses the directory it refuses.",
		flags: []flagSpec{{
			name: "pin-path", placeholder: "DIR", file: true, usage: "the directory that was given to run (required)",
		}},
		examples: []example{{"sudo tcplimbo unpin --pin-path /sys/fs/bpf/tcplimbo", "before tcplimbo is removed from a host"}},
		run:      w.unpin,
	}
}

func (w *world) unpin(c *cli.Context) error {
	dir := c.String("pin-path")
	if dir == "" {
		return usageError("--pin-path is missing; name the directory that was given to run")
	}
	there, err := tracer.Unpin(dir)
	if err != nil {
		return unpinning(err)
	}
	said := "removed what was kept in "
	if !there {
		said = "nothing was kept in "
	}
	_, err = fmt.Fprintln(c.App.Writer, readable.Safe(said+dir, maxErrorLine))
	return writing(err)
}

// unpinning adds what to do where the error only says what is in the way.
func unpinning(err error) error {
	switch {
	case errors.Is(err, tracer.ErrPinsInUse):
		return fmt.Errorf("%w; stop it first", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; name the directory that was given to run", err)
	}
	return err
}
