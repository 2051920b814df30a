package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const (
	delaySockets = 1000
	delayRate    = 100 // sockets per second
	// delayThreshold is far above the tick, which stays at its default.
	delayThreshold = 2 * time.Second
	delayMedian    = 150 // ms
	delayP99       = 350
)

// measureDelay is P8.
func measureDelay(ctx context.Context, b *rig.Bench) (rows []report.Row, err error) {
	obs, err := b.Run("--close-wait", delayThreshold.String())
	if err != nil {
		return nil, err
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	defer pr.Close()
	arrived := newArrivals()
	go arrived.read(pr)
	r, err := b.StartPiped(ctx, obs, pw)
	_ = pw.Close() // the agent has it; its end is the end of the lines
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	count := delaySockets
	if b.Quick {
		count /= 4
	}
	b.Progress("delay: making %d stuck sockets, %d a second", count, delayRate)
	stuck, err := rig.CloseWait(ctx, count, delayRate)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stuck.Close()) }()
	var ms []float64
	deadline := time.Now().Add(delayThreshold + 10*time.Second)
	for _, t := range stuck.Truths {
		at, err := arrived.wait(ctx, t.Cookie, deadline)
		if err != nil {
			return nil, err
		}
		ms = append(ms, float64(at.Sub(t.Since.Add(delayThreshold)))/1e6)
	}
	return []report.Row{delayRow(ms)}, nil
}

func delayRow(ms []float64) report.Row {
	p50, p99 := sample.Median(ms), sample.Quantile(ms, 0.99)
	return report.Row{
		ID: "P8", What: fmt.Sprintf("from threshold to the line in the reader's pipe, %d sockets, %d a second", len(ms), delayRate),
		Budget:  fmt.Sprintf("p50 ≤ %d ms, p99 ≤ %d ms", delayMedian, delayP99),
		Reached: fmt.Sprintf("p50 %.0f ms, p99 %.0f ms", p50, p99),
		Verdict: report.Judge(p50 <= delayMedian && p99 <= delayP99),
		Values:  map[string]float64{"p50_ms": p50, "p99_ms": p99, "max_ms": sample.Quantile(ms, 1), "min_ms": sample.Quantile(ms, 0)},
		Notes: []string{fmt.Sprintf("counted from before the peer's close; from %.1f to %.0f ms; threshold %s",
			sample.Quantile(ms, 0), sample.Quantile(ms, 1), delayThreshold)},
	}
}

// arrivals are the times at which the first line about each socket came.
type arrivals struct {
	mu    sync.Mutex
	at    map[uint64]time.Time
	more  chan struct{} // has room for one: something came
	ended error
}

func newArrivals() *arrivals {
	return &arrivals{at: make(map[uint64]time.Time), more: make(chan struct{}, 1)}
}

// read takes lines until the pipe ends.
func (a *arrivals) read(r io.Reader) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadSlice('\n')
		now := time.Now()
		a.mu.Lock()
		if err != nil {
			a.ended = fmt.Errorf("reading the agent's lines: %w", err)
		} else if cookie, ok := openedCookie(line); ok {
			a.at[cookie] = now
		}
		a.mu.Unlock()
		select {
		case a.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// openedCookie returns the socket of a line that opens a finding.
func openedCookie(line []byte) (uint64, bool) {
	var f struct {
		Status string `json:"tcplimbo.finding.status"`
		Cookie string `json:"tcplimbo.socket.cookie"`
	}
	if json.Unmarshal(line, &f) != nil || f.Status != "open" {
		return 0, false
	}
	n, err := strconv.ParseUint(f.Cookie, 16, 64)
	return n, err == nil
}

// wait returns when the line about a socket came.
func (a *arrivals) wait(ctx context.Context, cookie uint64, deadline time.Time) (time.Time, error) {
	timeout := time.NewTimer(time.Until(deadline))
	defer timeout.Stop()
	for {
		a.mu.Lock()
		at, ok := a.at[cookie]
		found, ended := len(a.at), a.ended
		a.mu.Unlock()
		if ok {
			return at, nil
		}
		if ended != nil {
			return time.Time{}, ended
		}
		select {
		case <-a.more:
		case <-timeout.C:
			return time.Time{}, fmt.Errorf("waiting for the finding about socket %x: not in time, %d others came", cookie, found)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}
