package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/console"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
)

const (
	// drainWithin is how long the end waits for sinks; with what comes before,
	// the daemon is gone within two seconds of a signal.
	drainWithin = 1200 * time.Millisecond
	// keepFiles is how many rotated log files stay.
	keepFiles = 5
	// queueBytes holds 20,000 findings, which a host can have at once: a group
	// that opens together must not overrun a reader that only takes its time.
	queueBytes = 32 << 20

	stdoutName = "standard output"
)

// records writes what the agent says to the sinks. It implements agent.Output.
type records struct {
	ctx  context.Context
	stop context.CancelFunc
	log  zerolog.Logger

	json  *jsonline.Encoder
	human *console.Formatter
	// lines get JSON, text what people read.
	lines, text []*sink.Sink
	stdout      *sink.Sink
	buf         []byte
	// then follows the finding that is being put.
	then func()
}

// openRecords starts the sinks. records.ctx ends with ctx, or when nobody reads
// standard output any more.
func openRecords(ctx context.Context, in *agentInput) (*records, error) {
	r := &records{
		log:   in.Log,
		json:  jsonline.New(jsonline.Options{Host: hostName(), Node: os.Getenv("NODE_NAME")}),
		human: console.New(console.ForTerminal(1, os.Getenv)),
	}
	r.ctx, r.stop = context.WithCancel(ctx)
	if err := r.openStdout(in); err != nil {
		return nil, err
	}
	if err := r.openFile(in); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *records) openStdout(in *agentInput) error {
	if in.Config.Output == config.OutputNone {
		return nil
	}
	w, err := sink.NewStream(1, stdoutName)
	if err != nil {
		return err
	}
	r.stdout = r.start(w, stdoutName, "stdout", in.Metrics)
	if jsonWanted(in.Config) {
		r.lines = append(r.lines, r.stdout)
	} else {
		r.text = append(r.text, r.stdout)
	}
	go func() {
		select {
		case <-r.stdout.Gone():
			r.stop()
		case <-r.ctx.Done():
		}
	}()
	return nil
}

func (r *records) openFile(in *agentInput) error {
	path := in.Config.LogFile
	if path == "" {
		return nil
	}
	f, err := sink.OpenFile(path, sink.FileOptions{MaxSize: in.Config.LogFileMaxSize, Keep: keepFiles})
	if err != nil {
		return fmt.Errorf("--log-file: %w; name a file that can be written", err)
	}
	r.lines = append(r.lines, r.start(f, "log file", "file", in.Metrics))
	go r.reopen(f, in.Reopen)
	return nil
}

// reopen follows a file that was moved away, at SIGUSR1.
func (r *records) reopen(f *sink.File, signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
			if err := f.Reopen(); err != nil {
				r.log.Error().Err(err).Msg("the log file cannot be reopened; the old one is still written")
			}
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *records) start(w sink.Writer, name, label string, metrics *serve.Metrics) *sink.Sink {
	s := sink.New(w, sink.Options{
		Name:       name,
		QueueBytes: queueBytes,
		OnError: func(err error) {
			if errors.Is(err, sink.ErrGone) {
				return // it ends the program, and is told then
			}
			r.log.Error().Err(err).Str("sink", label).Msg("records cannot be written; they wait in a bounded queue")
		},
		OnRecovered: func() { r.log.Info().Str("sink", label).Msg("records are written again") },
	})
	metrics.AddSink(label, func() serve.SinkStats { return serve.SinkStats(s.Stats()) })
	return s
}

// Finding implements agent.Output.
func (r *records) Finding(f *finding.Finding) {
	if len(r.lines) > 0 {
		r.buf = r.json.AppendFinding(r.buf[:0], f)
		r.put(r.lines)
	}
	if len(r.text) > 0 {
		r.buf = r.human.AppendFinding(r.buf[:0], f)
		r.put(r.text)
	}
}

// put gives the finding in buf to some sinks, what follows it to the first.
func (r *records) put(sinks []*sink.Sink) {
	if then := r.then; then != nil && sinks[0].PutThen(r.buf, then) {
		r.then = nil
		sinks = sinks[1:]
	} else if then != nil {
		sinks = sinks[1:] // it was dropped, and counted as that
	}
	put(sinks, r.buf)
}

// FindingThen implements agent.Ordered: then is called once the first of the sinks
// has written the record, or at once where there are none. A record that a full
// queue drops is written nowhere, so the next run has to say it again.
func (r *records) FindingThen(f *finding.Finding, then func()) {
	if len(r.lines)+len(r.text) == 0 {
		then()
		return
	}
	r.then = then
	r.Finding(f)
	r.then = nil
}

// Loss implements agent.Output.
func (r *records) Loss(l *finding.Loss) {
	if len(r.lines) > 0 {
		r.buf = r.json.AppendLoss(r.buf[:0], l)
		put(r.lines, r.buf)
	}
	if len(r.text) > 0 {
		r.buf = r.human.AppendLoss(r.buf[:0], l)
		put(r.text, r.buf)
	}
}

// WriteQueue implements agent.Output.
func (r *records) WriteQueue(w *finding.WriteQueue) {
	if len(r.lines) > 0 {
		r.buf = r.json.AppendWriteQueue(r.buf[:0], w)
		put(r.lines, r.buf)
	}
	if len(r.text) > 0 {
		r.buf = r.human.AppendWriteQueue(r.buf[:0], w)
		put(r.text, r.buf)
	}
}

func put(sinks []*sink.Sink, record []byte) {
	for _, s := range sinks {
		s.Put(sink.Finding, record)
	}
}

// close writes what is queued, within a limit.
func (r *records) close() error {
	r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	return sink.CloseAll(ctx, slices.Concat(r.lines, r.text)...)
}
