package flow

// Mover is an ESTABLISHED socket where something waits and has always moved so far,
// with what the last look at it showed.
type Mover struct {
	// Addr, Hash and the ports are those of Sock. There may be no cookie.
	Addr                      uint64
	Hash                      uint32
	Local, Peer               uint16
	SndUna, RcvNxt, CopiedSeq uint32
}

// MoverIs is what a glance at a Mover came to.
type MoverIs uint8

// What a glance comes to.
const (
	// MoverGone: it is not in ESTABLISHED any more, or not the same socket.
	MoverGone MoverIs = iota
	// MoverStopped: something that was seen to wait has not moved since the last look.
	MoverStopped
	// MoverMoved: all of it has. What waits now began to after that.
	MoverMoved
)
