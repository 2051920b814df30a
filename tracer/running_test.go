package tracer

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// TestRunningStacks: another Tracer's stacks are found, and none once it is closed.
func TestRunningStacks(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	ns := newNamespace(t)
	l := listen(t, families[0], 1)
	client := newSocket(t, families[0])
	openHere(client, l)
	id := idOf(t, tr, ns, client)
	want := stacksOf(t, tr, id)
	r, err := OpenRunningStacks()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.SocketStacks(id)
	if err != nil || got != want || !got.Opener.Taken() {
		t.Fatalf("found %+v, %v, want %+v", got, err, want)
	}
	if s, ok, err := r.UserStack(got.Opener); err != nil || !ok || len(s.Addrs) == 0 {
		t.Errorf("the stack is %+v, %v, %v", s, ok, err)
	}
	if _, ok, err := r.UserStack(got.Opener + 1); err != nil || ok {
		t.Errorf("a stack that nobody took: %v, %v", ok, err)
	}
	other := id
	other.Cookie++
	if got, err := r.SocketStacks(other); err != nil || got != (flow.SocketStacks{}) {
		t.Errorf("another socket has %+v, %v", got, err)
	}
}
