package tracer

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// glanceAt reads a socket, given what a reading before showed.
func glanceAt(t *testing.T, tr *Tracer, before flow.Sock) flow.Sock {
	t.Helper()
	s := flow.Sock{ID: before.ID, Seen: true, SndUna: before.SndUna, RcvNxt: before.RcvNxt, CopiedSeq: before.CopiedSeq}
	if err := tr.Read([]*flow.Sock{&s}, false); err != nil {
		t.Fatal(err)
	}
	return s
}

// What moved is told by little more than that; everything else is read whole.
func TestReadGlance(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			newNamespace(t)
			tr := load(t, Options{ReadOnly: true})
			writer, reader := pair(t, f)
			writer.write(make([]byte, 100))
			before := readSocket(t, tr, reader)
			if s := glanceAt(t, tr, before); s.Moved || s.RcvNxt != before.RcvNxt || s.Peer != before.Peer {
				t.Errorf("nothing moved: moved %v, peer %v", s.Moved, s.Peer)
			}
			writer.write(make([]byte, 10))
			eventually(t, "10 bytes more", func() bool {
				s := readSocket(t, tr, reader)
				return s.Unread() == 110
			})
			if s := glanceAt(t, tr, before); s.Moved {
				t.Error("more arrived and nothing was read: said to have moved")
			}
			reader.read(1)
			s := glanceAt(t, tr, before)
			if !s.Moved || s.Gone || s.State != flow.StateEstablished || !s.HasSocket || s.ID != before.ID {
				t.Fatalf("a byte was read: %+v", s)
			}
			whole := readSocket(t, tr, reader)
			if s.Unread() != 109 || s.SndUna != whole.SndUna || s.WriteSeq != whole.WriteSeq || s.CopiedSeq != before.CopiedSeq+1 {
				t.Errorf("a glance says %+v, a reading %+v", s, whole)
			}
			if s.LastReceive > whole.LastReceive || s.LastAck > whole.LastAck || s.Busy != whole.Busy {
				t.Errorf("stamps of a glance %v, %v, %v; of a reading %v, %v, %v",
					s.LastReceive, s.LastAck, s.Busy, whole.LastReceive, whole.LastAck, whole.Busy)
			}
			other := before
			other.Cookie++
			if s := glanceAt(t, tr, other); !s.Gone || s.Moved {
				t.Errorf("another socket's: gone %v, moved %v", s.Gone, s.Moved)
			}
			writer.shutdown()
			reader.in(flow.StateCloseWait)
			if s := glanceAt(t, tr, before); s.Moved || s.State != flow.StateCloseWait {
				t.Errorf("half closed: moved %v, %v", s.Moved, s.State)
			}
		})
	}
}

// The stamps of a closed window are only in a whole reading, and so is who accepts.
func TestReadWhatAGlanceDoesNotTell(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	blocked, _ := pair(t, ipv4)
	blocked.fill()
	eventually(t, "a closed window", func() bool { return readSocket(t, tr, blocked).Pending == 3 })
	before := readSocket(t, tr, blocked)
	before.SndUna--
	if s := glanceAt(t, tr, before); s.Moved || s.Pending != 3 {
		t.Errorf("a closed window: moved %v, pending %d", s.Moved, s.Pending)
	}
	deafened, deaf := pair(t, ipv4)
	deaf.deafen()
	deafened.write(make([]byte, 5))
	before = readSocket(t, tr, deafened)
	if s := glanceAt(t, tr, before); s.Moved || s.Unacked() != 5 {
		t.Errorf("not acknowledged: moved %v, %d bytes", s.Moved, s.Unacked())
	}
	before.SndUna--
	if s := glanceAt(t, tr, before); !s.Moved || s.WriteSeq-s.SndUna != 5 || s.Busy < 0 {
		t.Errorf("acknowledged in part: %+v", s)
	}
}
