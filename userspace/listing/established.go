package listing

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// apart is how long after the first reading sockets are read again: longer
	// than a healthy program takes to read what arrived, and than one passes.
	apart = 300 * time.Millisecond
	// stallLeast is how long data must not have moved for its socket to be
	// listed, if nobody asks for ages or for the state.
	stallLeast = 3 * time.Second
	// probesLeast is how many probes of a closed window take as long, the first
	// after 0.2 s; nothing else may prove since when it is closed.
	probesLeast = 4
)

// healthy reports whether ESTABLISHED sockets are listed that are well.
func (f *Filter) healthy() bool {
	return f.OlderThan == 0 && (f.All || f.States.Has(flow.StateEstablished))
}

// judgeAgain reads a second time what one reading does not tell: ESTABLISHED
// sockets, of which those stay whose data does not move, or all if healthy ones
// are wanted, and those that may only be passing.
func judgeAgain(kernel Kernel, rows []finding.Finding, filter *Filter, now time.Time) ([]finding.Finding, error) {
	var again []*flow.Sock
	var which []int
	for i := range rows {
		s := &rows[i].Sock
		if filter.doubtful(s) || (s.State == flow.StateEstablished && detect.Waits(s)) {
			again, which = append(again, &flow.Sock{ID: s.ID}), append(which, i)
		}
	}
	if len(again) > 0 {
		time.Sleep(apart)
		if err := kernel.Read(again, false); err != nil {
			return nil, fmt.Errorf("reading sockets: %w", err)
		}
	}
	for n, i := range which {
		if rows[i].Sock.State == flow.StateEstablished {
			tellStalled(&rows[i], again[n], now.Add(apart))
		} else {
			tellLasting(&rows[i], again[n], now.Add(apart))
		}
	}
	return filter.kept(rows), nil
}

// tellLasting gives a row the age that two readings prove; one that has left its
// state is no row any more.
func tellLasting(row *finding.Finding, s *flow.Sock, now time.Time) {
	if s.Gone || s.State != row.Sock.State {
		row.Kind = finding.KindNone
		return
	}
	sent := row.Reason == finding.StillSending
	*row = rowOf(s, max(apart, detect.AgeBound(s)), now)
	if sent {
		row.Reason = finding.StillSending
	}
}

// kept drops what the second reading showed not to be listed. Rows are large:
// nothing is moved before the first of them.
func (f *Filter) kept(rows []finding.Finding) []finding.Finding {
	n := 0
	for i := range rows {
		if s := &rows[i].Sock; (s.State == flow.StateEstablished && !f.keeps(&rows[i])) ||
			(rows[i].Kind == finding.KindNone && f.doubtful(s)) {
			continue
		}
		if n != i {
			rows[n] = rows[i]
		}
		n++
	}
	return rows[:n]
}

// tellStalled makes a finding of a row if its second reading shows that nothing
// moved.
func tellStalled(row *finding.Finding, s *flow.Sock, now time.Time) {
	if s.Gone || s.State != flow.StateEstablished {
		return
	}
	reason, age := detect.Stuck(&row.Sock, s)
	if reason == finding.ReasonNone {
		return
	}
	row.Kind, row.Reason = finding.EstablishedStalled, reason
	row.Time, row.Since, row.Duration = now, now.Add(-age), age
	row.Sock, row.GivesUp = *s, explain.GivesUp(s)
}

// keeps tells which ESTABLISHED sockets are listed.
func (f *Filter) keeps(row *finding.Finding) bool {
	if f.healthy() {
		return true
	}
	if row.Kind == finding.KindNone || row.Duration < f.OlderThan {
		return false
	}
	if f.OlderThan > 0 || row.Duration >= stallLeast {
		return true
	}
	return row.Reason == finding.ZeroWindow && row.Sock.Backoff >= probesLeast
}
