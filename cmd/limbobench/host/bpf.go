package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// CountRuns makes the kernel count runs and run time of BPF programs until the
// closer is closed, as sysctl kernel.bpf_stats_enabled does. It costs every
// run about 20 ns, so measure rates without it.
func CountRuns() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("enabling BPF statistics: %w", err)
	}
	return c, nil
}

// Program is one BPF program of a process and its runs while they were
// counted.
type Program struct {
	ID   ebpf.ProgramID
	Name string // at most 15 bytes
	Runs uint64
	Time time.Duration
}

// Programs returns the BPF programs that a process has descriptors of.
func Programs(pid int) ([]Program, error) {
	ids, err := programIDs(pid)
	if err != nil {
		return nil, err
	}
	var all []Program
	for id := range ids {
		p, err := readProgram(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // unloaded meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func readProgram(id ebpf.ProgramID) (Program, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return Program{}, fmt.Errorf("opening BPF program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return Program{}, fmt.Errorf("reading BPF program %d: %w", id, err)
	}
	stats, err := p.Stats()
	if err != nil {
		return Program{}, fmt.Errorf("reading run time of BPF program %d: %w", id, err)
	}
	return Program{ID: id, Name: info.Name, Runs: stats.RunCount, Time: stats.Runtime}, nil
}

// FullName returns the name of the program's function; the kernel cuts names
// off after 15 bytes, which makes some alike.
func FullName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", fmt.Errorf("opening BPF program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", fmt.Errorf("reading BPF program %d: %w", id, err)
	}
	funcs, err := info.FuncInfos()
	if err != nil {
		return "", fmt.Errorf("reading functions of BPF program %d: %w", id, err)
	}
	for _, f := range funcs {
		if f.Offset == 0 {
			return f.Func.Name, nil
		}
	}
	return info.Name, nil
}

// programIDs asks /proc/PID/fdinfo: names are not unique where two agents run.
func programIDs(pid int) (map[ebpf.ProgramID]bool, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, fmt.Errorf("listing descriptors of process %d: %w", pid, err)
	}
	ids := make(map[ebpf.ProgramID]bool)
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			continue // closed meanwhile
		}
		if id, ok := programID(f); ok {
			ids[id] = true
		}
		_ = f.Close()
	}
	return ids, nil
}

func programID(fdinfo io.Reader) (ebpf.ProgramID, bool) {
	for sc := bufio.NewScanner(fdinfo); sc.Scan(); {
		value, ok := strings.CutPrefix(sc.Text(), "prog_id:")
		if !ok {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		return ebpf.ProgramID(id), err == nil
	}
	return 0, false
}

// Named returns the ids of all programs of this name on the machine.
func Named(name string) ([]ebpf.ProgramID, error) {
	var ids []ebpf.ProgramID
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return ids, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing BPF programs: %w", err)
		}
		id = next
		if p, err := readProgram(id); err == nil && p.Name == name {
			ids = append(ids, id)
		}
	}
}

// Empty is a program that does nothing, attached where ours is.
type Empty struct {
	prog *ebpf.Program
	link link.Link
}

// AttachEmpty attaches it to inet_sock_set_state.
func AttachEmpty() (*Empty, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "limbobench_nil", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("loading empty BPF program: %w", err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p, AttachType: ebpf.AttachTraceRawTp})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attaching empty BPF program: %w", err), p.Close())
	}
	return &Empty{prog: p, link: l}, nil
}

// Read returns its runs.
func (e *Empty) Read() (Program, error) {
	s, err := e.prog.Stats()
	if err != nil {
		return Program{}, fmt.Errorf("reading run time of empty BPF program: %w", err)
	}
	return Program{Name: "limbobench_nil", Runs: s.RunCount, Time: s.Runtime}, nil
}

// Close detaches and unloads it.
func (e *Empty) Close() error { return errors.Join(e.link.Close(), e.prog.Close()) }
