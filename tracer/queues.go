package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// pairBatch is how many elements of write_pairs are taken out at once; that of a
// map's bucket must fit (kernel/bpf/hashtab.c, __htab_map_lookup_and_delete_batch).
const pairBatch = 256

// queues takes out of the kernel what a walk added up.
type queues struct {
	keys   []limboWritePairKey
	values []limboWritePair
	pairs  []flow.WriteQueue
}

// resetQueues makes a walk add up from zero, whatever one that was left in the
// middle added.
func (t *Tracer) resetQueues() error {
	if err := t.objs.WriteQueues.Set(limboWriteQueues{}); err != nil {
		return fmt.Errorf("setting write_queues: %w", err)
	}
	_, err := t.takePairs()
	return err
}

// WriteQueues returns what the last walk for Waiting added up, once, and all of it
// if the walk is done. The pairs are valid until the next call.
func (t *Tracer) WriteQueues() (flow.WriteQueues, error) {
	var q limboWriteQueues
	if err := t.objs.WriteQueues.Get(&q); err != nil {
		return flow.WriteQueues{}, fmt.Errorf("reading write_queues: %w", err)
	}
	pairs, err := t.takePairs()
	return flow.WriteQueues{
		Sockets: q.Sockets, Unsent: q.Unsent, Unacked: q.Unacked,
		Quiet: t.decode.jiffies(q.QuietJiffies), Busy: t.decode.jiffies(q.BusyJiffies),
		Pairs: pairs, LeftOut: q.LeftOut,
	}, err
}

func (t *Tracer) takePairs() ([]flow.WriteQueue, error) {
	q := &t.queues
	q.pairs = q.pairs[:0]
	if q.keys == nil {
		q.keys, q.values = make([]limboWritePairKey, pairBatch), make([]limboWritePair, pairBatch)
	}
	for cursor := new(ebpf.MapBatchCursor); ; {
		n, err := t.objs.WritePairs.BatchLookupAndDelete(cursor, q.keys, q.values, nil)
		for i := range n {
			q.pairs = append(q.pairs, t.decode.writeQueue(&q.keys[i], &q.values[i]))
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // that was the last
			return q.pairs, nil
		case err != nil:
			return nil, fmt.Errorf("reading write_pairs: %w", err)
		}
	}
}

func (d *decoder) writeQueue(k *limboWritePairKey, v *limboWritePair) flow.WriteQueue {
	return flow.WriteQueue{
		Pair: flow.Pair{
			Local: addrPort(k.Saddr[:], k.Sport), Peer: addrPort(k.Daddr[:], k.Dport), NetNS: k.Netns,
		},
		Sockets: uint64(v.Sockets), Unsent: v.Unsent, Unacked: v.Unacked,
		Undrained: d.jiffies(v.UndrainedJiffies),
		Sample:    flow.Key{Addr: v.Sk, Cookie: v.Cookie},
	}
}
