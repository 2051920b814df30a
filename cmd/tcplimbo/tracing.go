package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
	"github.com/tcplimbo/tcplimbo/userspace/table"
	"github.com/tcplimbo/tcplimbo/userspace/transition"
)

const (
	// traceEvery is how often waiting events are looked at if they are few; the
	// kernel side wakes the reader when they are many.
	traceEvery = 50 * time.Millisecond
	// traceBatch is how many events are converted at once, and traceWrite how
	// many bytes are written at once.
	traceBatch = 8192
	traceWrite = 128 << 10
)

// traceSockets streams transitions until ctx is done.
func traceSockets(ctx context.Context, in *traceInput) (err error) {
	// A reader that ends shall be an error, not a signal (os/signal, "SIGPIPE").
	signal.Ignore(syscall.SIGPIPE)
	opts := in.tracerOptions()
	kernel, err := attach(tracer.Options{Trace: opts})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	out, stop, err := lineWriter(ctx)
	if err != nil {
		return err
	}
	defer stop()
	t := newTraceWriter(in, kernel, opts)
	t.out = out
	if err := t.begin(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := t.step(time.Now().Add(traceEvery)); err != nil && !out.gaveUp(err) {
			return err
		}
	}
	if err := kernel.Detach(); err != nil {
		return fmt.Errorf("detaching programs: %w", err)
	}
	if err := t.step(time.Now()); err != nil && !out.gaveUp(err) {
		return err
	}
	return t.sayLeftOut(in.Log)
}

func (in *traceInput) tracerOptions() *tracer.Trace {
	return &tracer.Trace{
		States: in.State, Old: in.Old, New: in.New,
		PID:  in.PID,
		Port: in.Port, LocalPort: in.LocalPort, PeerPort: in.PeerPort,
		IPv4Only: in.IPv4Only, IPv6Only: in.IPv6Only,
		Net:           in.Net,
		NoRetransmits: in.NoRetransmits, RetransmitsOnly: in.RetransmitsOnly,
	}
}

// traceWriter reads, converts and writes on one goroutine: where the reader of
// the output is slow the kernel's ring fills, and what it cannot take is counted
// and said.
type traceWriter struct {
	kernel *tracer.Tracer
	conv   *transition.Converter
	out    io.Writer
	json   *jsonline.Encoder
	stream *jsonline.Stream
	table  table.Trace
	isJSON bool

	events []flow.Event
	buf    []byte
	failed error
	lost   uint64
	// leftOut counts what was not written because writing failed.
	leftOut uint64
}

func newTraceWriter(in *traceInput, kernel *tracer.Tracer, opts *tracer.Trace) *traceWriter {
	conv := transition.New(kernel.Read)
	conv.KernelAges = opts.Filters()
	conv.LocalPort, conv.Port = in.LocalPort, in.Port
	enc := jsonline.New(jsonline.Options{Host: hostName()})
	return &traceWriter{
		kernel: kernel, conv: conv, isJSON: in.JSON,
		json: enc, stream: enc.Stream(),
		table:  table.Trace{Wide: in.IPv6Only},
		events: make([]flow.Event, 0, traceBatch),
	}
}

func (t *traceWriter) begin() error {
	if t.isJSON {
		return nil
	}
	_, err := t.out.Write(t.table.AppendHeader(nil))
	return err
}

// step waits for events until the deadline and writes what came.
func (t *traceWriter) step(deadline time.Time) error {
	err := t.kernel.Wait(deadline, func(e *flow.Event) {
		if t.failed != nil {
			t.leftOut++
			return
		}
		t.events = append(t.events, *e)
		if len(t.events) == traceBatch {
			t.convert()
		}
	})
	if err != nil {
		return err
	}
	t.convert()
	t.flush()
	if t.failed != nil {
		return t.failed
	}
	return t.sayLost()
}

func (t *traceWriter) convert() {
	wall := time.Now().Add(-tracer.BootTime())
	err := t.conv.Convert(t.events, wall, func(tr *finding.Transition) {
		if t.isJSON {
			t.buf = t.stream.AppendTransition(t.buf, tr)
		} else {
			t.buf = t.table.AppendTransition(t.buf, tr)
		}
		if len(t.buf) >= traceWrite {
			t.flush()
		}
	})
	t.events = t.events[:0]
	if err != nil && t.failed == nil {
		t.failed = err
	}
}

func (t *traceWriter) flush() {
	if len(t.buf) > 0 && t.failed == nil {
		t.write(t.buf)
	} else {
		t.leftOut += uint64(bytes.Count(t.buf, []byte{'\n'}))
	}
	t.buf = t.buf[:0]
}

func (t *traceWriter) write(p []byte) {
	n, err := t.out.Write(p)
	t.failed = err
	t.leftOut += uint64(bytes.Count(p[n:], []byte{'\n'}))
}

// sayLeftOut tells what the end did not wait for. Standard output cannot: its
// reader is what was too slow.
func (t *traceWriter) sayLeftOut(log zerolog.Logger) error {
	if t.failed == nil {
		return nil
	}
	stats, err := t.kernel.Stats()
	if err != nil {
		return err
	}
	t.leftOut += stats.RingFull + stats.Recursion - t.lost
	log.Warn().Uint64("left_out", t.leftOut).
		Msg("the reader of standard output is too slow: transitions were left out at the end")
	return nil
}

// sayLost writes a record of loss; times spent in a state start anew then.
func (t *traceWriter) sayLost() error {
	stats, err := t.kernel.Stats()
	if err != nil {
		return err
	}
	n := stats.RingFull + stats.Recursion - t.lost
	if n == 0 {
		return nil
	}
	t.conv.Forget()
	message := fmt.Sprintf("%d transitions or retransmissions were lost", n)
	line := fmt.Appendf(nil, "# %s\n", message)
	if t.isJSON {
		l := finding.Loss{Time: time.Now(), Where: "ring_buffer", Count: n, Message: message}
		line = t.json.AppendLoss(nil, &l)
	}
	if _, err = t.out.Write(line); err != nil {
		t.failed = err
		return t.failed
	}
	t.lost += n
	return nil
}
