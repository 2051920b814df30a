package tracer

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// churn opens connections to an IPv4 listener in a namespace and closes or resets
// them, until the test ends. Whether one of them fails is of no interest.
func churn(t *testing.T, ns *namespace, l *socket, reset bool) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	t.Cleanup(func() {
		close(stop)
		done.Wait()
	})
	to := sockaddr(l.local())
	done.Go(func() {
		runtime.LockOSThread()
		if unix.Setns(ns.fd, unix.CLONE_NEWNET) != nil {
			return
		}
		for {
			select {
			case <-stop:
				return
			default:
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
			if err != nil {
				continue
			}
			if reset {
				_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			}
			if unix.Connect(fd, to) == nil {
				if server, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC); err == nil {
					unix.Close(server)
				}
			}
			unix.Close(fd)
		}
	})
}

// Sockets that stay are found once in every walk, whatever comes and goes beside them.
func TestWalkBesideChurn(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	cookies := closeWaits(t, 300)
	churn(t, ns, listen(t, ipv4, 16), true)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline) && !t.Failed(); {
		found := map[uint64]int{}
		for _, s := range walk(t, tr, flow.WalkStates{States: flow.StateCloseWait.Bit()}, ns) {
			found[s.Cookie]++
		}
		for cookie := range cookies {
			if found[cookie] != 1 {
				t.Errorf("socket %#x found %d times", cookie, found[cookie])
			}
		}
	}
	if n := statsOf(t, tr).WalkCut; n != 0 {
		t.Errorf("%d chains not followed to their end", n)
	}
}
