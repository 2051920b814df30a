package main

import (
	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer"
)

// readyThenLate is in.Ready, after which the programs are loaded that the start did not
// wait for. Not before: privileges are given up on all threads, and a signal to one
// that is in the verifier makes that begin anew.
func readyThenLate(kernel kernelSide, in *agentInput) func() error {
	loader, ok := kernel.(*tracer.Tracer)
	if !ok {
		return in.Ready
	}
	return func() error {
		if err := in.Ready(); err != nil {
			return err
		}
		go sayRefused(loader.LoadLate(), in.Log)
		return nil
	}
}

// sayRefused ends when the kernel side is closed.
func sayRefused(refused <-chan error, log zerolog.Logger) {
	for err := range refused {
		log.Warn().Err(err).Msg("a part of the kernel side is lacking, the rest works; `tcplimbo check` tells more")
	}
}
