// Package flow holds the plain types that describe a TCP socket as the kernel
// sees it: identity, state, values and holders. It imports the standard library
// only, so that verdicts, sinks and tests can use it without a kernel.
package flow

import "fmt"

// State is a TCP state with the kernel's numbering (include/net/tcp_states.h,
// the same since 2.6; TCP_BOUND_INACTIVE was appended in 6.8).
type State uint8

// The kernel's TCP states.
const (
	StateUnknown     State = 0
	StateEstablished State = 1
	StateSynSent     State = 2
	StateSynRecv     State = 3
	StateFinWait1    State = 4
	StateFinWait2    State = 5
	StateTimeWait    State = 6
	StateClose       State = 7
	StateCloseWait   State = 8
	StateLastAck     State = 9
	StateListen      State = 10
	StateClosing     State = 11
	StateNewSynRecv  State = 12
	StateMax         State = 13
)

// stateNames are OpenTelemetry's spellings of network.connection.state
// (semantic conventions 1.26 and later); they are what machines read.
var stateNames = [StateMax]string{
	StateUnknown:     "unknown",
	StateEstablished: "established",
	StateSynSent:     "syn_sent",
	StateSynRecv:     "syn_received",
	StateFinWait1:    "fin_wait_1",
	StateFinWait2:    "fin_wait_2",
	StateTimeWait:    "time_wait",
	StateClose:       "closed",
	StateCloseWait:   "close_wait",
	StateLastAck:     "last_ack",
	StateListen:      "listen",
	StateClosing:     "closing",
	StateNewSynRecv:  "syn_received",
}

// stateLabels are what ss(8) prints; they are what people read.
var stateLabels = [StateMax]string{
	StateUnknown:     "UNKNOWN",
	StateEstablished: "ESTAB",
	StateSynSent:     "SYN-SENT",
	StateSynRecv:     "SYN-RECV",
	StateFinWait1:    "FIN-WAIT-1",
	StateFinWait2:    "FIN-WAIT-2",
	StateTimeWait:    "TIME-WAIT",
	StateClose:       "CLOSED",
	StateCloseWait:   "CLOSE-WAIT",
	StateLastAck:     "LAST-ACK",
	StateListen:      "LISTEN",
	StateClosing:     "CLOSING",
	StateNewSynRecv:  "SYN-RECV",
}

// String returns OpenTelemetry's spelling, for example "close_wait".
func (s State) String() string {
	if s < StateMax {
		return stateNames[s]
	}
	return fmt.Sprintf("state_%d", uint8(s))
}

// Label returns the spelling of ss(8), for example "CLOSE-WAIT".
func (s State) Label() string {
	if s < StateMax {
		return stateLabels[s]
	}
	return fmt.Sprintf("STATE-%d", uint8(s))
}

// Bit returns the state's bit in a StateSet.
func (s State) Bit() StateSet { return 1 << s }

// StateSet is a set of states, one bit each, as sock_diag's idiag_states.
type StateSet uint32

// Has reports whether s is in the set.
func (set StateSet) Has(s State) bool { return set&s.Bit() != 0 }
