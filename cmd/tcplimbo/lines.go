package main

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
)

// lines writes whole lines to standard output and never blocks for good: where
// nobody reads, a signal still ends the program.
type lines struct {
	ctx     context.Context
	stream  *sink.Stream
	written atomic.Int64
}

// lastWords is how long the end waits for a reader that takes nothing.
const lastWords = time.Second

// lineWriter returns a writer that goes on when ctx is done, as long as somebody
// reads. stop frees what it holds.
func lineWriter(ctx context.Context) (w *lines, stop func(), err error) {
	stream, err := sink.NewStream(1, stdoutName)
	if err != nil {
		return nil, nil, err
	}
	end, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w = &lines{ctx: end, stream: stream}
	context.AfterFunc(ctx, func() { w.watch(cancel) })
	return w, cancel, nil
}

// watch gives up when nothing was written for a while.
func (l *lines) watch(giveUp context.CancelFunc) {
	tick := time.NewTicker(lastWords)
	defer tick.Stop()
	for before := l.written.Load(); ; {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		now := l.written.Load()
		if now == before {
			giveUp()
			return
		}
		before = now
	}
}

// Write implements io.Writer; p holds whole lines.
func (l *lines) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := l.stream.Write(l.ctx, wholeLines(p[written:], l.stream.Batch()))
		written += n
		l.written.Add(int64(n))
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// wholeLines returns the lines that fit into limit bytes, at least one.
func wholeLines(p []byte, limit int) []byte {
	if len(p) <= limit {
		return p
	}
	if i := bytes.LastIndexByte(p[:limit], '\n'); i >= 0 {
		return p[:i+1]
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return p[:i+1]
	}
	return p
}
