package main

import (
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink"
)

// recordSink is a sink, and what it was not told.
type recordSink struct {
	*sink.Sink
	unsaid sink.Unsaid
	again  []byte
}

// word is a record of a finding or of a group.
type word struct {
	id     string
	status finding.Status
	// total: the last record says by itself all there is to be said.
	total bool
	// as appends the record with another status.
	as func(dst []byte, status finding.Status) []byte
}

// say queues a word, which was made to a record, and what follows it; false if it was
// dropped. Where the first record of a finding was dropped, the next one is said as the
// first, and an end is not said.
func (s *recordSink) say(w *word, record []byte, then func()) bool {
	owed := s.unsaid.Has(w.id)
	switch {
	case owed && w.status == finding.Update:
		s.again = w.as(s.again[:0], finding.Open)
		said := s.put(sink.Finding, s.again, then)
		if said {
			s.unsaid.Remove(w.id)
		}
		return said
	case owed && w.status == finding.Resolved:
		s.unsaid.Remove(w.id)
		if !w.total {
			s.Leave(sink.End)
			return false
		}
	}
	said := s.put(classOf(w.status), record, then)
	if !said && w.status == finding.Open {
		s.unsaid.Add(w.id)
	}
	return said
}

func (s *recordSink) put(class sink.Class, record []byte, then func()) bool {
	if then == nil {
		return s.Put(class, record)
	}
	return s.PutThen(class, record, then)
}

// classOf says what a record is worth when a queue is full.
func classOf(s finding.Status) sink.Class {
	switch s {
	case finding.Update:
		return sink.Update
	case finding.Resolved:
		return sink.End
	}
	return sink.Finding
}
