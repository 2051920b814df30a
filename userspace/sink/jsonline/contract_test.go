package jsonline

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// contractKeys are the keys of the contract's section 4, those that later
// records will carry too, and below them the ones it leaves to us.
var contractKeys = strings.Fields(`
	time level message event.name tcplimbo.schema_version
	tcplimbo.finding.id tcplimbo.finding.kind tcplimbo.finding.reason tcplimbo.finding.status
	tcplimbo.finding.since tcplimbo.finding.since_exact tcplimbo.finding.duration_seconds
	tcplimbo.finding.threshold_seconds tcplimbo.finding.outcome
	network.transport network.type network.connection.state
	network.local.address network.local.port network.peer.address network.peer.port
	tcplimbo.network.community_id tcplimbo.tcp.role
	tcplimbo.socket.cookie tcplimbo.socket.inode tcplimbo.socket.netns
	tcplimbo.tcp.retransmits tcplimbo.tcp.backoff tcplimbo.tcp.unacked_bytes
	tcplimbo.tcp.unsent_bytes tcplimbo.tcp.unread_bytes tcplimbo.tcp.send_window_bytes
	tcplimbo.tcp.rto_seconds tcplimbo.tcp.srtt_seconds
	tcplimbo.tcp.last_receive_seconds tcplimbo.tcp.last_send_seconds
	tcplimbo.tcp.gives_up_seconds tcplimbo.tcp.gives_up
	process.pid process.executable.name process.executable.path thread.name process.user.id
	tcplimbo.socket.fd tcplimbo.socket.holders tcplimbo.socket.holders_total
	container.id k8s.namespace.name k8s.pod.name k8s.pod.uid k8s.container.name k8s.node.name host.name
	code.stacktrace tcplimbo.stack.of
	tcplimbo.peer.pid tcplimbo.peer.executable tcplimbo.peer.state tcplimbo.peer.container.id tcplimbo.peer.k8s.pod.name
	tcplimbo.tcp.state.previous tcplimbo.tcp.state.previous_seconds

	tcplimbo.process.relation tcplimbo.stack.missing tcplimbo.stack.goroutine.id tcplimbo.stack.goroutine.creator
	tcplimbo.pprof.goroutines tcplimbo.pprof.matching tcplimbo.pprof.function tcplimbo.pprof.parked
	tcplimbo.pprof.age_seconds tcplimbo.pprof.dump tcplimbo.pprof.missing
	container.name
	tcplimbo.tcp.retransmit tcplimbo.tcp.retransmit_kind
	tcplimbo.drop.reason tcplimbo.drop.location tcplimbo.drop.hook tcplimbo.drop.netns
	tcplimbo.listener.pid tcplimbo.listener.accept_queue tcplimbo.listener.accept_limit
	tcplimbo.tcp.outcome
	tcplimbo.group.id tcplimbo.group.status tcplimbo.group.count tcplimbo.group.opened tcplimbo.group.resolved
	tcplimbo.group.oldest_seconds tcplimbo.group.growth_per_minute tcplimbo.group.sample_ids
	tcplimbo.loss.where tcplimbo.loss.count tcplimbo.loss.reread
	tcplimbo.write_queue.limit tcplimbo.write_queue.status tcplimbo.write_queue.sockets
	tcplimbo.write_queue.unsent_bytes tcplimbo.write_queue.unacked_bytes tcplimbo.write_queue.undrained_seconds
	tcplimbo.write_queue.flush_p50_seconds tcplimbo.write_queue.flush_p99_seconds tcplimbo.write_queue.flush_samples
	tcplimbo.write_queue.min_rtt_seconds
`)

// allLines returns a line of every sort.
func allLines() [][]byte {
	e := testEncoder()
	var lines [][]byte
	for _, s := range sinktest.Findings() {
		lines = append(lines, e.AppendFinding(nil, &s.Finding))
	}
	longest := sinktest.Longest()
	lines = append(lines, e.AppendFinding(nil, &longest))
	longest.Listener = nil // a drop is not told beside it
	lines = append(lines, e.AppendFinding(nil, &longest))
	for _, tr := range sinktest.Transitions() {
		lines = append(lines, e.AppendTransition(nil, &tr))
	}
	for _, l := range sinktest.Losses() {
		lines = append(lines, e.AppendLoss(nil, &l))
	}
	for _, g := range append(sinktest.Groups(), sinktest.LongestGroup()) {
		lines = append(lines, e.AppendGroup(nil, &g))
	}
	for _, w := range sinktest.WriteQueues() {
		lines = append(lines, e.AppendWriteQueue(nil, &w))
	}
	return lines
}

// object decodes one line and fails on a key that comes twice.
func object(t *testing.T, line []byte) map[string]any {
	t.Helper()
	if bytes.Count(line, []byte{'\n'}) != 1 || !bytes.HasSuffix(line, []byte("}\n")) {
		t.Fatalf("not one line: %q", line)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	keys := map[string]any{}
	if err := dec.Decode(&keys); err != nil {
		t.Fatalf("decoding %q: %v", line, err)
	}
	if err := dec.Decode(new(any)); err == nil {
		t.Fatalf("more than one value: %q", line)
	}
	dec = json.NewDecoder(bytes.NewReader(line))
	seen := map[string]bool{}
	// The objects are flat: outside of the holders' array, tokens alternate
	// between key and value.
	for depth, isKey := 0, true; ; {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		switch d, ok := tok.(json.Delim); {
		case ok && (d == '{' || d == '}'):
			continue
		case ok && d == '[':
			depth++
			continue
		case ok:
			depth--
		case depth > 0:
			continue
		case isKey:
			if seen[tok.(string)] {
				t.Fatalf("key %v twice in %s", tok, line)
			}
			seen[tok.(string)] = true
		}
		isKey = !isKey
	}
	if len(seen) != len(keys) {
		t.Fatalf("counted %d keys of %d in %s", len(seen), len(keys), line)
	}
	return keys
}

func TestKeysAreTheContract(t *testing.T) {
	written := map[string]bool{}
	for _, line := range allLines() {
		for key := range object(t, line) {
			written[key] = true
		}
	}
	for _, key := range contractKeys {
		if !written[key] {
			t.Errorf("key %s is in no line", key)
		}
		delete(written, key)
	}
	if len(written) > 0 {
		t.Errorf("keys that the contract does not know: %v", slices.Collect(maps.Keys(written)))
	}
}

func TestNoKeyIsAPrefixOfAnother(t *testing.T) {
	for _, a := range contractKeys {
		for _, b := range contractKeys {
			if strings.HasPrefix(b, a+".") {
				t.Errorf("%s is a dotted prefix of %s", a, b)
			}
		}
	}
}

func TestNothingIsEmpty(t *testing.T) {
	for _, line := range allLines() {
		for key, value := range object(t, line) {
			if value == nil || value == "" || value == "none" || value == "unknown" && key != "tcplimbo.finding.outcome" {
				t.Errorf("%s is %q in %s", key, value, line)
			}
			if list, ok := value.([]any); ok && len(list) == 0 {
				t.Errorf("%s is an empty list in %s", key, line)
			}
		}
	}
}

func TestLongestLineFits(t *testing.T) {
	long := strings.Repeat("\"\\n\u202e", 2000)
	e := New(Options{Host: long, Node: long})
	// Never told beside each other: the other end is not looked for while
	// connecting, and a drop is a reason of its own.
	peer, listener, drop := sinktest.Longest(), sinktest.Longest(), sinktest.Longest()
	peer.Listener, peer.Sock.SYN.Drop = nil, nil
	listener.Peer, listener.Sock.SYN.Drop = nil, nil
	drop.Peer, drop.Listener = nil, nil
	f := peer
	for _, f := range []finding.Finding{peer, listener, drop} {
		line := e.AppendFinding(nil, &f)
		object(t, line)
		if len(line) >= MaxLine {
			t.Errorf("the longest finding has %d bytes, want less than %d", len(line), MaxLine)
		}
		// What is left is for the keys of later issues; the limits have to
		// shrink once they come.
		t.Logf("the longest finding has %d bytes", len(line))
	}
	tr := finding.Transition{Time: sinktest.Now, ID: f.Sock.ID, Role: f.Sock.Role, Old: 200, New: 255, Previous: f.Duration, Task: f.Owner.Process.Task}
	loss := finding.Loss{Where: long, Count: 1<<64 - 1, Message: long}
	group := sinktest.LongestGroup()
	for _, line := range [][]byte{e.AppendTransition(nil, &tr), e.AppendLoss(nil, &loss), e.AppendGroup(nil, &group)} {
		object(t, line)
		if len(line) >= MaxLine {
			t.Errorf("%d bytes, want less than %d: %s", len(line), MaxLine, line)
		}
	}
}

func TestNamesNeedNoEscaping(t *testing.T) {
	for k := range finding.KindCount {
		checkName(t, k.String())
	}
	for r := range finding.ReasonCount {
		checkName(t, r.String())
	}
	for o := range finding.OutcomeCount {
		checkName(t, o.String())
	}
	for s := range finding.StatusCount {
		checkName(t, s.String())
	}
	for r := range finding.RelationCount {
		checkName(t, r.String())
	}
	for k := range flow.RetransmitKinds {
		checkName(t, k.String())
	}
}

func checkName(t *testing.T, name string) {
	t.Helper()
	if name == "" || !needsNoEscape(name) {
		t.Errorf("name %q cannot be written as it is", name)
	}
}

func TestSchemaVersion(t *testing.T) {
	got := object(t, allLines()[0])["tcplimbo.schema_version"]
	if want := json.Number("1"); got != want || finding.SchemaVersion != 1 {
		t.Errorf("schema version %v in the line, %d in the code", got, finding.SchemaVersion)
	}
}
