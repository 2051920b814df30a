package tracer

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/link"
)

// The tracepoint at the end of accept makes every system call of every process a little
// slower, of those too that accept nothing: as long as one at a system call's end is in
// use, the kernel takes the long way out of each (kernel/entry/common.c,
// SYSCALL_WORK_SYSCALL_TRACEPOINT). Where so many connections are opened that stacks are
// samples anyway, it is used for a part of the time only.
const (
	acceptRound = 16 * time.Second
	acceptOpen  = 2 * time.Second
	// crowdedShift is how much of the rate of stacks is gone where they are samples
	// enough: three quarters.
	crowdedShift = 2
)

// acceptHook is that use. Beginning and ending it waits for every CPU, so that is done
// beside the caller; it is not for concurrent use itself.
type acceptHook struct {
	attach func() (io.Closer, error)
	// hook is nil where accept is not looked at.
	hook   io.Closer
	moving chan acceptMove
	// sparing: it is used now and then; open is the present phase, until then.
	sparing, open bool
	until         time.Duration
	// stays: once it could not be had again, so it is not let go of any more.
	stays bool
	// refused takes why it could not be had, once a time that it is missing.
	refused func(error)
	missing bool
}

type acceptMove struct {
	hook io.Closer
	err  error
}

// begin attaches it, at once.
func (h *acceptHook) begin() (err error) {
	h.hook, err = h.attach()
	return err
}

// pace attaches or detaches it as the time (boot clock) and the demand for stacks ask for.
// crowded: they are rare samples. needed: all of somebody's are wanted.
func (h *acceptHook) pace(now time.Duration, crowded, needed bool) {
	if h.moving != nil {
		select {
		case m := <-h.moving:
			h.moved(m)
		default:
			return
		}
	}
	want := h.want(now, crowded, needed) || h.stays
	if want == (h.hook != nil) {
		return
	}
	h.moving = make(chan acceptMove, 1)
	go h.move(want, h.hook, h.moving)
}

// want decides whether accept is looked at.
func (h *acceptHook) want(now time.Duration, crowded, needed bool) bool {
	switch {
	case needed || !crowded && (!h.sparing || h.open && now >= h.until):
		h.sparing = false
		return true
	case !h.sparing:
		h.sparing, h.open, h.until = true, false, now+acceptRound-acceptOpen
	case now < h.until:
	case h.open:
		h.open, h.until = false, now+acceptRound-acceptOpen
	default:
		h.open, h.until = true, now+acceptOpen
	}
	return h.open
}

// move is what takes its time.
func (h *acceptHook) move(want bool, held io.Closer, done chan<- acceptMove) {
	if want {
		hook, err := h.attach()
		done <- acceptMove{hook, err}
		return
	}
	done <- acceptMove{nil, held.Close()}
}

func (h *acceptHook) moved(m acceptMove) {
	h.moving, h.hook = nil, m.hook
	if m.err != nil {
		h.stays = true
		if !h.missing {
			h.refused(m.err)
		}
	}
	h.missing = m.err != nil
}

// end waits for what is under way, and detaches it.
func (h *acceptHook) end() error {
	if h.moving != nil {
		h.moved(<-h.moving)
	}
	if h.hook == nil {
		return nil
	}
	err := h.hook.Close()
	h.hook = nil
	return err
}

// links are closed together.
type links []link.Link

// Close implements io.Closer.
func (ls links) Close() error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// hookAccept attaches limbo_accept to the ends of accept and accept4.
func (t *Tracer) hookAccept() (io.Closer, error) {
	var ls links
	for _, call := range []string{"sys_exit_accept4", "sys_exit_accept"} {
		l, err := link.Tracepoint("syscalls", call, t.objs.LimboAccept, nil)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attaching %s: %w", call, err), ls.Close())
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// paceAccept is to be called each tick.
func (t *Tracer) paceAccept(now time.Duration) {
	if t.stacks.accepts != nil || t.stacks.accept.attach == nil {
		return
	}
	crowded := false
	for i := range t.stacks.shares {
		crowded = crowded || t.stacks.shares[i].shift >= crowdedShift
	}
	t.stacks.accept.pace(now, crowded, len(t.stacks.leaky) > 0)
}
