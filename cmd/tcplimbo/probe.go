package main

import (
	"context"
	"errors"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/sockdiag"
)

// kernelProbe tries the programs for `check`. It makes the smallest maps and
// frees all of it again.
type kernelProbe struct{}

// LoadPrograms implements check.Kernel.
func (kernelProbe) LoadPrograms(context.Context) (lacking, err error) {
	err = withTracer(func(t *tracer.Tracer) error {
		if err := t.Attach(); err != nil {
			return err
		}
		lacking = t.SeesNested()
		return nil
	})
	return lacking, err
}

// OpenIterators implements check.Kernel.
func (kernelProbe) OpenIterators(context.Context) error {
	return withTracer(func(t *tracer.Tracer) error {
		closeWait := flow.StateCloseWait.Bit()
		err := t.Walk(flow.WalkStates{States: closeWait}, func(*flow.Sock) {})
		return errors.Join(err, t.Holders(flow.Wanted{States: closeWait}, func(*flow.Held) {}))
	})
}

// TellSYNCauses implements check.Kernel.
func (kernelProbe) TellSYNCauses(context.Context) error {
	return withTracer(func(t *tracer.Tracer) error {
		if err := t.SYNCauses(); err != nil {
			return err
		}
		return errors.Join(t.WatchSYN(true), t.WatchSYN(false))
	})
}

// AskSockDiag implements check.Kernel.
func (kernelProbe) AskSockDiag(context.Context) (namespaces int, lost string, err error) {
	source, err := sockdiag.New(procRoot)
	if err != nil {
		return 0, "", err
	}
	n, _ := source.Namespaces()
	return n, sockdiag.Lost, source.Close()
}

// TakeStacks implements check.Kernel.
func (kernelProbe) TakeStacks(context.Context) check.StackHooks {
	var hooks check.StackHooks
	err := withTracer(func(t *tracer.Tracer) error {
		err := errors.Join(t.Attach(), t.WatchEOF(true))
		hooks.Connect, hooks.Accept, hooks.EOF = t.StackHooks()
		return err
	})
	hooks.Connect = errors.Join(hooks.Connect, err)
	hooks.Registers = tracer.SystemCallRegisters()
	return hooks
}

func withTracer(try func(*tracer.Tracer) error) error {
	t, err := tracer.Load(tracer.Options{Watch: flow.StateCloseWait.Bit(), RingBytes: 4096, MaxPromoted: 64, YoungSlots: 64, Stacks: flow.StacksOn})
	if err != nil {
		return err
	}
	return errors.Join(try(t), t.Close())
}
