package tracer

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// lateSide loads what the start does not wait for: programs that nothing needs before
// the first finding, and half of what there is to verify.
type lateSide struct {
	// waiting are those that are not there yet, in the order of their loading.
	waiting []*lateProgram
	// whole is what they are made of, kernel its types, rest the maps that have no
	// name in Go; nil once all are there, because they are large.
	whole  *ebpf.CollectionSpec
	kernel *btf.Cache
	rest   *ebpf.Collection
	// begun: somebody loads them. beside: that goroutine is not waited for.
	begun, beside bool
	stop          atomic.Bool
	done          chan struct{}
	said          chan error
	refused       uint64
}

// lateProgram is written by who loads it until done is closed, and then by the Tracer.
type lateProgram struct {
	spec *ebpf.ProgramSpec
	into **ebpf.Program
	// why is where the Tracer keeps that it was refused.
	why  *error
	done chan struct{}
	prog *ebpf.Program
	err  error
}

// lateWait bounds how long the loop waits for a program that is being loaded: five
// times what it takes, and less than a finding may be late.
const lateWait = 100 * time.Millisecond

// putOff takes out of a collection what can wait.
func (t *Tracer) putOff(spec *ebpf.CollectionSpec) {
	t.late.waiting = nil
	off := func(name string, into **ebpf.Program, why *error) {
		p := spec.Programs[name]
		if p == nil {
			return // left out
		}
		delete(spec.Programs, name)
		t.late.waiting = append(t.late.waiting, &lateProgram{spec: p, into: into, why: why, done: make(chan struct{})})
	}
	if t.opts.ReadOnly || t.opts.Trace != nil {
		return // nothing is there that is not used at once
	}
	// First what keeps promises.
	off("limbo_set_state_nested", &t.objs.LimboSetStateNested, &t.second.refused)
	off("limbo_local", &t.objs.LimboLocal, &t.syn.refused)
	off("limbo_syn_dropped", &t.objs.LimboSynDropped, &t.syn.refused)
	if t.opts.Stacks != flow.StacksAlways {
		off("limbo_eof", &t.objs.LimboEof, &t.stacks.eofs)
	}
}

// bind gives the programs the maps that they name, which must stay open until all are
// loaded.
func (l *lateSide) bind(made map[string]*ebpf.Map) error {
	for _, p := range l.waiting {
		for i := range p.spec.Instructions {
			ins := &p.spec.Instructions[i]
			if !ins.IsLoadFromMap() || ins.Reference() == "" {
				continue
			}
			if err := ins.AssociateMap(made[ins.Reference()]); err != nil {
				return fmt.Errorf("binding %s to a map: %w", p.spec.Name, err)
			}
		}
	}
	return nil
}

// keep takes over what the programs are made with. rest are the maps that nobody else
// owns.
func (l *lateSide) keep(whole *ebpf.CollectionSpec, rest *ebpf.Collection) {
	l.whole, l.rest = whole, rest
	if len(l.waiting) == 0 {
		l.release()
	}
	l.done = make(chan struct{})
	// Each program can be refused once, when it is loaded or when it is attached; limbo_accept
	// when it is attached again.
	l.said = make(chan error, len(l.waiting)+1)
}

// LoadLate begins to load, beside whatever the Tracer does, the programs that Load left
// for later, and from then on nothing waits for them long. It is called at most once,
// after Attach; without it they are loaded when they are needed first. The channel
// tells what the kernel refused, and Close closes it; all else works without.
func (t *Tracer) LoadLate() <-chan error {
	t.late.beside = true
	t.beginLate()
	return t.late.said
}

func (t *Tracer) beginLate() {
	if t.late.begun || len(t.late.waiting) == 0 {
		return
	}
	t.late.begun = true
	l := &t.late
	go loadEach(slices.Clone(l.waiting), l.whole, l.kernel, &l.stop, l.done)
}

// loadFirst loads the first of them before it returns, and leaves the rest for later.
func (t *Tracer) loadFirst() {
	if t.late.begun || len(t.late.waiting) == 0 {
		return
	}
	p := t.late.waiting[0]
	p.prog, p.err = loadLate(p.spec, t.late.whole, t.late.kernel)
	close(p.done)
	t.takeLate()
}

// loadEach loads programs one by one: what is refused must not keep out the rest.
func loadEach(programs []*lateProgram, whole *ebpf.CollectionSpec, kernel *btf.Cache, stop *atomic.Bool, done chan struct{}) {
	defer close(done)
	for _, p := range programs {
		if stop.Load() {
			return
		}
		p.prog, p.err = loadLate(p.spec, whole, kernel)
		close(p.done)
	}
}

func loadLate(spec *ebpf.ProgramSpec, whole *ebpf.CollectionSpec, kernel *btf.Cache) (*ebpf.Program, error) {
	coll, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{
		Programs:  map[string]*ebpf.ProgramSpec{spec.Name: spec},
		Types:     whole.Types,
		ByteOrder: whole.ByteOrder,
	}, ebpf.CollectionOptions{Cache: kernel})
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", spec.Name, err)
	}
	defer coll.Close()
	return coll.DetachProgram(spec.Name), nil
}

// need returns once a program is there or refused. While LoadLate loads them, that
// takes at most as long as given.
func (t *Tracer) need(into **ebpf.Program, wait time.Duration) {
	i := slices.IndexFunc(t.late.waiting, func(p *lateProgram) bool { return p.into == into })
	if i < 0 {
		return
	}
	t.beginLate()
	done := t.late.waiting[i].done
	switch {
	case !t.late.beside:
		<-done
	case wait > 0:
		select {
		case <-done:
		case <-time.After(wait):
		}
	}
	t.takeLate()
}

// takeLate takes what was loaded meanwhile.
func (t *Tracer) takeLate() {
	for len(t.late.waiting) > 0 {
		p := t.late.waiting[0]
		select {
		case <-p.done:
		default:
			return
		}
		t.late.waiting = t.late.waiting[1:]
		*p.into = p.prog
		if p.err != nil {
			*p.why = errors.Join(*p.why, p.err)
			t.lateRefused(p.err)
		}
		if len(t.late.waiting) == 0 {
			t.late.release()
		}
	}
}

// lateRefused counts what does not work although the start went well, and says it.
func (t *Tracer) lateRefused(err error) {
	t.late.refused++
	select {
	case t.late.said <- err:
	default: // nobody listens
	}
}

func (l *lateSide) release() {
	if l.rest != nil {
		l.rest.Close()
	}
	l.whole, l.kernel, l.rest = nil, nil, nil
}

// closeLate waits for the program that is being verified: its maps must not go before.
func (t *Tracer) closeLate() error {
	l := &t.late
	l.stop.Store(true)
	var errs []error
	if l.begun {
		<-l.done
		for _, p := range l.waiting {
			errs = append(errs, p.prog.Close())
		}
	}
	l.begun, l.waiting = true, nil
	l.release()
	if l.said != nil {
		close(l.said)
		l.said = nil
	}
	return errors.Join(errs...)
}

// attachLate begins what was wanted before its program was there.
func (t *Tracer) attachLate() {
	if t.syn.wanted && t.objs.LimboSynDropped != nil {
		if err := t.WatchSYN(true); err != nil {
			t.lateRefused(err)
		}
	}
	if t.stacks.eofWanted && t.objs.LimboEof != nil {
		if err := t.WatchEOF(true); err != nil {
			t.lateRefused(err)
		}
	}
}

// assign loads what is wanted of a collection.
func (t *Tracer) assign(spec *ebpf.CollectionSpec) error {
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: t.late.kernel})
	if err != nil {
		return err
	}
	if err := errors.Join(t.late.bind(coll.Maps), coll.Assign(&t.objs.limboMaps), coll.Assign(&t.objs.limboVariables)); err != nil {
		coll.Close()
		return err
	}
	for name, into := range t.objs.byName() {
		*into = coll.DetachProgram(name)
	}
	t.late.keep(spec, coll)
	return nil
}

// byName are the programs' places; those that were not loaded stay nil.
func (p *limboPrograms) byName() map[string]**ebpf.Program {
	return map[string]**ebpf.Program{
		"limbo_accept":           &p.LimboAccept,
		"limbo_age":              &p.LimboAge,
		"limbo_eof":              &p.LimboEof,
		"limbo_glance":           &p.LimboGlance,
		"limbo_holders":          &p.LimboHolders,
		"limbo_learn":            &p.LimboLearn,
		"limbo_listeners":        &p.LimboListeners,
		"limbo_local":            &p.LimboLocal,
		"limbo_read":             &p.LimboRead,
		"limbo_retransmit":       &p.LimboRetransmit,
		"limbo_set_state":        &p.LimboSetState,
		"limbo_set_state_nested": &p.LimboSetStateNested,
		"limbo_syn":              &p.LimboSyn,
		"limbo_syn_dropped":      &p.LimboSynDropped,
		"limbo_walk":             &p.LimboWalk,
	}
}
