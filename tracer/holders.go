package tracer

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// wantedMax is the size of the wanted map: keys that one walk looks for.
const wantedMax = 16384

// Holders walks all descriptors of all processes that the agent's pid namespace
// shows and calls fn for each that refers to a wanted socket. The value is only
// valid during the call. The kernel makes one pass, so what fork, dup or
// descriptor passing do meanwhile may or may not be seen.
func (t *Tracer) Holders(want flow.Wanted, fn func(*flow.Held)) error {
	if t.holders == nil {
		iter, err := link.AttachIter(link.IterOptions{Program: t.objs.LimboHolders})
		if err != nil {
			return fmt.Errorf("attaching iter/task_file: %w", err)
		}
		t.holders = iter
	}
	keys := make([]uint64, 0, len(want.Socks)+len(want.Ports))
	keys = append(keys, want.Socks...)
	for _, p := range want.Ports {
		keys = append(keys, uint64(p))
	}
	if err := t.objs.HolderStates.Set(uint32(want.States)); err != nil {
		return fmt.Errorf("setting holder_states: %w", err)
	}
	for first := true; first || len(keys) > 0; first = false {
		n := min(len(keys), wantedMax)
		if err := t.holdersOf(keys[:n], fn); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (t *Tracer) holdersOf(keys []uint64, fn func(*flow.Held)) error {
	if err := t.putWanted(keys); err != nil {
		return err
	}
	defer t.dropWanted(keys)
	r, err := t.holders.Open()
	if err != nil {
		return fmt.Errorf("opening iter/task_file: %w", err)
	}
	defer r.Close()
	return t.readHolders(r, fn)
}

func (t *Tracer) readHolders(r io.Reader, fn func(*flow.Held)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	buf := make([]byte, holderSize)
	var held flow.Held
	for {
		_, err := io.ReadFull(br, buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading iter/task_file: %w", err)
		}
		if err := t.decode.holder(buf, &held); err != nil {
			return err
		}
		fn(&held)
	}
}

func (t *Tracer) putWanted(keys []uint64) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := t.objs.Wanted.BatchUpdate(keys, make([]uint8, len(keys)), &ebpf.BatchOptions{})
	if err != nil {
		return fmt.Errorf("writing wanted: %w", err)
	}
	return nil
}

func (t *Tracer) dropWanted(keys []uint64) {
	if len(keys) == 0 {
		return
	}
	if _, err := t.objs.Wanted.BatchDelete(keys, nil); err == nil {
		return
	}
	// Duplicates make the batch stop early. What is left over costs an entry
	// in a later answer, which the caller does not ask for and skips.
	for _, k := range keys {
		_ = t.objs.Wanted.Delete(k)
	}
}
