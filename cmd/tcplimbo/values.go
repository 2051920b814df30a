package main

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
)

// Each of these reads one flag of a command. They return a usage error that
// names the flag, the value and what is allowed.

func oneOf(c *cli.Context, name string, values ...string) (string, error) {
	v := c.String(name)
	if slices.Contains(values, v) {
		return v, nil
	}
	return "", usageError("--%s: %q is not known; allowed: %s", name, v, strings.Join(values, ", "))
}

// duration returns 0 if the flag is not given.
func duration(c *cli.Context, name, allowed string) (time.Duration, error) {
	if !c.IsSet(name) {
		return 0, nil
	}
	d, err := config.ParseDuration(c.String(name))
	if err != nil {
		return 0, usageError("--%s: %w; allowed: %s", name, err, allowed)
	}
	if d < 0 {
		return 0, usageError("--%s: %q is negative; allowed: %s", name, c.String(name), allowed)
	}
	return d, nil
}

// number returns 0 if the flag is not given; otherwise it is from 1 to most.
func number(c *cli.Context, name string, most uint64) (uint64, error) {
	if !c.IsSet(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.String(name), 10, 64)
	if err != nil || n == 0 || n > most {
		return 0, usageError("--%s: %q does not fit; allowed: a number from 1 to %d", name, c.String(name), most)
	}
	return n, nil
}

func port(c *cli.Context, name string) (uint16, error) {
	n, err := number(c, name, 65535)
	return uint16(n), err
}

// maxPID is PID_MAX_LIMIT (include/linux/threads.h).
const maxPID = 4 << 20

func pid(c *cli.Context) (uint32, error) {
	n, err := number(c, "pid", maxPID)
	return uint32(n), err
}

// prefix returns the zero Prefix if the flag is not given. A single address
// stands for itself; an IPv4-mapped one is IPv4.
func prefix(c *cli.Context, name string) (netip.Prefix, error) {
	if !c.IsSet(name) {
		return netip.Prefix{}, nil
	}
	p, err := config.ParsePrefix(c.String(name))
	if err != nil {
		return netip.Prefix{}, usageError("--%s: %w", name, err)
	}
	return p, nil
}

// states returns the empty set if the flag is not given.
func states(c *cli.Context, name string) (flow.StateSet, error) {
	var set flow.StateSet
	for _, word := range c.StringSlice(name) {
		s := parseState(word)
		if s == flow.StateUnknown {
			return 0, unknownState(name, word)
		}
		set |= s.Bit()
	}
	return set, nil
}

func unknownState(name, word string) error {
	if best := nearest.To(word, stateWords()); best != "" {
		return usageError("--%s: %q is not a TCP state; did you mean %s?", name, word, best)
	}
	return usageError("--%s: %q is not a TCP state; allowed: %s", name, word, strings.Join(stateWords(), ", "))
}

// stateWords are OpenTelemetry's spellings, each once.
func stateWords() []string {
	var words []string
	for s := flow.StateUnknown + 1; s < flow.StateMax; s++ {
		if !slices.Contains(words, s.String()) {
			words = append(words, s.String())
		}
	}
	return words
}

// stateAliases are spellings of ss(8), netstat(8) and the kernel that are not
// one of the two of package flow, folded.
var stateAliases = map[string]flow.State{
	"established": flow.StateEstablished,
	"synrecv":     flow.StateSynRecv,
	"close":       flow.StateClose,
	"listening":   flow.StateListen,
}

// parseState takes close_wait, close-wait, CLOSE_WAIT, TCP_CLOSE_WAIT and
// CLOSEWAIT alike; StateUnknown if it is none.
func parseState(word string) flow.State {
	folded := fold(word)
	for s := flow.StateUnknown + 1; s < flow.StateMax; s++ {
		if folded == fold(s.String()) || folded == fold(s.Label()) {
			return s
		}
	}
	return stateAliases[folded]
}

func fold(word string) string {
	word = strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(word))
	return strings.TrimPrefix(word, "tcp")
}
