package tracer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	// maxStacks is how many distinct stacks are kept, 1.5 MiB of kernel memory:
	// programs connect and accept in few places. maxSocketStacks is how many
	// sockets are known by theirs, 9.5 MiB.
	maxStacks       = 4096
	maxSocketStacks = 65536
	// maxLeaky is the size of leaky_processes.
	maxLeaky = 256

	sockStacksSize = int(unsafe.Sizeof(limboSockStacks{}))
	userStackSize  = int(unsafe.Sizeof(limboUserStack{}))
	// stackFrames is STACK_FRAMES of bpf/event.h.
	stackFrames = len(limboUserStack{}.Frames)
)

// stackSide takes user stacks. All of it is optional: the rest works on a kernel
// that refuses it.
type stackSide struct {
	eof       link.Link
	eofWanted bool // as soon as its program is there
	accept    acceptHook
	// refused, accepts and eofs are why stacks cannot be taken at all, at accept,
	// and where the end of file is read; nil if they can.
	refused, accepts, eofs error
	leaky                  []uint32
	socketBuf              [2][]byte
	stackBuf               []byte
	// shares are the CPUs' of the budget.
	shares []stackShare
}

// stackPrograms are those that take stacks and nothing else.
var stackPrograms = []string{"limbo_accept", "limbo_eof"}

// sizeStacks makes the maps of stacks as large as the mode needs.
func (o *Options) sizeStacks(spec *ebpf.CollectionSpec, cpus int) {
	stacks, sockets := uint32(maxStacks), uint32(maxSocketStacks)
	if o.MaxPromoted != 0 {
		sockets = min(sockets, o.MaxPromoted)
	}
	if o.Stacks == flow.StacksOff {
		stacks, sockets = 1, 1
	}
	spec.Maps["user_stacks"].MaxEntries = stacks
	spec.Maps["socket_stacks"].MaxEntries = sockets
	spec.Maps["stack_cpus"].MaxEntries = uint32(cpus)
}

// attachStacks attaches what takes stacks beside limbo_set_state.
func (t *Tracer) attachStacks() error {
	if t.opts.Stacks == flow.StacksOff {
		return nil
	}
	// Where accept cannot be seen, accepted sockets have no stack.
	t.stacks.accept.attach, t.stacks.accept.refused = t.hookAccept, t.lateRefused
	t.stacks.accepts = t.stacks.accept.begin()
	if t.opts.Stacks == flow.StacksAlways {
		return t.WatchEOF(true)
	}
	return nil
}

// WatchEOF begins or ends looking at what receives return, which costs each of them
// some 20 ns; under StacksAlways it does not end. Without the tracepoint it
// does nothing; where the program is still being loaded, it begins at the Follow after.
func (t *Tracer) WatchEOF(on bool) error {
	if on {
		t.need(&t.objs.LimboEof, 0)
	}
	t.stacks.eofWanted = on && t.objs.LimboEof == nil
	switch {
	case !on && t.stacks.eof != nil && t.opts.Stacks != flow.StacksAlways:
		return t.dropEOF()
	case on && t.stacks.eof == nil && t.objs.LimboEof != nil:
		l, err := attachTracepoint("sock_recv_length", t.objs.LimboEof)
		if err != nil {
			return err
		}
		t.stacks.eof = l
	}
	return nil
}

func (t *Tracer) dropEOF() error {
	if t.stacks.eof == nil {
		return nil
	}
	err := t.stacks.eof.Close()
	t.stacks.eof = nil
	if err != nil {
		return fmt.Errorf("detaching sock_recv_length: %w", err)
	}
	return nil
}

// StackHooks returns why no stacks are taken at connect, at accept, and where the
// end of file is read; nil where they are. Meant for after Attach.
func (t *Tracer) StackHooks() (connect, accept, eof error) {
	return t.stacks.refused, errors.Join(t.stacks.refused, t.stacks.accepts), errors.Join(t.stacks.refused, t.stacks.eofs)
}

// SocketStacks returns the stacks taken of a socket, as far as what is given of it
// tells this one from another that had its address before.
func (t *Tracer) SocketStacks(id flow.ID) (flow.SocketStacks, error) {
	if t.opts.Stacks == flow.StacksOff {
		return flow.SocketStacks{}, nil
	}
	return readSocketStacks(t.objs.SocketStacks, &t.stacks.socketBuf, id)
}

// readSocketStacks reads an element of socket_stacks. An LRU map may give its memory
// to another socket meanwhile (kernel/bpf/bpf_lru_list.c): what is not the same twice
// is not believed.
func readSocketStacks(m *ebpf.Map, buf *[2][]byte, id flow.ID) (flow.SocketStacks, error) {
	for i := range buf {
		err := m.Lookup(id.Addr, buf[i])
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return flow.SocketStacks{}, nil
		}
		if err != nil {
			return flow.SocketStacks{}, fmt.Errorf("reading socket_stacks: %w", err)
		}
	}
	if !bytes.Equal(buf[0], buf[1]) {
		return flow.SocketStacks{}, nil
	}
	return decodeSocketStacks(buf[0], id), nil
}

// decodeSocketStacks decodes a struct sock_stacks, and gives nothing where that is
// about another socket.
func decodeSocketStacks(b []byte, id flow.ID) flow.SocketStacks {
	if len(b) < sockStacksSize {
		return flow.SocketStacks{}
	}
	le := binary.LittleEndian
	cookie, sport := le.Uint64(b), le.Uint16(b[44:])
	peer := addrPort(b[24:40], le.Uint16(b[46:]))
	switch {
	case cookie != 0 && id.Cookie != 0 && cookie != id.Cookie,
		id.Peer.IsValid() && peer != id.Peer,
		id.NetNS != 0 && le.Uint32(b[40:]) != id.NetNS,
		sport != 0 && id.Local.Port() != 0 && sport != id.Local.Port():
		return flow.SocketStacks{}
	}
	return flow.SocketStacks{
		Opener:    flow.StackID(le.Uint64(b[8:])),
		Reader:    flow.StackID(le.Uint64(b[16:])),
		Accepted:  b[48] == uint8(limboStackOfSTACK_ACCEPT),
		Goroutine: decodeGoroutine(b[56:]),
	}
}

// decodeGoroutine decodes a struct goroutine. Its parts are known in their order.
func decodeGoroutine(b []byte) flow.Goroutine {
	le := binary.LittleEndian
	g := flow.Goroutine{ID: le.Uint64(b)}
	if creator := le.Uint64(b[16:]); g.ID != 0 && creator != 0 {
		g.Created, g.Creator = le.Uint64(b[8:]), creator
	}
	return g
}

// UserStack returns the stack of that id; false if it had to make room for others.
func (t *Tracer) UserStack(id flow.StackID) (flow.UserStack, bool, error) {
	return readUserStack(t.objs.UserStacks, t.stacks.stackBuf, id)
}

// readUserStack reads an element of user_stacks.
func readUserStack(m *ebpf.Map, buf []byte, id flow.StackID) (flow.UserStack, bool, error) {
	err := m.Lookup(uint64(id), buf)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return flow.UserStack{}, false, nil
	}
	if err != nil {
		return flow.UserStack{}, false, fmt.Errorf("reading user_stacks: %w", err)
	}
	if stackID(buf) != id {
		return flow.UserStack{}, false, nil // overwritten while it was read
	}
	s, err := decodeUserStack(buf)
	return s, err == nil, err
}

// stackID is the id of a struct user_stack: a hash of all but the count, as
// stack_id() of bpf/stack.h makes it.
func stackID(b []byte) flow.StackID {
	le := binary.LittleEndian
	hash := uint64(le.Uint32(b[16:]))
	mix := func(word uint64) {
		hash = (hash ^ word) * 0x9e3779b97f4a7c15
		hash ^= hash >> 29
	}
	mix(le.Uint64(b))
	mix(le.Uint64(b[8:]))
	for at := 24; at < userStackSize; at += 8 {
		mix(le.Uint64(b[at:]))
	}
	return flow.StackID(hash | 2)
}

// decodeUserStack decodes a struct user_stack.
func decodeUserStack(b []byte) (flow.UserStack, error) {
	if len(b) < userStackSize {
		return flow.UserStack{}, fmt.Errorf("decoding a stack: %d bytes, want %d", len(b), userStackSize)
	}
	le := binary.LittleEndian
	s := flow.UserStack{
		Start: time.Duration(le.Uint64(b)),
		Base:  le.Uint64(b[8:]),
		PID:   le.Uint32(b[16:]),
	}
	count := min(int(le.Uint32(b[20:])), stackFrames)
	s.Addrs = make([]uint64, 0, count+1)
	for i := range count {
		s.Addrs = append(s.Addrs, le.Uint64(b[32+8*i:]))
		if caller := le.Uint64(b[24:]); i == 0 && caller != 0 {
			s.Addrs = append(s.Addrs, caller)
		}
	}
	return s, nil
}

// Leaky names the processes whose stacks are taken whatever the budget says, by
// their pids; at most maxLeaky of them, the first.
func (t *Tracer) Leaky(pids []uint32) error {
	if t.opts.Stacks == flow.StacksOff {
		return nil
	}
	pids = pids[:min(len(pids), maxLeaky)]
	for _, pid := range t.stacks.leaky {
		if err := t.objs.LeakyProcesses.Delete(pid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("writing leaky_processes: %w", err)
		}
	}
	t.stacks.leaky = append(t.stacks.leaky[:0], pids...)
	for _, pid := range pids {
		if err := t.objs.LeakyProcesses.Put(pid, uint8(1)); err != nil {
			return fmt.Errorf("writing leaky_processes: %w", err)
		}
	}
	if err := t.objs.LeakyKnown.Set(len(pids) > 0); err != nil {
		return fmt.Errorf("setting leaky_known: %w", err)
	}
	return nil
}

// countStacks fills in the counters of stacks, and of what is lacking.
func (t *Tracer) countStacks(s *flow.Stats, c *limboCounters) error {
	s.Refused = t.late.refused
	s.Stacks, s.StacksLost = c.Stacks, c.StackLost
	if t.opts.Stacks == flow.StacksOff {
		return nil
	}
	if _, err := t.youngCPUs.ReadAt(t.youngBuf, 0); err != nil {
		return fmt.Errorf("reading young_cpus: %w", err)
	}
	for cpu := range t.cpus {
		_, refused := t.stacksAt(cpu)
		s.StacksRefused += refused
	}
	return nil
}

// prepareStacks makes room for what is read.
func (t *Tracer) prepareStacks() error {
	t.stacks.socketBuf = [2][]byte{make([]byte, sockStacksSize), make([]byte, sockStacksSize)}
	t.stacks.stackBuf = make([]byte, userStackSize)
	t.stacks.shares = make([]stackShare, t.cpus)
	return t.giveStacks(BootTime())
}
