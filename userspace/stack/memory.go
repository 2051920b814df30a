package stack

import (
	"fmt"
	"slices"
	"time"
)

// memory is what a process has mapped.
type memory struct {
	regions []region
	// files are those of regions that were asked for, by where they start.
	files map[uint64]identity
	// alive is false where the process has exited and this is remembered.
	alive bool
	used  time.Time
}

// memory reads what a process has mapped, or remembers it if the process has exited.
func (s *Symbols) memory(proc string, p Process) (*memory, error) {
	regions, err := readMaps(proc + "/maps")
	// Read after the mappings: a pid that was reused before shows here.
	if gone := p.Check(proc); gone != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if m, ok := s.processes[p]; ok {
			m.used = time.Now()
			return m, nil
		}
		return nil, gone
	}
	if err != nil {
		return nil, fmt.Errorf("reading mappings of process %d: %w", p.PID, err)
	}
	if len(regions) == 0 {
		// A zombie.
		return nil, ErrGone
	}
	return &memory{regions: regions, files: make(map[uint64]identity), alive: true}, nil
}

// remember keeps those mappings of a process that were asked for, and forgets
// the processes not used longest. Without its start nobody could tell a later
// process from this one.
func (s *Symbols) remember(p Process, m *memory) {
	if p.Start == 0 || len(m.files) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.processes[p]
	if !ok {
		if len(s.processes) >= maxProcesses {
			s.forgetOldest()
		}
		old = &memory{files: make(map[uint64]identity)}
		s.processes[p] = old
	}
	old.used = time.Now()
	for i := range m.regions {
		r := m.regions[i]
		id, asked := m.files[r.start]
		if !asked || old.files[r.start] == id || len(old.regions) >= maxRemembered {
			continue
		}
		r.path = moduleName(r.path)
		old.files[r.start] = id
		// A library that was loaded where another one was goes first.
		old.regions = slices.Insert(old.regions, 0, r)
	}
}

func (s *Symbols) forgetOldest() {
	var oldest Process
	var at time.Time
	for p, m := range s.processes {
		if at.IsZero() || m.used.Before(at) {
			oldest, at = p, m.used
		}
	}
	delete(s.processes, oldest)
}
