package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// boot is a time of CLOCK_BOOTTIME: steps of the wall clock do not move it.
type boot = time.Duration

func bootNow() boot {
	var ts unix.Timespec
	// CLOCK_BOOTTIME exists since 2.6.39; it cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return boot(ts.Nano())
}

// life is one stuck socket as the program that made it saw it. It was stuck from a
// moment in [Since, SinceLatest] to one in [Until, UntilLatest]; Until is 0 while
// it still is.
type life struct {
	Truth       workload.Truth `json:"truth"`
	Since       boot           `json:"since"`
	SinceLatest boot           `json:"since_latest"`
	Until       boot           `json:"until,omitempty"`
	UntilLatest boot           `json:"until_latest,omitempty"`
}

// journal is the workload's own log: what the oracle believes.
type journal struct {
	mu    sync.Mutex
	out   *json.Encoder
	lives []*life
	// spaces are the network namespaces that are ours, and since when.
	spaces map[uint64]*space
}

// space is a network namespace of the workload; its number can be somebody else's
// before and after.
type space struct {
	from, to boot // to is 0 while it exists
	ns       *workload.Namespace
	// slow says that healthy connections in it took so long that findings about
	// them are true.
	slow bool
}

func newJournal(w io.Writer) *journal {
	return &journal{out: json.NewEncoder(w), spaces: make(map[uint64]*space)}
}

// born notes sockets that are stuck.
func (j *journal) born(truths []*workload.Truth) []*life {
	j.mu.Lock()
	defer j.mu.Unlock()
	lives := make([]*life, len(truths))
	for i, t := range truths {
		lives[i] = &life{Truth: *t, Since: boot(t.SinceBoot), SinceLatest: boot(t.SinceBootLatest)}
		j.write("born", lives[i])
	}
	j.lives = append(j.lives, lives...)
	return lives
}

// dying notes that the sockets may end from now on.
func (j *journal) dying(lives []*life) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := bootNow()
	for _, l := range lives {
		l.Until = now
	}
}

// died notes that the sockets have ended; truths give the outcomes, nil if those
// are not known.
func (j *journal) died(lives []*life, truths []*workload.Truth) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := bootNow()
	for i, l := range lives {
		l.UntilLatest = now
		if i < len(truths) {
			l.Truth.Outcome = truths[i].Outcome
		}
		j.write("died", l)
	}
}

func (j *journal) open(ns *workload.Namespace) (*space, error) {
	inode, err := ns.Inode()
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &space{from: bootNow(), ns: ns}
	j.spaces[inode] = s
	return s, nil
}

func (j *journal) close(s *space) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.to = bootNow()
}

// knows tells whether a namespace is or was the workload's.
func (j *journal) knows(netns uint64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.spaces[netns] != nil
}

// write never fails the run: the log is for people, the oracle reads the memory.
func (j *journal) write(what string, l *life) {
	_ = j.out.Encode(struct {
		Event string `json:"event"`
		At    boot   `json:"boot_ns"`
		*life
	}{what, bootNow(), l})
}

// record is a line of the agent, as far as the oracle needs it.
type record struct {
	at       boot // when it was read, and by the wall clock
	wall     time.Time
	line     string
	shown    bool     // sock_diag showed the minisocket when the line came
	Event    string   `json:"event.name"`
	Time     string   `json:"time"`
	ID       string   `json:"tcplimbo.finding.id"`
	Status   string   `json:"tcplimbo.finding.status"`
	Kind     string   `json:"tcplimbo.finding.kind"`
	Reason   string   `json:"tcplimbo.finding.reason"`
	Outcome  string   `json:"tcplimbo.finding.outcome"`
	Duration float64  `json:"tcplimbo.finding.duration_seconds"`
	Limit    float64  `json:"tcplimbo.finding.threshold_seconds"`
	Local    string   `json:"network.local.address"`
	Port     uint16   `json:"network.local.port"`
	Peer     string   `json:"network.peer.address"`
	PeerPort uint16   `json:"network.peer.port"`
	NetNS    uint64   `json:"tcplimbo.socket.netns"`
	Cookie   string   `json:"tcplimbo.socket.cookie"`
	PID      int      `json:"process.pid"`
	FD       *int     `json:"tcplimbo.socket.fd"`
	Holders  []string `json:"tcplimbo.socket.holders"`
	Lost     int64    `json:"tcplimbo.loss.count"`
}

// opensOrphan: it is about a socket that no process can hold, and that is there for a minute.
func (r *record) opensOrphan() bool {
	return r.Event == findingEvent && r.Status == "open" && r.Reason == "orphaned"
}

// shows asks the kernel whether a socket is in FIN_WAIT2 now.
func (j *journal) shows(r *record) bool {
	j.mu.Lock()
	s := j.spaces[r.NetNS]
	gone := s == nil || s.to != 0
	j.mu.Unlock()
	if gone {
		return false
	}
	socks, err := workload.Diag(s.ns)
	if err != nil {
		return false
	}
	d, ok := socks[r.tuple()]
	return ok && d.StateName() == "fin_wait_2"
}

const findingEvent, lossEvent = "tcplimbo.finding", "tcplimbo.loss"

// namespaceOf finds a line's namespace without decoding the rest.
func namespaceOf(line []byte) (netns uint64, known bool) {
	_, rest, known := bytes.Cut(line, []byte(`"tcplimbo.socket.netns":`))
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		netns = netns*10 + uint64(c-'0')
	}
	return netns, known
}

func parseRecord(line []byte) (*record, error) {
	r := &record{at: bootNow(), wall: time.Now(), line: string(line)}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, fmt.Errorf("reading a line of the agent: %w: %.200q", err, line)
	}
	return r, nil
}
