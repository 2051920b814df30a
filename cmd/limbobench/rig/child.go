package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// childEnv makes the benchmark's own executable a load; its value is the JSON
// of a loadSpec.
const childEnv = "LIMBOBENCH_LOAD"

type loadSpec struct {
	Threads int // of churn
	Batch   int // connections of each batch
	Total   int // connections in all; 0 until standard input closes
	Hold    int // idle connections instead of churn
	// Queued connections have data waiting, which moves every few seconds.
	Queued bool
}

// hello is the first line that a load prints.
type hello struct {
	NetNS uint64 `json:"netns"`
	// Path leads to the namespace while the load runs.
	Path string `json:"path"`
}

// batch is one line for each batch of connections. Times are nanoseconds of
// CLOCK_MONOTONIC.
type batch struct {
	Start       time.Duration `json:"start"`
	End         time.Duration `json:"end"`
	Connections int           `json:"connections"`
	Elapsed     time.Duration `json:"elapsed"` // connecting and accepting alone
	CPU         time.Duration `json:"cpu"`
}

// RunLoad turns the process into a load, and does not return, if it was
// started as one. Call it first of all in main.
func RunLoad() {
	v, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	var spec loadSpec
	err := json.Unmarshal([]byte(v), &spec)
	if err == nil {
		err = runLoad(spec)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "limbobench load: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runLoad(spec loadSpec) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begin := make(chan struct{})
	go func() {
		defer cancel()
		// A first byte says that it may begin. The end of standard input is
		// the end of the benchmark, or its wish.
		if n, _ := os.Stdin.Read(make([]byte, 1)); n == 0 {
			return
		}
		close(begin)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	out := json.NewEncoder(os.Stdout)
	if spec.Hold > 0 {
		return hold(ctx, spec.Hold, spec.Queued, out)
	}
	return churn(ctx, spec, begin, out)
}

func hold(ctx context.Context, connections int, queued bool, out *json.Encoder) error {
	if _, err := workload.RaiseFileLimit(uint64(2*connections + spareFiles)); err != nil {
		return err
	}
	open := workload.Hold
	if queued {
		open = workload.HoldQueued
	}
	held, err := open(nil, workload.IPv4, connections)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := out.Encode(hello{}); err != nil {
		return err
	}
	if queued {
		return held.Trickle(ctx, trickle)
	}
	<-ctx.Done()
	return nil
}

// trickle is how often each queued connection moves: nothing stalls.
const trickle = 5 * time.Second

// timeWaits is how many TIME_WAIT sockets the load's namespace keeps. At full
// churn the default, 131,072, is reached in some seconds, and until then each
// second is unlike the one before: searching for a port takes longer and
// longer. So it is reached at once.
const timeWaits = "4096"

// churn works in a network namespace of its own, so that its connections can
// be told from everybody else's.
func churn(ctx context.Context, spec loadSpec, begin <-chan struct{}, out *json.Encoder) (err error) {
	ns, err := workload.NewNamespace()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	if err := ns.Sysctl("net/ipv4/tcp_max_tw_buckets", timeWaits); err != nil {
		return err
	}
	h, err := introduce(ns)
	if err != nil {
		return err
	}
	if err := out.Encode(h); err != nil {
		return err
	}
	select {
	case <-begin:
	case <-ctx.Done():
		return nil
	}
	for done := 0; ctx.Err() == nil && (spec.Total == 0 || done < spec.Total); {
		n := spec.Batch
		if spec.Total > 0 {
			n = min(n, spec.Total-done)
		}
		b, err := churnBatch(ctx, ns, spec.Threads, n)
		if err != nil {
			return err
		}
		done += b.Connections
		if err := out.Encode(b); err != nil {
			return err
		}
	}
	return nil
}

func introduce(ns *workload.Namespace) (h hello, err error) {
	if h.NetNS, err = ns.Inode(); err != nil {
		return hello{}, err
	}
	err = ns.Do(func() error {
		h.Path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		return nil
	})
	return h, err
}

func churnBatch(ctx context.Context, ns *workload.Namespace, threads, n int) (batch, error) {
	b := batch{Start: host.Monotonic()}
	before, err := ownCPU()
	if err != nil {
		return batch{}, err
	}
	res, err := workload.Churn(ctx, workload.ChurnSpec{Connections: n, Threads: threads, NS: ns})
	if err != nil {
		return batch{}, err
	}
	after, err := ownCPU()
	if err != nil {
		return batch{}, err
	}
	b.End, b.Connections, b.Elapsed, b.CPU = host.Monotonic(), res.Connections, res.Elapsed, after-before
	return b, nil
}

func ownCPU() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0, fmt.Errorf("reading own CPU clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// loadProcess is a started load.
type loadProcess struct {
	*Process
	in  io.WriteCloser
	out *json.Decoder
	// first is what the load said of itself.
	first hello
}

func startLoad(spec loadSpec) (*loadProcess, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the running program: %w", err)
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encoding a load: %w", err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	// Not StdoutPipe: its end must outlive Wait.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	cmd.Stdout = w
	p, err := start(cmd, "load")
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	l := &loadProcess{Process: p, in: in, out: json.NewDecoder(r)}
	if err := l.out.Decode(&l.first); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the load: %w: %s", err, p.Messages()), l.end())
	}
	return l, nil
}

// begin lets the load begin.
func (l *loadProcess) begin() error {
	if _, err := l.in.Write([]byte("\n")); err != nil {
		return fmt.Errorf("telling the load to begin: %w: %s", err, l.Messages())
	}
	return nil
}

// end lets the load remove what it made.
func (l *loadProcess) end() error {
	_ = l.in.Close()
	select {
	case <-l.done:
		return l.failure()
	case <-time.After(stopTimeout):
		return l.Stop()
	}
}
