package jsonline

import (
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// AppendWriteQueue appends a warning about write queues as one line.
func (e *Encoder) AppendWriteQueue(dst []byte, w *finding.WriteQueue) []byte {
	dst = appendBegin(dst, w.Time, levelOf(w.Status), w.Message, maxMessage, "tcplimbo.write_queue")
	dst = append(dst, `,"network.transport":"tcp"`...)
	id := flow.ID{Local: w.Local, Peer: w.Peer, NetNS: w.NetNS}
	dst = appendState(dst, &id, flow.StateEstablished)
	dst = appendEnds(dst, w.Local, w.Peer)
	role := flow.RoleServer
	if w.Client() {
		role = flow.RoleClient
	}
	dst = appendName(dst, `,"tcplimbo.tcp.role":`, role.String())
	dst = appendUintIf(dst, `,"tcplimbo.socket.netns":`, uint64(w.NetNS))
	dst = appendName(dst, `,"tcplimbo.write_queue.limit":`, w.Limit.String())
	dst = appendName(dst, `,"tcplimbo.write_queue.status":`, w.Status.String())
	dst = appendUint(dst, `,"tcplimbo.write_queue.sockets":`, w.Sockets)
	dst = appendUint(dst, `,"tcplimbo.write_queue.unsent_bytes":`, w.Unsent)
	dst = appendUint(dst, `,"tcplimbo.write_queue.unacked_bytes":`, w.Unacked)
	dst = appendSeconds(dst, `,"tcplimbo.write_queue.undrained_seconds":`, w.Undrained)
	if w.Samples > 0 {
		dst = appendSeconds(dst, `,"tcplimbo.write_queue.flush_p50_seconds":`, w.P50)
		dst = appendSeconds(dst, `,"tcplimbo.write_queue.flush_p99_seconds":`, w.P99)
		dst = appendUint(dst, `,"tcplimbo.write_queue.flush_samples":`, w.Samples)
	}
	if w.MinRTT > 0 {
		dst = appendSeconds(dst, `,"tcplimbo.write_queue.min_rtt_seconds":`, w.MinRTT)
	}
	return append(dst, e.tail...)
}
