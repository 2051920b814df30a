package owner

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// orphan is a connection that nobody holds any more.
func orphan(state flow.State) *flow.Sock {
	s := conn()
	s.State, s.HasSocket, s.Dead = state, false, true
	return s
}

func TestCaptured(t *testing.T) {
	const captured = 500 * time.Second
	opener := flow.Task{PID: 42, TID: 43, UID: 1000, Comm: "curl"}
	tests := []struct {
		name     string
		state    flow.State
		proc     func(*fakeProc)
		pid      uint32
		comm     string
		path     string
		relation finding.Relation
	}{
		{
			"still the same process", flow.StateFinWait1,
			func(p *fakeProc) { p.run(42, 400*time.Second, "/usr/bin/curl") },
			42, "curl", "/usr/bin/curl", finding.RelationCloser,
		},
		{
			"a connect", flow.StateSynSent,
			func(p *fakeProc) { p.run(42, 400*time.Second, "/usr/bin/curl") },
			42, "curl", "/usr/bin/curl", finding.RelationConnector,
		},
		{
			"it started in that moment", flow.StateFinWait1,
			func(p *fakeProc) { p.run(42, captured, "/usr/bin/curl") },
			42, "curl", "/usr/bin/curl", finding.RelationCloser,
		},
		{
			// /proc rounds down: it may have started after the capture.
			"another process has its pid at once", flow.StateFinWait1,
			func(p *fakeProc) { p.run(42, captured-10*time.Millisecond, "/usr/bin/innocent") },
			0, "curl", "", finding.RelationCloser,
		},
		{
			// A thread may have a name of its own.
			"another name, but long before", flow.StateFinWait1,
			func(p *fakeProc) { p.run(42, captured-doubtful, "/usr/bin/java") },
			42, "curl", "/usr/bin/java", finding.RelationCloser,
		},
		{"it ended", flow.StateFinWait1, func(*fakeProc) {}, 42, "curl", "", finding.RelationCloser},
		{
			"another process has its pid", flow.StateFinWait1,
			func(p *fakeProc) { p.run(42, captured+10*time.Millisecond, "/usr/bin/innocent") },
			0, "curl", "", finding.RelationCloser,
		},
		{
			"a kernel thread", flow.StateSynSent,
			func(p *fakeProc) { p.write(42, stat(42, "kworker/1:2", "I", kthread, 0)) },
			0, "", "", finding.RelationNone,
		},
		{
			// Nobody waited for it; it has no program any more, and is no kernel thread.
			"a zombie", flow.StateFinWait1,
			func(p *fakeProc) { p.write(42, stat(42, "curl", "Z", 0x40000c, 400*time.Second)) },
			42, "curl", "", finding.RelationCloser,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proc := newFakeProc(t)
			tt.proc(proc)
			q := Query{Sock: orphan(tt.state), Opener: opener, Captured: captured}
			p := resolve(t, New(&fakeSource{}, proc.root), q).Result.Process
			if p.PID != tt.pid || p.Comm != tt.comm || p.Path != tt.path || p.Relation != tt.relation || p.FD != -1 {
				t.Errorf("named %+v", p)
			}
			if p.PID == 0 && p.TID != 0 {
				t.Errorf("the pid is not named, but the thread %d is", p.TID)
			}
		})
	}
}

func TestNobodyKnows(t *testing.T) {
	o := resolve(t, New(&fakeSource{}, t.TempDir()), Query{Sock: orphan(flow.StateFinWait1)}).Result
	if p := o.Process; p.Relation != finding.RelationNone || p.PID != 0 || p.FD != -1 {
		t.Errorf("named %+v", p)
	}
}

// lastHolder is what was found while the socket was held.
func lastHolder() *finding.Owner {
	task := flow.Task{PID: 30, TID: 30, Comm: "api", StartBoot: 400 * time.Second}
	return &finding.Owner{
		Process: finding.Process{Task: task, Executable: "api", Path: "/usr/bin/api", Relation: finding.RelationHolder, FD: 14},
		Holders: []flow.Holder{{Task: task, FD: 14}}, Total: 1,
	}
}

// Who held a socket last closed it, and stays known however often one asks.
func TestLastHolderClosed(t *testing.T) {
	proc := newFakeProc(t)
	proc.run(30, 400*time.Second, "/usr/bin/api")
	r := New(&fakeSource{}, proc.root)
	last := lastHolder()
	for i := range 3 {
		o := resolve(t, r, Query{Sock: orphan(flow.StateFinWait2), Last: last}).Result
		p := o.Process
		if p.PID != 30 || p.Path != "/usr/bin/api" || p.Relation != finding.RelationCloser || p.FD != -1 || o.Total != 0 || o.Holders != nil {
			t.Fatalf("answer %d names %+v of %d holders", i, p, o.Total)
		}
		last = &o
	}
	if lastHolder().Process.Relation != finding.RelationHolder {
		t.Error("the last answer was changed")
	}
}

// A descriptor in flight or in an io_uring is in no process; nobody closed the
// socket then.
func TestLastHolderOfAnOpenSocket(t *testing.T) {
	s := conn()
	r := New(&fakeSource{}, t.TempDir())
	last := lastHolder()
	for i := range 2 {
		o := resolve(t, r, Query{Sock: s, Last: last}).Result
		if p := o.Process; p.PID != 30 || p.Relation != finding.RelationLastHolder || p.FD != -1 || o.Total != 0 {
			t.Fatalf("answer %d names %+v of %d holders", i, p, o.Total)
		}
		last = &o
	}
	if p := resolve(t, r, Query{Sock: orphan(flow.StateFinWait2), Last: last}).Result.Process; p.Relation != finding.RelationCloser {
		t.Errorf("once it is closed, named %+v", p)
	}
}

// The one who is known to have held it is believed before the captured one.
func TestLastHolderBeforeOpener(t *testing.T) {
	opener := flow.Task{PID: 42, Comm: "systemd"}
	q := Query{Sock: orphan(flow.StateFinWait2), Opener: opener, Captured: 500 * time.Second, Last: lastHolder()}
	if p := resolve(t, New(&fakeSource{}, t.TempDir()), q).Result.Process; p.PID != 30 {
		t.Errorf("named pid %d", p.PID)
	}
}

// The last holder exited and its pid went to another process.
func TestLastHoldersPidIsReused(t *testing.T) {
	proc := newFakeProc(t)
	proc.run(30, 900*time.Second, "/usr/bin/innocent")
	r := New(&fakeSource{}, proc.root)
	last := lastHolder()
	for range 2 {
		o := resolve(t, r, Query{Sock: orphan(flow.StateFinWait2), Last: last}).Result
		if p := o.Process; p.PID != 0 || p.TID != 0 || p.Comm != "api" || p.Executable != "api" || p.Relation != finding.RelationCloser {
			t.Fatalf("named %+v", p)
		}
		last = &o
	}
}

// A new holder wins over everything that was.
func TestHeldAgain(t *testing.T) {
	s := conn()
	source := &fakeSource{held: []flow.Held{holds(s, 77, 6, time.Second)}}
	if p := resolve(t, New(source, t.TempDir()), Query{Sock: s, Last: lastHolder()}).Result.Process; p.PID != 77 || p.FD != 6 {
		t.Errorf("named %+v", p)
	}
}
