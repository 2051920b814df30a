package sockdiag

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/procstat"
)

// Holders reads the descriptors of all processes that /proc shows and calls fn for
// each that refers to a wanted socket. The value is only valid during the call. Only
// the tables of processes are read, not those of threads that have their own.
func (s *Source) Holders(want flow.Wanted, fn func(*flow.Held)) error {
	sought := map[uint64]flow.Held{}
	for _, sock := range want.Of {
		if sock.Inode != 0 {
			sought[sock.Inode] = held(sock)
		}
	}
	if err := s.seekStates(&want, sought); err != nil {
		return err
	}
	s.denied = false
	if len(sought) == 0 {
		return nil
	}
	return s.eachProcess(func(pid string) { s.descriptors(pid, sought, fn) })
}

// Denied implements owner.Restricted.
func (s *Source) Denied() bool { return s.denied }

func held(s *flow.Sock) flow.Held {
	return flow.Held{
		Key: s.Key, State: s.State, Local: s.Local, NetNS: s.NetNS,
		AcceptQueue: s.AcceptQueue, AcceptLimit: s.AcceptLimit,
	}
}

// seekStates adds the sockets that are wanted by their state, and listeners by port.
func (s *Source) seekStates(want *flow.Wanted, sought map[uint64]flow.Held) error {
	states := want.States
	ports := make(map[uint16]bool, len(want.Ports))
	for _, port := range want.Ports {
		ports[port] = true
	}
	if len(ports) > 0 {
		states |= flow.StateListen.Bit()
	}
	for _, netns := range s.spaces.order {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			err := s.dump(place{netns, family}, states, func(sock *flow.Sock) {
				if sock.Inode != 0 && (want.States.Has(sock.State) || ports[sock.Local.Port()]) {
					sought[sock.Inode] = held(sock)
				}
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Source) eachProcess(fn func(pid string)) error {
	dir, err := os.Open(s.root)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' {
			fn(name)
		}
	}
	return err
}

// descriptorsAtOnce bounds the names that are held of one process' descriptors.
const descriptorsAtOnce = 1024

// descriptors looks through one process; one that is gone or that must not be
// looked into has none.
func (s *Source) descriptors(pid string, sought map[uint64]flow.Held, fn func(*flow.Held)) {
	dir, err := os.Open(s.root + "/" + pid + "/fd")
	if err != nil {
		s.denied = s.denied || errors.Is(err, fs.ErrPermission)
		return
	}
	defer dir.Close()
	var task flow.Task
	var link [64]byte
	for {
		names, err := dir.Readdirnames(descriptorsAtOnce)
		for _, name := range names {
			n, err := unix.Readlinkat(int(dir.Fd()), name, link[:])
			if err != nil {
				continue
			}
			inode, ok := parseInode(link[:n], "socket")
			if !ok {
				continue
			}
			h, ok := sought[inode]
			if !ok {
				continue
			}
			if !task.Known() {
				if task, ok = s.task(pid); !ok {
					return
				}
			}
			fd, err := strconv.ParseUint(name, 10, 32)
			if err != nil {
				continue
			}
			h.Holder = flow.Holder{Task: task, FD: uint32(fd)}
			fn(&h)
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

// task reads who a process is.
func (s *Source) task(pid string) (flow.Task, bool) {
	n, err := strconv.ParseUint(pid, 10, 32)
	if err != nil {
		return flow.Task{}, false
	}
	is, ok := procstat.Read(s.root + "/" + pid)
	if !ok {
		return flow.Task{}, false
	}
	status, err := os.ReadFile(s.root + "/" + pid + "/status")
	if err != nil {
		return flow.Task{}, false
	}
	uid, ok := parseUser(status)
	return flow.Task{PID: uint32(n), TID: uint32(n), UID: uid, Comm: is.Name, StartBoot: is.Start}, ok
}

// parseUser reads the real user of proc(5) status, as the tracer does.
func parseUser(status []byte) (uint32, bool) {
	_, rest, ok := bytes.Cut(status, []byte("\nUid:"))
	if !ok {
		return 0, false
	}
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return 0, false
	}
	uid, err := strconv.ParseUint(string(fields[0]), 10, 32)
	return uint32(uid), err == nil
}
