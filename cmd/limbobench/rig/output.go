package rig

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// CountLines returns how many lines of a file keep accepts.
func CountLines(path string, keep func(line []byte) bool) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("opening output: %w", err)
	}
	defer f.Close()
	return countLines(f, keep)
}

func countLines(r io.Reader, keep func(line []byte) bool) (int, error) {
	n := 0
	for br := bufio.NewReaderSize(r, 1<<20); ; {
		line, err := br.ReadSlice('\n')
		if err == io.EOF {
			return n, nil // what has no end is not a line yet
		}
		if err != nil {
			return 0, fmt.Errorf("reading output: %w", err)
		}
		if keep(line) {
			n++
		}
	}
}

// TransitionIn accepts the transitions of connections in a network namespace:
// not retransmissions, and not the comings and goings of listeners.
func TransitionIn(netns uint64) func([]byte) bool {
	ns := []byte(`"tcplimbo.socket.netns":` + strconv.FormatUint(netns, 10))
	return func(line []byte) bool {
		old, now := Value(line, "tcplimbo.tcp.state.previous"), Value(line, "network.connection.state")
		return bytes.Contains(line, ns) && old != "" && now != "" && now != "listen" &&
			(old != "listen" || now != "closed")
	}
}

// Event accepts lines of an event name, such as tcplimbo.loss.
func Event(name string) func([]byte) bool {
	return func(line []byte) bool { return Value(line, "event.name") == name }
}

// OpenFinding accepts the first line of each finding of a kind.
func OpenFinding(kind string) func([]byte) bool {
	return func(line []byte) bool {
		return Value(line, "tcplimbo.finding.status") == "open" && Value(line, "tcplimbo.finding.kind") == kind
	}
}

// Value returns a string of a JSON line, as it is written there, without
// decoding the line: there are millions. Empty if there is none.
func Value(line []byte, key string) string {
	_, rest, ok := bytes.Cut(line, []byte(`"`+key+`":"`))
	if !ok {
		return ""
	}
	i := bytes.IndexByte(rest, '"')
	if i < 0 {
		return ""
	}
	return string(rest[:i])
}

// LoopbackNet begins the addresses that the load's listeners have.
const LoopbackNet = "127.0.1."

// Mentions accepts lines about the load's connections, in whatever form.
func Mentions(line []byte) bool { return bytes.Contains(line, []byte(LoopbackNet)) }

// metricsTimeout bounds a scrape.
const metricsTimeout = 5 * time.Second

// Lost returns how many records the agent says it has lost, by its metrics.
func (r *Running) Lost() (float64, error) {
	client := http.Client{Timeout: metricsTimeout}
	resp, err := client.Get(r.obs.metrics)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer resp.Body.Close()
	return sumMetric(resp.Body, "tcplimbo_lost_records_total")
}

// sumMetric adds up all series of a metric; an error if there is none.
func sumMetric(text io.Reader, name string) (float64, error) {
	sum, found := 0.0, false
	sc := bufio.NewScanner(text)
	for sc.Scan() {
		line := sc.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		i := strings.LastIndexByte(rest, ' ')
		v, err := strconv.ParseFloat(rest[i+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("reading metrics: %q: %w", line, err)
		}
		sum, found = sum+v, true
	}
	if err := sc.Err(); err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	if !found {
		return 0, fmt.Errorf("reading metrics: there is no %s", name)
	}
	return sum, nil
}

// Tells says whether the program has metrics about its losses.
func (r *Running) Tells() bool { return r.obs.metrics != "" }
