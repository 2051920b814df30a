package group

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// signature is what findings of one leak have in common.
type signature struct {
	kind    finding.Kind
	program string
	// container is the id of the container, or of the pod.
	container string
	stack     uint64 // of sameStack
	// role and service are left out of what is alike but for the service.
	role    flow.Role
	service netip.AddrPort
}

// sign returns what a finding has in common with others. Neither pid nor network
// namespace are in it: workers of one program leak in one place.
func sign(f *finding.Finding) signature {
	p := &f.Owner.Process
	s := signature{kind: f.Kind, program: p.Path, stack: sameStack(f.Stack)}
	if s.program == "" {
		s.program = p.Executable
	}
	if s.program == "" {
		s.program = p.Comm
	}
	s.container = containerOf(f.Workload)
	s.role, s.service = serviceOf(&f.Sock)
	return s
}

func containerOf(w *finding.Workload) string {
	switch {
	case w == nil:
		return ""
	case w.ContainerID == "":
		return w.PodUID
	}
	return w.ContainerID
}

func (s signature) family() signature {
	s.role, s.service = flow.RoleUnknown, netip.AddrPort{}
	return s
}

// serviceOf returns the side of a connection that stays the same from one to the
// next: what a client connects to, where a server listens. The other side's port is
// a new one each time. Where the roles are not known, services have the lower ports.
func serviceOf(s *flow.Sock) (flow.Role, netip.AddrPort) {
	role := s.Role
	if role == flow.RoleUnknown {
		role = flow.RoleClient
		if s.Local.Port() < s.Peer.Port() {
			role = flow.RoleServer
		}
	}
	if role == flow.RoleServer {
		return role, s.Local
	}
	return role, s.Peer
}

// ownFrames is how many of a program's own functions say where a leak is. Who calls
// them, and from where, differs more.
const ownFrames = 3

// sameStack returns a number that is the same for stacks whose first own frames
// are; 0 if there is no stack.
func sameStack(s *finding.Stack) uint64 {
	if s == nil || len(s.Frames) == 0 {
		return 0
	}
	h := fnv.New64a()
	own := 0
	for i := range s.Frames {
		f := &s.Frames[i]
		if f.Plumbing {
			continue
		}
		if f.Function != "" {
			fmt.Fprintf(h, "%q %q %d\n", f.Function, f.File, f.Line)
		} else {
			fmt.Fprintf(h, "%q+%d\n", f.Module, f.Offset)
		}
		if own++; own == ownFrames {
			break
		}
	}
	if own == 0 {
		return 0
	}
	fmt.Fprintf(h, "%d", s.Of)
	return h.Sum64()
}
