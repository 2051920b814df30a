// Package stack turns the addresses of a user stack into functions, files and
// lines: of Go programs by their own function table, which strip leaves in, of
// others by ELF symbols and DWARF. It reads the files that processes run, so all
// it reads is in other people's hands: it bounds what it reads and what it
// keeps, and believes nothing that does not hold together.
package stack

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// maxAddresses is how many addresses of a stack are looked at; the kernel
	// gives 127 at most (perf_event_max_stack).
	maxAddresses = 128
	// maxFrames is how many frames an answer has, inlined functions included.
	maxFrames = 256
	// readers is how many answers are made at the same time. More wait; one
	// that hangs in a file system (FUSE, NFS) holds its place until that answers.
	readers = 2
	// grace is how long an answer that is late may take to notice that.
	grace = 100 * time.Millisecond
	// maxRemembered is how many mappings of a process are remembered.
	maxRemembered = 64
)

// Symbols resolves addresses. It may be used by several goroutines.
type Symbols struct {
	proc string
	// roots are where separate debug files are looked for after the process's
	// own root.
	roots []string
	slots chan struct{}

	mu        sync.Mutex
	cache     *cache
	processes map[Process]*memory
}

// New returns Symbols that read processes from the proc file system at proc.
func New(proc string) *Symbols {
	return &Symbols{
		proc: proc, roots: []string{"/"},
		slots:     make(chan struct{}, readers),
		cache:     newCache(cacheBytes),
		processes: make(map[Process]*memory),
	}
}

// Resolve returns the functions at addresses of a process, in the order of the
// addresses, which is innermost first; what was inlined comes before the
// function it was inlined into. All but the first are addresses to return to.
//
// A frame that has no symbol has a module and an address in it. If ctx ends
// before all is known, the rest is of that kind. The error is ErrGone, ErrReused or
// ErrExec where the addresses mean nothing any more, ErrBusy or ctx's where
// nothing could be done in time. Frames are shared and must not be changed.
func (s *Symbols) Resolve(ctx context.Context, p Process, addrs []uint64) ([]finding.Frame, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ErrBusy
	}
	type answer struct {
		frames []finding.Frame
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-s.slots }()
		frames, err := s.resolve(ctx, p, addrs[:min(len(addrs), maxAddresses)])
		done <- answer{frames, err}
	}()
	select {
	case a := <-done:
		return a.frames, a.err
	case <-ctx.Done():
	}
	// It notices the deadline by itself, unless the file system keeps it.
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case a := <-done:
		return a.frames, a.err
	case <-late.C:
		return nil, ctx.Err()
	}
}

// place is one address of a stack.
type place struct {
	addr   uint64
	region *region
	// offset is where in the region's file the address is.
	offset uint64
	tried  bool
	frames []finding.Frame
}

func (s *Symbols) resolve(ctx context.Context, p Process, addrs []uint64) ([]finding.Frame, error) {
	proc := s.proc + "/" + strconv.FormatUint(uint64(p.PID), 10)
	m, err := s.memory(proc, p)
	if err != nil {
		return nil, err
	}
	places := make([]place, len(addrs))
	for i, addr := range addrs {
		if i > 0 && addr > 0 {
			// The call is before the address it returns to, and may be the last
			// instruction of its function or line.
			addr--
		}
		places[i].addr = addr
		if r := find(m.regions, addr); r != nil {
			places[i].region, places[i].offset = r, addr-r.start+r.offset
		}
	}
	for i := range places {
		if r := places[i].region; r != nil && !places[i].tried && r.inode != 0 {
			s.resolveFile(ctx, proc, m, places, r)
		}
	}
	if m.alive {
		s.remember(p, m)
	}
	var out []finding.Frame
	for i := range places {
		out = append(out, places[i].result()...)
	}
	return out[:min(len(out), maxFrames)], nil
}

// resolveFile fills in all places that are in the file of a region.
func (s *Symbols) resolveFile(ctx context.Context, proc string, m *memory, places []place, r *region) {
	var mine []*place
	for i := range places {
		if q := places[i].region; q != nil && q.inode == r.inode && q.path == r.path {
			places[i].tried = true
			mine = append(mine, &places[i])
		}
	}
	if !m.alive {
		s.mu.Lock()
		defer s.mu.Unlock()
		if id, ok := m.files[r.start]; ok {
			s.known(id, mine)
		}
		return
	}
	f, id, err := openMapped(proc, r)
	if err != nil {
		return
	}
	defer f.Close()
	for _, p := range mine {
		m.files[p.region.start] = id
	}
	s.mu.Lock()
	missing, slow := s.known(id, mine)
	s.mu.Unlock()
	if slow || len(missing) == 0 {
		return
	}
	o := object{root: proc + "/root", roots: s.roots, path: unescape(r.path), r: f, size: id.size}
	frames, err := o.carefully(ctx, missing)
	s.mu.Lock()
	defer s.mu.Unlock()
	for offset, list := range frames {
		s.cache.add(id, offset, list)
	}
	if err != nil {
		s.cache.need(id).slow = time.Now().Add(slowFor)
	}
	for _, p := range mine {
		if list, ok := frames[p.offset]; ok {
			p.frames = list
		}
	}
}

// known fills in what is remembered of a file and returns the offsets that are
// not. The caller holds the lock.
func (s *Symbols) known(id identity, places []*place) (missing []uint64, slow bool) {
	f := s.cache.file(id)
	for _, p := range places {
		if f != nil {
			if list, ok := f.frames[p.offset]; ok {
				p.frames = list
				continue
			}
		}
		missing = append(missing, p.offset)
	}
	slices.Sort(missing)
	return slices.Compact(missing), f != nil && time.Now().Before(f.slow)
}

// result is what is shown of a place: its frames, or else where it is.
func (p *place) result() []finding.Frame {
	if len(p.frames) > 0 {
		return p.frames
	}
	f := finding.Frame{Offset: p.addr}
	if p.region != nil {
		f.Module = moduleName(p.region.path)
		f.Offset = p.offset
		if p.region.inode == 0 {
			f.Offset = p.addr - p.region.start
		}
	}
	f.Plumbing = Plumbing(&f)
	return []finding.Frame{f}
}

// moduleName shortens a path in /proc/PID/maps to the name of its file.
func moduleName(mapped string) string {
	if mapped == "" {
		return "[anon]"
	}
	if strings.HasPrefix(mapped, "[") {
		return cut(mapped, 64)
	}
	return cut(path.Base(strings.TrimSuffix(unescape(mapped), " (deleted)")), 128)
}
