package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// record is one JSON line. Keys are those of the contract.
type record struct {
	seen   time.Time // when the line was read
	line   string
	fields map[string]any
}

// timeForm is UTC with exactly nine fraction digits.
var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`)

func parseRecord(line []byte) (*record, error) {
	if len(line) >= maxLine {
		return nil, fmt.Errorf("line of %d bytes, want fewer than %d", len(line), maxLine)
	}
	if !bytes.HasSuffix(line, []byte("\n")) {
		return nil, errors.New("line without its end")
	}
	for _, b := range line[:len(line)-1] {
		if b < 0x20 || b == 0x7f {
			return nil, fmt.Errorf("control character %#x in a line", b)
		}
	}
	r := &record{seen: time.Now(), line: string(line[:len(line)-1])}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&r.fields); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	return r, r.check()
}

// check is what holds for every line.
func (r *record) check() error {
	if !timeForm.MatchString(r.str("time")) {
		return fmt.Errorf("time %q", r.str("time"))
	}
	if r.num("tcplimbo.schema_version") != 1 {
		return fmt.Errorf("schema version %v", r.fields["tcplimbo.schema_version"])
	}
	for key, value := range r.fields {
		if value == nil || value == "" {
			return fmt.Errorf("%s is empty, where unknown is left out", key)
		}
		if _, nested := value.(map[string]any); nested {
			return fmt.Errorf("%s is an object, where keys are flat", key)
		}
	}
	switch r.event() {
	case "tcplimbo.finding":
		return r.checkFinding()
	case "tcplimbo.transition", "tcplimbo.loss", "tcplimbo.write_queue", "tcplimbo.group":
		return nil
	}
	return fmt.Errorf("event.name %q", r.event())
}

func (r *record) checkFinding() error {
	level := map[string]string{"open": "warn", "update": "warn", "resolved": "info"}[r.status()]
	if level == "" || r.str("level") != level {
		return fmt.Errorf("status %q with level %q", r.status(), r.str("level"))
	}
	if (r.outcome() != "") != (r.status() == "resolved") {
		return fmt.Errorf("status %q with outcome %q", r.status(), r.outcome())
	}
	for _, key := range []string{
		"message", "tcplimbo.finding.id", "tcplimbo.finding.kind", "tcplimbo.finding.reason",
		"tcplimbo.finding.since", "tcplimbo.finding.since_exact", "tcplimbo.finding.duration_seconds",
		"tcplimbo.finding.threshold_seconds", "network.transport", "network.type", "network.connection.state",
		"network.local.address", "network.local.port", "network.peer.address", "network.peer.port",
		"tcplimbo.socket.netns",
	} {
		if _, ok := r.fields[key]; !ok && !(key == "network.connection.state" && r.status() == "resolved") {
			return fmt.Errorf("%s is missing", key)
		}
	}
	if !timeForm.MatchString(r.str("tcplimbo.finding.since")) {
		return fmt.Errorf("since %q", r.str("tcplimbo.finding.since"))
	}
	return nil
}

func (r *record) event() string   { return r.str("event.name") }
func (r *record) finding() bool   { return r.event() == "tcplimbo.finding" }
func (r *record) status() string  { return r.str("tcplimbo.finding.status") }
func (r *record) outcome() string { return r.str("tcplimbo.finding.outcome") }
func (r *record) id() string      { return r.str("tcplimbo.finding.id") }
func (r *record) pid() int        { return int(r.num("process.pid")) }

func (r *record) has(key string) bool { _, ok := r.fields[key]; return ok }

func (r *record) str(key string) string { s, _ := r.fields[key].(string); return s }

// num returns an integer, 0 if the key is missing or no integer.
func (r *record) num(key string) int64 {
	n, _ := r.fields[key].(json.Number)
	i, _ := n.Int64()
	return i
}

func (r *record) seconds(key string) time.Duration {
	n, _ := r.fields[key].(json.Number)
	f, _ := n.Float64()
	return time.Duration(f * float64(time.Second))
}

// time returns a time, zero if the key is missing; check has seen its form.
func (r *record) time(key string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, r.str(key))
	return t
}

func (r *record) cookie() uint64 {
	c, _ := strconv.ParseUint(r.str("tcplimbo.socket.cookie"), 16, 64)
	return c
}

func (r *record) tuple() workload.Tuple {
	addr := func(side string) netip.AddrPort {
		a, _ := netip.ParseAddr(r.str("network." + side + ".address"))
		return netip.AddrPortFrom(a, uint16(r.num("network."+side+".port")))
	}
	return workload.Tuple{NetNS: uint64(r.num("tcplimbo.socket.netns")), Local: addr("local"), Peer: addr("peer")}
}

// holders returns every "pid/fd".
func (r *record) holders() string {
	list, _ := r.fields["tcplimbo.socket.holders"].([]any)
	s := make([]string, len(list))
	for i, h := range list {
		s[i], _ = h.(string)
	}
	return strings.Join(s, " ")
}
