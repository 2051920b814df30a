package flow

// RetransmitKind is why the kernel sent a segment again.
type RetransmitKind uint8

// The kinds; the numbers are those of bpf/event.h.
const (
	RetransmitNone RetransmitKind = iota
	// RetransmitSyn is the handshake's own segment, at a timeout.
	RetransmitSyn
	// RetransmitFast is a segment that ACKs, or their absence for a part of a
	// round trip (RACK), told to be lost.
	RetransmitFast
	// RetransmitRTO is the first timeout of a row, RetransmitBackoff one more
	// after a longer wait.
	RetransmitRTO
	RetransmitBackoff
	// RetransmitSlowStart is what follows a timeout at the pace of ACKs.
	RetransmitSlowStart
	// RetransmitTLP is a tail loss probe: the last segment, sent again because
	// nothing came back for two round trips.
	RetransmitTLP
	// RetransmitProbe asks a peer that closed its window over data in flight.
	RetransmitProbe
	RetransmitOther
	RetransmitKinds
)

var retransmitNames = [RetransmitKinds]string{
	RetransmitNone:      "none",
	RetransmitSyn:       "syn",
	RetransmitFast:      "fast",
	RetransmitRTO:       "rto",
	RetransmitBackoff:   "backoff",
	RetransmitSlowStart: "slow_start",
	RetransmitTLP:       "tlp",
	RetransmitProbe:     "probe",
	RetransmitOther:     "other",
}

// String returns the kind's name as used in records and metrics.
func (k RetransmitKind) String() string {
	if k < RetransmitKinds {
		return retransmitNames[k]
	}
	return retransmitNames[RetransmitOther]
}

// Retransmitting says of which kind the retransmissions are that the socket is in
// now, as far as its values tell: timeouts, and SYNs. RetransmitNone says nothing.
func (s *Sock) Retransmitting() RetransmitKind {
	switch {
	case s.TimeWait || s.Retransmits == 0:
		return RetransmitNone
	case s.State == StateSynSent || s.State == StateSynRecv:
		return RetransmitSyn
	case s.Backoff > 1:
		return RetransmitBackoff
	}
	return RetransmitRTO
}
