// Package privilege gives up what the daemon does not need any more once it runs:
// capabilities, the right to gain others, and system calls that it never makes.
package privilege

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Needs is what stays possible.
type Needs struct {
	// Files that are created, renamed or removed while the daemon runs, those that
	// are opened again included. Without any, no file can be opened for writing.
	Files []string
	// Namespaces: other network namespaces are entered, which takes CAP_SYS_ADMIN.
	Namespaces bool
}

// Dropped is what was given up.
type Dropped struct {
	// Kept are the capabilities that are left, such as cap_bpf, in order; Gone counts
	// those that the process held before and does not hold any more.
	Kept []string
	Gone int
	// Filter: system calls are filtered. ReadOnly: no file can be written that is not
	// open already.
	Filter, ReadOnly bool
}

// usual are the capabilities that are kept where they are held:
//
//   - BPF and PERFMON: running the programs for ageing and reading, opening iterators,
//     attaching programs when a connect waits or a leak is found
//   - SYS_PTRACE: /proc/PID of other users' processes
//   - SYSLOG: /proc/kallsyms, which is read when a kernel address is first met
//   - DAC_READ_SEARCH: executables and configuration that other users may not read, and
//     cgroups by their number
//   - CHECKPOINT_RESTORE: /proc/PID/map_files, for the functions of stacks
var usual = []cap.Value{
	cap.BPF, cap.PERFMON, cap.SYS_PTRACE, cap.SYSLOG, cap.DAC_READ_SEARCH, cap.CHECKPOINT_RESTORE,
}

// Usual names the capabilities that are kept where they are held, whatever is configured.
func Usual() []string {
	var names []string
	for _, v := range usual {
		names = append(names, v.String())
	}
	return names
}

// Drop gives up, in all threads and for good, all that is not needed. What could not be
// given up is in the error; the rest of it was. It must not run beside code that changes
// the credentials or the network namespace of a thread.
func Drop(needs Needs) (Dropped, error) {
	var d Dropped
	_, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno != 0 {
		return d, fmt.Errorf("setting no_new_privs: %w", errno)
	}
	err := d.capabilities(needs)
	d.ReadOnly = len(needs.Files) == 0
	if filterErr := installFilter(policy(d.ReadOnly)); filterErr != nil {
		d.ReadOnly = false
		return d, errors.Join(err, filterErr)
	}
	d.Filter = true
	return d, err
}

func (d *Dropped) capabilities(needs Needs) error {
	held := cap.GetProc()
	keep := cap.NewSet()
	var drop []cap.Value
	for v := range cap.MaxBits() {
		has, err := held.GetFlag(cap.Permitted, v)
		if err != nil {
			return fmt.Errorf("reading capabilities: %w", err)
		}
		needed := needs.capability(held, v)
		if !needed {
			drop = append(drop, v)
		}
		switch {
		case has && needed:
			d.Kept = append(d.Kept, v.String())
			if err := errors.Join(keep.SetFlag(cap.Permitted, true, v), keep.SetFlag(cap.Effective, true, v)); err != nil {
				return fmt.Errorf("keeping %s: %w", v, err)
			}
		case has:
			d.Gone++
		}
	}
	// The bounding set bounds what execve(2) can give, which no_new_privs denies
	// already; without CAP_SETPCAP it stays.
	if has, err := held.GetFlag(cap.Effective, cap.SETPCAP); err == nil && has {
		if err := cap.DropBound(drop...); err != nil {
			return fmt.Errorf("dropping the bounding set: %w", err)
		}
	}
	if err := keep.SetProc(); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

// capability reports whether a capability is still needed.
func (n *Needs) capability(held *cap.Set, v cap.Value) bool {
	for _, u := range usual {
		if v == u {
			return true
		}
	}
	switch v {
	case cap.SYS_ADMIN:
		// It stands in for the first two where those were not given
		// (kernel/bpf/syscall.c, bpf_capable).
		return n.Namespaces || !has(held, cap.BPF) || !has(held, cap.PERFMON)
	case cap.DAC_OVERRIDE:
		return !n.writable()
	}
	return false
}

func has(s *cap.Set, v cap.Value) bool {
	is, err := s.GetFlag(cap.Effective, v)
	return err == nil && is
}
