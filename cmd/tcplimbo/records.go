package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/console"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp"
	"github.com/tcplimbo/tcplimbo/userspace/table"
)

const (
	// drainWithin is how long the end waits for sinks; with what comes before,
	// the daemon is gone within two seconds of a signal.
	drainWithin = 1200 * time.Millisecond
	// keepFiles is how many rotated log files stay.
	keepFiles = 5
	// queueBytes holds 10,000 findings with the longest lines in the three quarters that
	// what opens may take: what opens together must not overrun a reader that only
	// takes its time.
	queueBytes = 64 << 20

	stdoutName = "standard output"
)

// records writes what the agent says to the sinks. It implements group.Output.
type records struct {
	ctx  context.Context
	stop context.CancelFunc
	log  zerolog.Logger

	json  *jsonline.Encoder
	human *console.Formatter
	// lines get JSON, text what people read.
	lines, text []*recordSink
	stdout      *recordSink
	// pushed are the metrics that are sent, nil if they are not.
	pushed *otlp.Metrics
	buf    []byte
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
	for _, open := range []func(*agentInput) error{r.openStdout, r.openFile, r.openJournal, r.openOTLP} {
		if err := open(in); err != nil {
			return nil, errors.Join(err, r.close())
		}
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
	r.stdout = r.start(w, stdoutName, "stdout", in.Metrics, 0)
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
	r.lines = append(r.lines, r.start(f, "log file", "file", in.Metrics, 0))
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

// start runs a sink that writes so many bytes of findings at once; 0: each by itself.
func (r *records) start(w sink.Writer, name, label string, metrics *serve.Metrics, batch int) *recordSink {
	s := sink.New(w, sink.Options{
		Name:       name,
		QueueBytes: queueBytes, FindingBatch: batch,
		OnError: func(err error) {
			if errors.Is(err, sink.ErrGone) {
				return // it ends the program, and is told then
			}
			if _, refused := errors.AsType[*sink.RejectedError](err); refused {
				r.log.Error().Err(err).Str("sink", label).Msg("records were refused and are lost")
				return
			}
			r.log.Error().Err(err).Str("sink", label).Msg("records cannot be written; they wait in a bounded queue")
		},
		OnRecovered: func() { r.log.Info().Str("sink", label).Msg("records are written again") },
	})
	metrics.AddSink(label, func() serve.SinkStats { return serve.SinkStats(s.Stats()) })
	return &recordSink{Sink: s}
}

// Finding implements group.Output.
func (r *records) Finding(f *finding.Finding) {
	w := word{id: f.ID, status: f.Status}
	w.as = func(dst []byte, s finding.Status) []byte { return r.json.AppendFinding(dst, findingAs(f, s)) }
	r.say(r.lines, &w)
	w.as = func(dst []byte, s finding.Status) []byte { return r.human.AppendFinding(dst, findingAs(f, s)) }
	r.say(r.text, &w)
}

func findingAs(f *finding.Finding, s finding.Status) *finding.Finding {
	if f.Status == s {
		return f
	}
	as := *f
	as.Status = s
	return &as
}

// say gives a record to some sinks, what follows it to the first.
func (r *records) say(sinks []*recordSink, w *word) {
	if len(sinks) == 0 {
		return
	}
	r.buf = w.as(r.buf[:0], w.status)
	for i, s := range sinks {
		if i > 0 || r.then == nil {
			s.say(w, r.buf, nil)
		} else if s.say(w, r.buf, r.then) {
			r.then = nil // if it was dropped, it was counted as that
		}
	}
}

// FindingThen implements group.Ordered: then is called once the first of the sinks
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

// Loss implements group.Output.
func (r *records) Loss(l *finding.Loss) {
	r.note(sink.Finding, func(dst []byte) []byte { return r.json.AppendLoss(dst, l) },
		func(dst []byte) []byte { return r.human.AppendLoss(dst, l) })
}

// Group implements group.Output.
func (r *records) Group(g *finding.Group) {
	w := word{id: g.ID, status: g.Status, total: true}
	w.as = func(dst []byte, s finding.Status) []byte { return r.json.AppendGroup(dst, groupAs(g, s)) }
	r.say(r.lines, &w)
	w.as = func(dst []byte, s finding.Status) []byte { return r.human.AppendGroup(dst, groupAs(g, s)) }
	r.say(r.text, &w)
}

func groupAs(g *finding.Group, s finding.Status) *finding.Group {
	if g.Status == s {
		return g
	}
	as := *g
	as.Status = s
	return &as
}

// WriteQueue implements group.Output.
func (r *records) WriteQueue(w *finding.WriteQueue) {
	r.note(classOf(w.Status), func(dst []byte) []byte { return r.json.AppendWriteQueue(dst, w) },
		func(dst []byte) []byte { return r.human.AppendWriteQueue(dst, w) })
}

// note puts what is no finding, as a line and as text.
func (r *records) note(class sink.Class, line, text func(dst []byte) []byte) {
	if len(r.lines) > 0 {
		r.buf = line(r.buf[:0])
		put(r.lines, class, r.buf)
	}
	if len(r.text) > 0 {
		r.buf = text(r.buf[:0])
		put(r.text, class, r.buf)
	}
}

// summary says at the end what is still open; only people are told.
func (r *records) summary(groups []finding.Group, by string) {
	text := []byte("nothing is open\n")
	if len(groups) > 0 {
		text = table.AppendGroups(nil, groups, by, table.Options{})
	}
	put(r.text, sink.Finding, text)
}

func put(sinks []*recordSink, class sink.Class, record []byte) {
	for _, s := range sinks {
		s.Put(class, record)
	}
}

// close writes what is queued, within a limit.
func (r *records) close() error {
	r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	var wg sync.WaitGroup
	var pushErr error
	if r.pushed != nil {
		wg.Go(func() { pushErr = r.pushed.Close(ctx) })
	}
	var sinks []*sink.Sink
	for _, s := range slices.Concat(r.lines, r.text) {
		sinks = append(sinks, s.Sink)
	}
	err := sink.CloseAll(ctx, sinks...)
	wg.Wait()
	if pushErr != nil {
		r.log.Warn().Err(pushErr).Msg("the last metrics were not sent")
	}
	return err
}
