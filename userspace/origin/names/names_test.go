package names

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/origin"
)

const (
	idA = "2f6a1c0b7e52a94d13c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f"
	idB = "91d3c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f2f6a1c0b7e52a9"
	uid = "0e4a1b62-8c1d-4a55-9d0f-3f2b8c7d6e5a"
)

var placeA = origin.Place{Cgroup: "/kubepods/pod" + uid + "/" + idA, ContainerID: idA, PodUID: uid}

var cart = Container{ID: idA, Name: "cart", Namespace: "shop", Pod: "cart-0", PodUID: uid, Labels: map[string]string{"app": "cart"}}

// fake is a source whose answers a test sets.
type fake struct {
	mu    sync.Mutex
	err   error
	hang  bool
	all   []Container
	found map[string]Container
	asked int
}

func (f *fake) Name() string { return "fake" }

func (f *fake) All(ctx context.Context) ([]Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f.all, f.err
}

func (f *fake) Find(ctx context.Context, at origin.Place) (Container, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.hang {
		<-ctx.Done()
		return Container{}, false, ctx.Err()
	}
	c, ok := f.found[at.ContainerID]
	return c, ok && f.err == nil, f.err
}

// running tests Names in a bubble with a clock of its own.
func running(t *testing.T, test func(t *testing.T, f *fake, n *Names, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, log := &fake{found: map[string]Container{}}, new(bytes.Buffer)
		test(t, f, New(zerolog.New(log), f), log)
	})
}

func start(t *testing.T, n *Names) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	go n.Run(ctx)
	t.Cleanup(stop)
	synctest.Wait()
}

func TestListedBefore(t *testing.T) {
	running(t, func(t *testing.T, f *fake, n *Names, _ *bytes.Buffer) {
		f.all = []Container{cart}
		start(t, n)
		w := n.Workload(placeA)
		if w.Pod != "cart-0" || w.Namespace != "shop" || w.Container != "cart" || w.Cgroup != placeA.Cgroup || w.Labels["app"] != "cart" {
			t.Errorf("got %+v", w)
		}
		if f.asked != 0 {
			t.Errorf("asked %d times for what was listed", f.asked)
		}
	})
}

// TestLater: what is not known is said without names at once, with them later, and
// what was said before stays as it was.
func TestLater(t *testing.T) {
	running(t, func(t *testing.T, f *fake, n *Names, _ *bytes.Buffer) {
		start(t, n)
		f.mu.Lock()
		f.found[idA] = cart
		f.mu.Unlock()
		before := n.Workload(placeA)
		if before.ContainerID != idA || before.PodUID != uid || before.Pod != "" {
			t.Errorf("at first %+v", before)
		}
		synctest.Wait()
		after := n.Workload(placeA)
		if after.Pod != "cart-0" || after.Cgroup != placeA.Cgroup || before.Pod != "" {
			t.Errorf("later %+v, and the first is now %+v", after, before)
		}
	})
}

// TestUnknown: what nobody knows is asked for less and less.
func TestUnknown(t *testing.T) {
	running(t, func(t *testing.T, f *fake, n *Names, _ *bytes.Buffer) {
		start(t, n)
		for range 3600 {
			n.Workload(placeA)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if f.asked < 10 || f.asked > 25 {
			t.Errorf("asked %d times in an hour", f.asked)
		}
	})
}

// TestDead: a runtime that fails is told of once, left alone, and asked again.
func TestDead(t *testing.T) {
	running(t, func(t *testing.T, f *fake, n *Names, log *bytes.Buffer) {
		f.err = errors.New("no answer")
		start(t, n)
		for range 600 {
			if w := n.Workload(placeA); w.ContainerID != idA || w.Pod != "" {
				t.Fatalf("got %+v", w)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if said := strings.Count(log.String(), "no answer"); said != 1 {
			t.Errorf("told %d times:\n%s", said, log)
		}
		if f.asked > 25 {
			t.Errorf("asked %d times in ten minutes", f.asked)
		}
		f.mu.Lock()
		f.err, f.found[idA] = nil, cart
		f.mu.Unlock()
		time.Sleep(2 * retryLast)
		n.Workload(placeA)
		synctest.Wait()
		if w := n.Workload(placeA); w.Pod != "cart-0" || !strings.Contains(log.String(), "known again") {
			t.Errorf("after its return %+v\n%s", w, log)
		}
	})
}

// TestSlow: a runtime that hangs costs its own goroutine time and nobody else.
func TestSlow(t *testing.T) {
	running(t, func(t *testing.T, f *fake, n *Names, _ *bytes.Buffer) {
		f.hang = true
		start(t, n)
		begin := time.Now()
		for i := range 10 * queueMax {
			n.Workload(origin.Place{ContainerID: fmt.Sprintf("%064x", i), Cgroup: "/x"})
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("waited %s", took)
		}
		time.Sleep(callLimit + time.Second)
		synctest.Wait()
		if len(n.known) > cacheMax {
			t.Errorf("%d are remembered", len(n.known))
		}
	})
}

func TestBounded(t *testing.T) {
	n := New(zerolog.Nop())
	for i := range 3 * cacheMax {
		n.Workload(origin.Place{ContainerID: fmt.Sprintf("%064x", i), Cgroup: "/x"})
		if len(n.known) > cacheMax {
			t.Fatalf("%d are remembered", len(n.known))
		}
	}
	c := Container{Name: strings.Repeat("x", 1<<20), Labels: map[string]string{}}
	for i := range 1000 {
		c.Labels[fmt.Sprint(i)+strings.Repeat("k", 1000)] = strings.Repeat("v", 1000)
	}
	c = limited(c)
	if len(c.Name) > maxText || len(c.Labels) > maxLabels {
		t.Errorf("a name of %d bytes and %d labels", len(c.Name), len(c.Labels))
	}
	for k, v := range c.Labels {
		if len(k) > maxText || len(v) > maxText {
			t.Errorf("a label of %d and %d bytes", len(k), len(v))
		}
	}
}

// TestBestSource: the first source that knows all the names is believed.
func TestBestSource(t *testing.T) {
	some := Container{ID: idA, Pod: "cart-0", Namespace: "shop", PodUID: uid}
	for name, c := range map[string]struct {
		first, second Container
		want          string
	}{
		"first":       {cart, some, "cart"},
		"second":      {some, cart, "cart"},
		"only second": {Container{}, cart, "cart"},
		"pod only":    {some, Container{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := &fake{found: map[string]Container{}}, &fake{found: map[string]Container{}}
			if c.first.ID != "" {
				a.found[idA] = c.first
			}
			if c.second.ID != "" {
				b.found[idA] = c.second
			}
			n := New(zerolog.Nop(), a, b)
			n.Look(t.Context(), []origin.Place{placeA})
			want := finding.Workload{Container: c.want, Pod: "cart-0"}
			if w := n.Workload(placeA); w.Container != want.Container || w.Pod != want.Pod {
				t.Errorf("got %+v", w)
			}
		})
	}
}
