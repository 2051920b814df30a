// Package jsonline writes records as the contract's JSON lines: one flat
// object a line, OpenTelemetry's names where they exist, what is unknown left
// out. It appends by hand, because a traced host makes more transitions than a
// general encoder could write; the tests decode every line with encoding/json.
package jsonline

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/communityid"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// MaxLine bounds a line with its newline. A write of up to PIPE_BUF bytes, 4096
// on Linux, into a pipe is atomic (pipe(7)), and log collectors cut longer ones.
const MaxLine = 4096

// Limits of texts in bytes after escaping. They are cut and not dropped, and
// chosen so that the longest line of all still is shorter than MaxLine; a test
// builds that line.
const (
	maxMessage = 640
	maxPath    = 288
	// maxName holds a usual program name; file names may have 255 bytes.
	maxName = 96
	// maxComm holds 15 bytes (TASK_COMM_LEN is 16), each of them escaped.
	maxComm = 80
	maxID   = 64
	// maxHost holds a Linux host name (__NEW_UTS_LEN is 64).
	maxHost = 64
	// maxNode holds a Kubernetes node name, a DNS subdomain.
	maxNode = 253
	// maxAddr holds an IPv6 address with a zone.
	maxAddr  = 128
	maxWhere = 64
	// maxReason holds the kernel's drop reasons, maxLocation most functions' names.
	maxReason   = 40
	maxLocation = 56
)

// Options are what is the same for every line of one process; empty strings
// are left out.
type Options struct {
	// Host is the host's name and Node the name of its Kubernetes node.
	Host, Node string
}

// Encoder appends records as lines. It does not change and may be used by
// several goroutines.
type Encoder struct {
	// tail ends each line: the constant members, brace and newline.
	tail []byte
}

// New returns an encoder.
func New(opt Options) *Encoder {
	tail := appendText(nil, `,"host.name":`, opt.Host, maxHost)
	tail = appendText(tail, `,"k8s.node.name":`, opt.Node, maxNode)
	return &Encoder{tail: append(tail, '}', '\n')}
}

// AppendTransition appends a change of state or a retransmission as one line.
// It allocates only if dst has to grow.
func (e *Encoder) AppendTransition(dst []byte, t *finding.Transition) []byte {
	return e.appendTransition(dst, t, plainParts)
}

// parts append those members of a transition's line that are often the same.
type parts struct {
	time      func([]byte, time.Time) []byte
	head      func([]byte, *finding.Transition) []byte
	addresses func([]byte, *flow.ID) []byte
	socket    func([]byte, *flow.ID) []byte
}

var plainParts = &parts{time: appendFirst, head: appendHead, addresses: appendAddresses, socket: appendIdentity}

func appendFirst(dst []byte, t time.Time) []byte { return appendTime(dst, `{"time":`, t) }

// appendHead appends what depends on the states alone.
func appendHead(dst []byte, t *finding.Transition) []byte {
	dst = append(dst, `,"level":"info","message":"`...)
	if t.Retransmit {
		dst = append(dst, "retransmission in "...)
	} else {
		dst = append(dst, t.Old.Label()...)
		dst = append(dst, " to "...)
	}
	dst = append(dst, t.New.Label()...)
	return append(dst, `","event.name":"tcplimbo.transition"`+schema+`,"network.transport":"tcp"`...)
}

func appendIdentity(dst []byte, id *flow.ID) []byte { return appendSocket(dst, id, 0) }

func (e *Encoder) appendTransition(dst []byte, t *finding.Transition, p *parts) []byte {
	dst = p.head(p.time(dst, t.Time), t)
	dst = p.addresses(appendState(dst, &t.ID, t.New), &t.ID)
	if role := t.Role.String(); role != "" {
		dst = appendName(dst, `,"tcplimbo.tcp.role":`, role)
	}
	dst = p.socket(dst, &t.ID)
	if t.Retransmit {
		dst = append(dst, `,"tcplimbo.tcp.retransmit":true`...)
		dst = appendRetransmitKind(dst, t.RetransmitKind)
		dst = appendUint(dst, `,"tcplimbo.tcp.retransmits":`, uint64(t.Retransmits))
	} else {
		dst = appendPrevious(dst, t.Old, t.Previous)
		if t.Outcome != finding.OutcomeNone {
			dst = appendName(dst, `,"tcplimbo.tcp.outcome":`, t.Outcome.String())
		}
	}
	dst = appendTask(dst, &t.Task)
	return append(dst, e.tail...)
}

// AppendLoss appends a note of lost kernel records as one line.
func (e *Encoder) AppendLoss(dst []byte, l *finding.Loss) []byte {
	dst = appendBegin(dst, l.Time, levelWarn, l.Message, maxMessage, "tcplimbo.loss")
	dst = appendText(dst, `,"tcplimbo.loss.where":`, l.Where, maxWhere)
	dst = appendUint(dst, `,"tcplimbo.loss.count":`, l.Count)
	dst = appendBool(dst, `,"tcplimbo.loss.reread":`, l.Reread)
	return append(dst, e.tail...)
}

const (
	levelInfo = "info"
	levelWarn = "warn"
)

// levelOf: what is over needs nobody's look.
func levelOf(s finding.Status) string {
	if s == finding.Resolved {
		return levelInfo
	}
	return levelWarn
}

// appendBegin appends what each line begins with, but for transitions, see
// appendHead. The message is at most limit bytes long; level and event are names of
// our own.
func appendBegin(dst []byte, t time.Time, level, message string, limit int, event string) []byte {
	dst = appendFirst(dst, t)
	dst = appendName(dst, `,"level":`, level)
	dst = appendText(dst, `,"message":`, message, limit)
	dst = appendName(dst, `,"event.name":`, event)
	return append(dst, schema...)
}

// schema is the member that names finding.SchemaVersion; a test compares.
const schema = `,"tcplimbo.schema_version":1`

// appendConnection appends addresses, ports, state and the connection's ID.
func appendConnection(dst []byte, id *flow.ID, state flow.State) []byte {
	return appendAddresses(appendState(dst, id, state), id)
}

func appendState(dst []byte, id *flow.ID, state flow.State) []byte {
	addr := id.Local.Addr()
	if !addr.IsValid() {
		addr = id.Peer.Addr()
	}
	switch {
	case addr.Is4() || addr.Is4In6():
		dst = append(dst, `,"network.type":"ipv4"`...)
	case addr.Is6():
		dst = append(dst, `,"network.type":"ipv6"`...)
	}
	if state != flow.StateUnknown {
		dst = appendName(dst, `,"network.connection.state":`, state.String())
	}
	return dst
}

func appendAddresses(dst []byte, id *flow.ID) []byte {
	return appendCommunityID(appendEnds(dst, id.Local, id.Peer), id)
}

func appendEnds(dst []byte, local, peer netip.AddrPort) []byte {
	dst = appendAddrPort(dst, `,"network.local.address":`, `,"network.local.port":`, local, true)
	return appendAddrPort(dst, `,"network.peer.address":`, `,"network.peer.port":`, peer, false)
}

// appendCommunityID appends what the peer's host calls the same connection.
// Base64 needs no escaping. It costs 120 to 190 ns; see Stream for transitions.
func appendCommunityID(dst []byte, id *flow.ID) []byte {
	const key = `,"tcplimbo.network.community_id":"`
	begin := len(dst)
	dst = communityid.Append(append(dst, key...), id.Local, id.Peer)
	if len(dst) == begin+len(key) {
		return dst[:begin]
	}
	return append(dst, '"')
}

// appendSocket appends what names the socket on this host. The cookie is
// written as ss(8) prints it after "sk:", lower-case hex without padding.
func appendSocket(dst []byte, id *flow.ID, inode uint64) []byte {
	if id.Cookie != 0 {
		dst = append(dst, `,"tcplimbo.socket.cookie":"`...)
		dst = append(strconv.AppendUint(dst, id.Cookie, 16), '"')
	}
	dst = appendUintIf(dst, `,"tcplimbo.socket.inode":`, inode)
	return appendUintIf(dst, `,"tcplimbo.socket.netns":`, uint64(id.NetNS))
}

func appendPrevious(dst []byte, old flow.State, d time.Duration) []byte {
	if old == flow.StateUnknown {
		return dst
	}
	dst = appendName(dst, `,"tcplimbo.tcp.state.previous":`, old.String())
	return appendSeconds(dst, `,"tcplimbo.tcp.state.previous_seconds":`, d)
}

func appendRetransmitKind(dst []byte, k flow.RetransmitKind) []byte {
	if k == flow.RetransmitNone {
		return dst
	}
	return appendName(dst, `,"tcplimbo.tcp.retransmit_kind":`, k.String())
}

func appendTask(dst []byte, t *flow.Task) []byte {
	if !t.Known() {
		return dst
	}
	dst = appendUint(dst, `,"process.pid":`, uint64(t.PID))
	dst = appendText(dst, `,"thread.name":`, t.Comm, maxComm)
	return appendUint(dst, `,"process.user.id":`, uint64(t.UID))
}
