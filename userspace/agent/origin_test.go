package agent

import (
	"sync"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// runtime knows a container from a moment on, as a real one does.
type runtime struct {
	mu    sync.Mutex
	w     *finding.Workload
	asked []flow.ID
}

func (r *runtime) Of(_ *finding.Process, s *flow.ID, _, _ time.Duration) *finding.Workload {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, *s)
	return r.w
}

// A finding is said without names that are not known yet; the update has them, and
// what was said before stays as it was.
func TestNamesThatComeLater(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		r := &runtime{w: &finding.Workload{ContainerID: "c1"}}
		b.cfg.Origin = r
		s := fakeSock(1, 1, flow.StateCloseWait)
		s.CgroupID = 77
		b.k.exist(s, time.Hour)
		b.start()
		open := b.said("open eof_ignored")[0]
		r.mu.Lock()
		r.w = &finding.Workload{ContainerID: "c1", Pod: "cart-0"}
		r.mu.Unlock()
		b.pass(time.Hour)
		later := b.out.take()
		if len(later) == 0 || later[0].Workload.Pod != "cart-0" {
			t.Errorf("the updates are %+v", later)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if open.Workload.ContainerID != "c1" || open.Workload.Pod != "" || r.asked[0].CgroupID != 77 {
			t.Errorf("opened with %+v, asked for %+v", open.Workload, r.asked[0])
		}
	})
}
