// Package names asks container runtimes what containers are called: which pod and
// namespace a container id belongs to. Nobody waits for a runtime; what it says is
// remembered for later.
package names

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/origin"
)

// Container is what a source knows of a container; what it does not know is empty.
type Container struct {
	ID, Name               string
	Namespace, Pod, PodUID string
	Labels                 map[string]string
}

// Source knows containers. A source that does not answer says so by an error and is
// left alone for a while.
type Source interface {
	// Name is what the source is called in diagnostics.
	Name() string
	// All returns the containers there are.
	All(ctx context.Context) ([]Container, error)
	// Find returns the container at a place, false if the source has none there.
	Find(ctx context.Context, at origin.Place) (Container, bool, error)
}

const (
	// callLimit is how long a source may take.
	callLimit = 2 * time.Second
	// cacheMax bounds the containers that are remembered, some 1 KB each. A node
	// has 110 pods by default.
	cacheMax = 4096
	// queueMax bounds the questions that wait.
	queueMax = 256
	// listEvery is how often all containers are asked for, so that those that are
	// new have names before they leak. listShare bounds that to a thousandth of
	// the time it takes.
	listEvery = 30 * time.Second
	listShare = 1000
	// A container that no source knows is asked for again after retryFirst, then
	// after twice as long each time up to retryLast; sources that fail likewise.
	retryFirst = 2 * time.Second
	retryLast  = 5 * time.Minute
)

// Names remembers what sources say. Workload may be called from any goroutine.
type Names struct {
	log     zerolog.Logger
	sources []*asked
	queue   chan origin.Place

	mu    sync.Mutex
	known map[string]*entry
}

// entry is a container that was asked for, or listed.
type entry struct {
	workload *finding.Workload
	// named: a source told its names, all that there are.
	named   bool
	pending bool
	wait    time.Duration
	next    time.Time
}

// asked is a source and whether it answers.
type asked struct {
	Source
	wait  time.Duration
	until time.Time
}

// New returns Names of these sources, the best first. Without Run they are not
// asked.
func New(log zerolog.Logger, sources ...Source) *Names {
	n := &Names{log: log, queue: make(chan origin.Place, queueMax), known: make(map[string]*entry)}
	for _, s := range sources {
		n.sources = append(n.sources, &asked{Source: s})
	}
	return n
}

// Workload implements origin.Namer.
func (n *Names) Workload(p origin.Place) *finding.Workload {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.known[key(p)]
	switch {
	case !ok:
		e = n.add(p, Container{})
	case e.workload.Cgroup == "":
		// It was listed before it was met.
		w := *e.workload
		w.Cgroup = p.Cgroup
		if w.PodUID == "" {
			w.PodUID = p.PodUID
		}
		e.workload = &w
	}
	if !e.named && !e.pending && len(n.sources) > 0 && !time.Now().Before(e.next) {
		select {
		case n.queue <- p:
			e.pending = true
		default:
		}
	}
	return e.workload
}

// key names a place: containers by their ids, what is a pod's own by its uid.
func key(p origin.Place) string {
	if p.ContainerID != "" {
		return p.ContainerID
	}
	return "pod " + p.PodUID
}

// add remembers a container; n.mu is held.
func (n *Names) add(p origin.Place, c Container) *entry {
	if len(n.known) >= cacheMax {
		clear(n.known)
	}
	e := &entry{workload: workload(p, &c), named: c.named()}
	n.known[key(p)] = e
	return e
}

func workload(p origin.Place, c *Container) *finding.Workload {
	w := &finding.Workload{
		Cgroup: p.Cgroup, ContainerID: p.ContainerID, Container: c.Name,
		Namespace: c.Namespace, Pod: c.Pod, PodUID: p.PodUID, Labels: c.Labels,
	}
	if w.PodUID == "" {
		w.PodUID = c.PodUID
	}
	return w
}

// named: it has a name; what belongs to a pod has the pod's too.
func (c *Container) named() bool { return c.Name != "" && (c.PodUID == "" || c.Pod != "") }

// Run asks the sources until ctx is done.
func (n *Names) Run(ctx context.Context) {
	if len(n.sources) == 0 {
		return
	}
	next := time.NewTimer(n.list(ctx))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-n.queue:
			n.find(ctx, p)
		case <-next.C:
			next.Reset(n.list(ctx))
		}
	}
}

// Look asks the sources at once for the containers at places, until ctx is done. It
// is for who runs once, and not beside Run.
func (n *Names) Look(ctx context.Context, places []origin.Place) {
	n.list(ctx)
	for _, p := range places {
		if n.Workload(p); ctx.Err() != nil {
			return
		}
		if e := n.known[key(p)]; !e.named {
			n.find(ctx, p)
		}
	}
}

// list remembers all containers and returns when to do so again.
func (n *Names) list(ctx context.Context) time.Duration {
	begin := time.Now()
	for _, s := range n.sources {
		var all []Container
		ok := n.ask(ctx, s, func(ctx context.Context) (err error) {
			all, err = s.All(ctx)
			return err
		})
		if !ok {
			continue
		}
		n.mu.Lock()
		for i := range all[:min(len(all), cacheMax/2)] {
			n.learn(origin.Place{ContainerID: all[i].ID, PodUID: all[i].PodUID}, all[i])
		}
		n.mu.Unlock()
	}
	return max(listEvery, listShare*time.Since(begin))
}

// learn takes what a source says; n.mu is held. What was said in records already
// does not change: a Workload is shared.
func (n *Names) learn(p origin.Place, c Container) {
	e, ok := n.known[key(p)]
	switch {
	case !ok:
		n.add(p, c)
	case !e.named && (c.Name != "" || c.Pod != ""):
		p.Cgroup = e.workload.Cgroup
		if p.PodUID == "" {
			p.PodUID = e.workload.PodUID
		}
		e.workload, e.named = workload(p, &c), c.named()
	}
}

// find asks one source after the other for a container.
func (n *Names) find(ctx context.Context, p origin.Place) {
	var best Container
	for _, s := range n.sources {
		var c Container
		var found bool
		n.ask(ctx, s, func(ctx context.Context) (err error) {
			c, found, err = s.Find(ctx, p)
			return err
		})
		if found && (c.named() || best.Name == "" && best.Pod == "") {
			best = c
		}
		if best.named() {
			break
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.learn(p, best)
	e := n.known[key(p)]
	e.pending = false
	e.wait = min(max(2*e.wait, retryFirst), retryLast)
	e.next = time.Now().Add(e.wait)
}

// ask calls a source, unless it failed lately, and reports whether it answered.
func (n *Names) ask(ctx context.Context, s *asked, call func(context.Context) error) bool {
	if time.Now().Before(s.until) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := call(ctx)
	if err == nil {
		if s.wait > 0 {
			n.log.Info().Str("source", s.Name()).Msg("container names are known again")
		}
		s.wait = 0
		return true
	}
	if s.wait == 0 && ctx.Err() != context.Canceled {
		n.log.Warn().Err(err).Str("source", s.Name()).Msg("container names are not known from here; findings go on without them")
	}
	s.wait = min(max(2*s.wait, retryFirst), retryLast)
	s.until = time.Now().Add(s.wait)
	return false
}

// Close ends connections; Run must have ended.
func (n *Names) Close() {
	for _, s := range n.sources {
		if c, ok := s.Source.(io.Closer); ok {
			_ = c.Close() // what it would say nobody can act on
		}
	}
}

// Limits of what a source may say of a container.
const (
	maxLabels = 64
	maxText   = 512
)

// limited returns a container whose texts and labels are no longer than is used.
func limited(c Container) Container {
	for _, s := range []*string{&c.ID, &c.Name, &c.Namespace, &c.Pod, &c.PodUID} {
		*s = clip(*s)
	}
	keys := make([]string, 0, len(c.Labels))
	for k := range c.Labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	labels := make(map[string]string, min(len(keys), maxLabels))
	for _, k := range keys[:min(len(keys), maxLabels)] {
		labels[clip(k)] = clip(c.Labels[k])
	}
	c.Labels = labels
	return c
}

func clip(s string) string { return s[:min(len(s), maxText)] }
