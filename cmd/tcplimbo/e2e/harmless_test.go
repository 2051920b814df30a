package e2e

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// harmlessFor is for how long connections that are well are watched, or what this
// variable says: ten minutes are for a run by hand.
const (
	harmlessFor      = 10 * time.Second
	harmlessVariable = "HARMLESS_FOR"
)

// Idle connections, a long poll, a trickle, a bulk transfer to a slow reader and a
// terminal session that is paused make no finding, however long they last. What has
// to be seen in the same time says that the agent was looking.
func TestHarmless(t *testing.T) {
	last := harmlessFor
	if text := os.Getenv(harmlessVariable); text != "" {
		var err error
		if last, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", harmlessVariable, err)
		}
	}
	s := newScene(t)
	ns := s.namespace(false)
	at := netip.MustParseAddr("127.0.0.1")
	a := startRun(t, "--established", stallAfter.String())
	harmless(t, s, ns)
	paused := s.connect(ns, ns, at, false)
	paused.exchange(t)
	time.Sleep(last)
	stuck := s.connect(ns, ns, at, true)
	expect(t, a, stuck.farT, "open", "unaccepted")
	if err := stuck.accept(); err != nil {
		t.Fatal(err)
	}
	defer stuck.far.Close()
	expect(t, a, stuck.farT, "resolved", "unaccepted")
	a.stop(syscall.SIGTERM)
	inode, err := ns.Inode()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range a.all() {
		if r.finding() && uint64(r.num("tcplimbo.socket.netns")) == inode && r.tuple() != stuck.farT {
			t.Errorf("after %s: %s", last, r.line)
		}
	}
}
