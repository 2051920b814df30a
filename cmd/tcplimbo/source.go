package main

import (
	"errors"
	"io"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/listing"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
	"github.com/tcplimbo/tcplimbo/userspace/sockdiag"
)

// kernelSide is what tells of sockets: the tracer, or sock_diag.
type kernelSide interface {
	agent.Kernel
	listing.Kernel
	io.Closer
}

// preflight returns in blocked why eBPF is sure not to load, where something else
// takes its place then, and as an error where nothing does.
func (w *world) preflight(source config.KernelSource) (blocked, err error) {
	if source == config.SourceSockDiag {
		return nil, nil
	}
	err = w.host.Preflight()
	if source == config.SourceAuto {
		return err, nil
	}
	return nil, err
}

// sourceChoice is which kernel side is wanted.
type sourceChoice struct {
	Source config.KernelSource
	// Blocked is why eBPF need not be tried, nil if it is worth it.
	Blocked error
}

// open returns the kernel side, and whether it has to be polled.
func (c sourceChoice) open(opts tracer.Options, log *zerolog.Logger) (kernelSide, bool, error) {
	why := c.Blocked
	if why == nil && c.Source != config.SourceSockDiag {
		kernel, err := attach(opts)
		if err == nil {
			return kernel, false, nil
		}
		if c.Source == config.SourceEBPF {
			return nil, false, err
		}
		why = err
	}
	source, err := sockdiag.New(procRoot)
	if err != nil {
		return nil, false, &check.Blocked{
			Code: check.ExitUnavailable, What: err.Error(), Remedy: "`tcplimbo check` tells what this host allows",
		}
	}
	c.sayPolled(log, why, source)
	return source, true, nil
}

// sayPolled says in one line why there is no eBPF and what that costs; `check` has
// the room to say all of it, and what to do.
func (c sourceChoice) sayPolled(log *zerolog.Logger, why error, source interface{ Namespaces() (n int, others bool) }) {
	n, others := source.Namespaces()
	said := log.Info()
	if c.Source == config.SourceAuto {
		said = log.Warn().Str("why", shortly(why))
	}
	said = said.Str("lost", sockdiag.LostMost).Int("namespaces", n)
	if !others {
		said = said.Str("unprivileged", sockdiag.Alone)
	}
	if c.Source == config.SourceAuto {
		said.Msg("eBPF does not load here, so sockets are polled by netlink; `tcplimbo check` says what else is lost and how to mend it")
	} else {
		said.Msg("sockets are polled by netlink, without eBPF; `tcplimbo check` says what else is lost")
	}
}

// maxWhy bounds what the kernel's verifier may say.
const maxWhy = 200

// shortly leaves the remedy out.
func shortly(err error) string {
	text := err.Error()
	if blocked := (*check.Blocked)(nil); errors.As(err, &blocked) {
		text = blocked.What
	}
	return readable.Safe(text, maxWhy)
}
