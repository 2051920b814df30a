package main

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
)

// lines writes whole lines to standard output and never blocks for good: where
// nobody reads, a signal still ends the program.
type lines struct {
	ctx    context.Context
	stream *sink.Stream
}

// lastWords is how long the end waits for a slow reader: what follows has to be
// done within two seconds of a signal.
const lastWords = time.Second

// lineWriter returns a writer that goes on for a moment when ctx is done. stop
// frees what it holds.
func lineWriter(ctx context.Context) (w *lines, stop func(), err error) {
	stream, err := sink.NewStream(1, stdoutName)
	if err != nil {
		return nil, nil, err
	}
	end, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })
	return &lines{ctx: end, stream: stream}, cancel, nil
}

// gaveUp reports whether err is that the reader was too slow for the end.
func (l *lines) gaveUp(err error) bool { return l.ctx.Err() != nil && errors.Is(err, context.Canceled) }

// Write implements io.Writer; p holds whole lines.
func (l *lines) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := l.stream.Write(l.ctx, wholeLines(p[written:], l.stream.Batch()))
		written += n
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
