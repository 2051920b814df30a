package owner

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// pairs lists holders as "pid/fd".
func pairs(o *finding.Owner) [][2]uint32 {
	var out [][2]uint32
	for _, h := range o.Holders {
		out = append(out, [2]uint32{h.PID, h.FD})
	}
	return out
}

func TestLowestPidIsNamed(t *testing.T) {
	proc := newFakeProc(t)
	proc.run(30, 300*time.Second, "/usr/bin/parent")
	proc.run(200, 301*time.Second, "/usr/bin/child")
	s := conn()
	source := &fakeSource{held: []flow.Held{
		holds(s, 200, 9, 301*time.Second),
		holds(s, 30, 14, 300*time.Second+1234567),
		holds(s, 30, 5, 300*time.Second+1234567),
		holds(s, 200, 9, 301*time.Second), // a thread with a table of its own
	}}
	q := resolve(t, New(source, proc.root), Query{Sock: s})
	p := q.Result.Process
	if p.PID != 30 || p.FD != 5 || p.Relation != finding.RelationHolder || p.Path != "/usr/bin/parent" || p.Executable != "parent" {
		t.Errorf("named %+v", p)
	}
	if p.Comm != "comm" || p.UID != 1000 {
		t.Errorf("thread %q of user %d", p.Comm, p.UID)
	}
	if want := [][2]uint32{{30, 5}, {30, 14}, {200, 9}}; !reflect.DeepEqual(pairs(&q.Result), want) || q.Result.Total != 3 {
		t.Errorf("holders %v of %d, want %v", pairs(&q.Result), q.Result.Total, want)
	}
	if source.walks != 1 {
		t.Errorf("%d walks for one question", source.walks)
	}
}

func TestHoldersAreBounded(t *testing.T) {
	s := conn()
	source := &fakeSource{}
	for pid := uint32(1000); pid > 0; pid-- {
		source.held = append(source.held, holds(s, pid, 3, time.Second))
	}
	o := resolve(t, New(source, t.TempDir()), Query{Sock: s}).Result
	if len(o.Holders) != finding.MaxHolders || o.Total != 1000 || o.Process.PID != 1 {
		t.Fatalf("%d holders of %d, pid %d is named", len(o.Holders), o.Total, o.Process.PID)
	}
	for i, h := range o.Holders {
		if h.PID != uint32(i+1) {
			t.Errorf("holder %d is pid %d: not the lowest ones", i, h.PID)
		}
	}
	if cap(o.Holders) > 2*finding.MaxHolders {
		t.Errorf("a record keeps %d holders alive", cap(o.Holders))
	}
}

// The address of a socket serves another one by the time of the walk.
func TestHolderOfAnotherLife(t *testing.T) {
	later := conn()
	later.Cookie = 8
	source := &fakeSource{held: []flow.Held{holds(later, 30, 5, time.Second)}}
	o := resolve(t, New(source, t.TempDir()), Query{Sock: conn()}).Result
	if o.Process.Relation != finding.RelationNone || o.Process.PID != 0 || o.Process.FD != -1 || o.Total != 0 {
		t.Errorf("named %+v", o.Process)
	}
}

// Kernels before 5.12 make cookies only when asked; the walk asks where it can.
func TestCookies(t *testing.T) {
	const other = "another connection"
	tests := []struct {
		name         string
		asked, walks uint64
		change       func(*flow.Held)
		named        bool
		learned      uint64
	}{
		{name: "both know it", asked: 7, walks: 7, named: true, learned: 7},
		{name: "the walk makes it", asked: 0, walks: 7, named: true, learned: 7},
		{name: "nobody knows it", asked: 0, walks: 0, named: true},
		{
			name: "made for " + other, asked: 0, walks: 7,
			change: func(h *flow.Held) { h.Local = listens("10.0.0.1:81", netns, 1, 1).Local },
		},
		{name: "made in another namespace", asked: 0, walks: 7, change: func(h *flow.Held) { h.NetNS++ }},
		{
			name: "nobody knows it of " + other, asked: 0, walks: 0,
			change: func(h *flow.Held) { h.Local = listens("10.0.0.1:81", netns, 1, 1).Local },
		},
		{name: "nobody knows it in another namespace", asked: 0, walks: 0, change: func(h *flow.Held) { h.NetNS++ }},
		{name: "a later one has none yet", asked: 7, walks: 0, learned: 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := conn()
			h := holds(s, 30, 5, time.Second)
			s.Cookie, h.Cookie = tt.asked, tt.walks
			if tt.change != nil {
				tt.change(&h)
			}
			q := resolve(t, New(&fakeSource{held: []flow.Held{h}}, t.TempDir()), Query{Sock: s})
			if named := q.Result.Process.PID == 30; named != tt.named {
				t.Errorf("named %v, want %v", named, tt.named)
			}
			if s.Cookie != tt.learned {
				t.Errorf("cookie %d, want %d", s.Cookie, tt.learned)
			}
		})
	}
}

// Each socket gets its own holders, whatever was asked before.
func TestManyQuestions(t *testing.T) {
	var queries []Query
	source := &fakeSource{}
	ask := func(sockets int) {
		queries, source.held = nil, nil
		for i := range sockets {
			s := conn()
			s.Addr, s.Cookie = 0x1000+uint64(i), 1+uint64(i)
			queries = append(queries, Query{Sock: s})
			source.held = append(source.held, holds(s, 1+uint32(i), 5, time.Second))
		}
	}
	r := New(source, t.TempDir())
	for _, sockets := range []int{1, many, many + 1, 3} {
		ask(sockets)
		if err := r.Resolve(queries); err != nil {
			t.Fatal(err)
		}
		for i := range queries {
			if pid := queries[i].Result.Process.PID; pid != 1+uint32(i) || queries[i].Result.Total != 1 {
				t.Fatalf("of %d: socket %d belongs to pid %d, %d holders", sockets, i, pid, queries[i].Result.Total)
			}
		}
		if byState := source.want.States.Has(flow.StateCloseWait); byState != (sockets > many) {
			t.Errorf("%d sockets are looked up by state: %v", sockets, byState)
		}
		if source.want.States == 0 && len(source.want.Socks) != sockets {
			t.Errorf("%d of %d sockets are looked up", len(source.want.Socks), sockets)
		}
	}
}

// Orphans and sockets in a queue have no descriptors: nobody looks for them.
func TestNothingToLookFor(t *testing.T) {
	s := conn()
	s.HasSocket, s.Dead = false, true
	source := &fakeSource{}
	resolve(t, New(source, t.TempDir()), Query{Sock: s})
	if len(source.want.Socks) != 0 || len(source.want.Ports) != 0 || source.want.States != 0 {
		t.Errorf("looked for %+v", source.want)
	}
}

func TestSourceFails(t *testing.T) {
	broken := errors.New("broken")
	r := New(&fakeSource{err: broken}, t.TempDir())
	if err := r.Resolve([]Query{{Sock: conn()}}); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// An answer knows nothing of the answers before.
func TestAnswersAreFresh(t *testing.T) {
	s := conn()
	waits := conn()
	waits.HasSocket, waits.Addr, waits.Cookie = false, 0xfe00, 9
	source := &fakeSource{held: []flow.Held{holds(s, 30, 5, time.Second), listens("[::]:80", netns, 2, 3)}}
	r := New(source, t.TempDir())
	ask := func() (held, listening uint32) {
		q := []Query{{Sock: s}, {Sock: waits, Unaccepted: true}}
		if err := r.Resolve(q); err != nil {
			t.Fatal(err)
		}
		return q[0].Result.Process.PID, q[1].Result.Process.PID
	}
	if held, listening := ask(); held != 30 || listening != 2 {
		t.Fatalf("pid %d holds and pid %d listens", held, listening)
	}
	source.held = nil
	if held, listening := ask(); held != 0 || listening != 0 {
		t.Errorf("nobody is there, and pid %d holds and pid %d listens", held, listening)
	}
}
