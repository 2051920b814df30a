package tracer

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// ErrNothingRuns says that nobody takes stacks on this host.
var ErrNothingRuns = errors.New("no tcplimbo that takes stacks runs on this host")

// RunningStacks are the stacks that other runs of tcplimbo have taken, as long as
// these last: their maps are found among all of the kernel's.
type RunningStacks struct {
	sockets, stacks []*ebpf.Map
	socketBuf       [2][]byte
	stackBuf        []byte
}

// OpenRunningStacks looks for them. The error is ErrNothingRuns if there are none,
// and fs.ErrPermission without CAP_SYS_ADMIN.
func OpenRunningStacks() (*RunningStacks, error) {
	r := &RunningStacks{
		socketBuf: [2][]byte{make([]byte, sockStacksSize), make([]byte, sockStacksSize)},
		stackBuf:  make([]byte, userStackSize),
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err == nil {
			id, err = next, r.add(next)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("looking for the maps of a running tcplimbo: %w", err), r.Close())
		}
	}
	if len(r.sockets) == 0 || len(r.stacks) == 0 {
		return nil, errors.Join(ErrNothingRuns, r.Close())
	}
	return r, nil
}

// add keeps a map if it is one of those.
func (r *RunningStacks) add(id ebpf.MapID) error {
	m, err := ebpf.NewMapFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its program has just ended
	}
	if err != nil {
		return fmt.Errorf("opening map %d: %w", id, err)
	}
	info, err := m.Info()
	if err != nil {
		return errors.Join(fmt.Errorf("asking about map %d: %w", id, err), m.Close())
	}
	switch {
	case info.Type != ebpf.LRUHash || info.KeySize != 8 || info.MaxEntries == 1: // with stacks turned off
	case info.Name == "socket_stacks" && info.ValueSize == uint32(sockStacksSize):
		r.sockets = append(r.sockets, m)
		return nil
	case info.Name == "user_stacks" && info.ValueSize == uint32(userStackSize):
		r.stacks = append(r.stacks, m)
		return nil
	}
	return m.Close()
}

// SocketStacks is like Tracer's. Of several runs the first that knows the socket
// is believed.
func (r *RunningStacks) SocketStacks(id flow.ID) (flow.SocketStacks, error) {
	for _, m := range r.sockets {
		s, err := readSocketStacks(m, &r.socketBuf, id)
		if err != nil || s != (flow.SocketStacks{}) {
			return s, err
		}
	}
	return flow.SocketStacks{}, nil
}

// UserStack is like Tracer's. An id is a hash of all that the stack is, so it does
// not matter whose it is.
func (r *RunningStacks) UserStack(id flow.StackID) (flow.UserStack, bool, error) {
	for _, m := range r.stacks {
		s, ok, err := readUserStack(m, r.stackBuf, id)
		if err != nil || ok {
			return s, ok, err
		}
	}
	return flow.UserStack{}, false, nil
}

// Close lets go of the maps.
func (r *RunningStacks) Close() error {
	var errs []error
	for _, m := range append(r.sockets, r.stacks...) {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
