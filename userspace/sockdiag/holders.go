package sockdiag

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// userHZ is the unit of /proc/PID/stat's times (include/asm-generic/param.h).
const userHZ = 100

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
	stat, err := os.ReadFile(s.root + "/" + pid + "/stat")
	if err != nil {
		return flow.Task{}, false
	}
	status, err := os.ReadFile(s.root + "/" + pid + "/status")
	if err != nil {
		return flow.Task{}, false
	}
	t := flow.Task{PID: uint32(n), TID: uint32(n)}
	return t, parseStat(stat, &t) && parseStatus(status, &t)
}

// parseStat reads name and start of proc(5) stat. The name in parentheses may hold
// anything; the last ')' ends it.
func parseStat(stat []byte, t *flow.Task) bool {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || begin >= end {
		return false
	}
	const start = 22 - 3 // of what follows the name
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= start {
		return false
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 63)
	if err != nil || ticks > uint64(1<<63-1)/uint64(time.Second/userHZ) {
		return false
	}
	t.Comm, t.StartBoot = string(stat[begin+1:end]), time.Duration(ticks)*(time.Second/userHZ)
	return true
}

// parseStatus reads the real user of proc(5) status, as the tracer does.
func parseStatus(status []byte, t *flow.Task) bool {
	_, rest, ok := bytes.Cut(status, []byte("\nUid:"))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return false
	}
	uid, err := strconv.ParseUint(string(fields[0]), 10, 32)
	t.UID = uint32(uid)
	return err == nil
}
