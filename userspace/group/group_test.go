package group

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// TestOneLeak: 20,000 of one leak are 20 records and some of the group, then all
// are closed.
func TestOneLeak(t *testing.T) {
	const total, above = 20_000, 20
	b := newBench(t, above)
	b.after(0)
	b.after(time.Hour)
	for n := range total {
		b.opens(leaked(n, 30*time.Second))
		if n%20 == 19 {
			b.after(60 * time.Millisecond) // a minute for all
		}
	}
	b.after(pace)
	b.end()
	if b.plain[finding.Open] != above {
		t.Errorf("%d printed, want %d", b.plain[finding.Open], above)
	}
	if len(b.groups) != 1 || len(b.said) > 12 {
		t.Errorf("%d records of %d groups, want a few of one", len(b.said), len(b.groups))
	}
	last := b.said[len(b.said)-1]
	if last.Count != total || last.Opened != total-above || last.Process.PID != 812 || len(last.Samples) != finding.MaxSamples {
		t.Errorf("the group is %+v", last)
	}
	if want := 30*time.Second + time.Minute + pace; last.Oldest > want || last.Oldest < want-time.Second {
		t.Errorf("the oldest is %s old, want %s", last.Oldest, want)
	}
	if !last.GrowthKnown || last.Growth < 10_000 || last.Growth > 20_020 {
		t.Errorf("it grows by %.0f a minute, want no more than 20,000", last.Growth)
	}
	for n := range total {
		b.resolves(fmt.Sprintf("%020x", n))
	}
	b.after(pace)
	if last := b.said[len(b.said)-1]; last.Status != finding.Resolved || last.Count != 0 {
		t.Errorf("after the end the group is %+v", last)
	}
	b.sums(total, total)
	b.after(forgetAfter)
	b.after(time.Second)
	if len(b.g.members) != 0 || len(b.g.leaks) != 0 {
		t.Errorf("%d findings and %d leaks are remembered", len(b.g.members), len(b.g.leaks))
	}
}

// TestApart: what is not alike is no group.
func TestApart(t *testing.T) {
	change := map[string]func(f *finding.Finding){
		"nothing":   func(*finding.Finding) {},
		"kind":      func(f *finding.Finding) { f.Kind = finding.FinWait2Dangling },
		"program":   func(f *finding.Finding) { f.Owner.Process.Path = "/srv/other" },
		"container": func(f *finding.Finding) { f.Workload = &finding.Workload{ContainerID: "a"} },
		"pod":       func(f *finding.Finding) { f.Workload = &finding.Workload{PodUID: "b"} },
		"service":   func(f *finding.Finding) { f.Sock.Peer = netip.MustParseAddrPort("10.0.0.5:444") },
		"side":      func(f *finding.Finding) { f.Sock.Role = flow.RoleServer; f.Sock.Local = f.Sock.Peer },
		"stack": func(f *finding.Finding) {
			f.Stack = &finding.Stack{Of: finding.StackConnect, Frames: []finding.Frame{{Function: "main.leak", Line: 7}}}
		},
	}
	alike := map[string]func(f *finding.Finding){
		"nothing":   func(*finding.Finding) {},
		"pid":       func(f *finding.Finding) { f.Owner.Process.PID = 99 },
		"namespace": func(f *finding.Finding) { f.Sock.NetNS = 99 },
		"reason":    func(f *finding.Finding) { f.Reason = finding.EOFUnread },
		"port":      func(f *finding.Finding) { f.Sock.Local = netip.MustParseAddrPort("10.0.0.1:50000") },
		"plumbing": func(f *finding.Finding) {
			f.Stack = &finding.Stack{Frames: []finding.Frame{{Function: "net.Dial", Plumbing: true}}}
		},
	}
	first := leaked(0, time.Second)
	for name, fn := range change {
		f := leaked(1, time.Second)
		fn(&f)
		if same := sign(&f) == sign(&first); same != (name == "nothing") {
			t.Errorf("%s: alike %v", name, same)
		}
	}
	for name, fn := range alike {
		f := leaked(1, time.Second)
		if fn(&f); sign(&f) != sign(&first) {
			t.Errorf("another %s makes another leak", name)
		}
	}
}

// TestManyServices: connections of one program to ever new services are one leak
// too, in the end.
func TestManyServices(t *testing.T) {
	const above, total = 20, 5000
	b := newBench(t, above)
	for n := range total {
		f := leaked(n, time.Second)
		f.Sock.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 443)
		b.opens(f)
	}
	b.after(time.Second)
	if b.plain[finding.Open] != manyServices*above || len(b.said) != 1 {
		t.Fatalf("%d printed and %d groups, want %d and 1", b.plain[finding.Open], len(b.said), manyServices*above)
	}
	if g := b.said[0]; g.Count != total || g.Service.IsValid() {
		t.Errorf("the group is %+v", g)
	}
	b.sums(total, 0)
}

// TestPrintedGoOn: a finding that was printed is printed to its end, whatever
// becomes of those alike, and updates of others are not.
func TestPrintedGoOn(t *testing.T) {
	b := newBench(t, 2)
	for n := range 4 {
		b.opens(leaked(n, time.Second))
	}
	for n := range 4 {
		f := *b.open[fmt.Sprintf("%020x", n)]
		f.Status = finding.Update
		b.g.Finding(&f)
	}
	if b.plain[finding.Update] != 2 {
		t.Errorf("%d updates printed, want 2", b.plain[finding.Update])
	}
	for n := range 4 {
		b.resolves(fmt.Sprintf("%020x", n))
	}
	b.end()
	b.sums(4, 4)
}

// TestOff: with 0 all are printed.
func TestOff(t *testing.T) {
	b := newBench(t, 0)
	for n := range 100 {
		b.opens(leaked(n, time.Second))
	}
	b.end()
	if b.plain[finding.Open] != 100 || len(b.said) > 0 || len(b.g.members) > 0 {
		t.Errorf("%d printed, %d groups, %d remembered", b.plain[finding.Open], len(b.said), len(b.g.members))
	}
}

// TestSums opens and resolves at random, and the sums hold whenever it ends; lines
// stay few.
func TestSums(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		above := 1 + rnd.IntN(30)
		b := newBench(t, above)
		opened, resolved, began := 0, 0, b.now
		var ids []string
		for range 2000 {
			switch k := rnd.IntN(10); {
			case k < 5:
				f := leaked(opened, time.Duration(rnd.IntN(100))*time.Second)
				f.Kind = finding.Kind(1 + rnd.IntN(2))
				b.opens(f)
				ids = append(ids, f.ID)
				opened++
			case k < 9 && len(ids) > 0:
				i := rnd.IntN(len(ids))
				if seed%3 == 0 {
					i = 0
				}
				b.resolves(ids[i])
				ids = append(ids[:i], ids[i+1:]...)
				resolved++
			default:
				b.after(time.Duration(rnd.IntN(2000)) * time.Millisecond)
			}
		}
		b.end()
		b.sums(opened, resolved)
		minutes := (b.now - began).Minutes() + 1
		if most := 2 * (float64(above)*minutes + float64(above)); float64(b.plain[finding.Open]) > most {
			t.Errorf("seed %d: %d of %d printed in %.0f minutes", seed, b.plain[finding.Open], opened, minutes)
		}
		if most := 2 * 7 * minutes; float64(len(b.said)) > most {
			t.Errorf("seed %d: %d group records in %.0f minutes", seed, len(b.said), minutes)
		}
		if t.Failed() {
			return
		}
	}
}

// TestOldest: when the oldest has ended, the next is the oldest.
func TestOldest(t *testing.T) {
	b := newBench(t, 1)
	for n, age := range []time.Duration{time.Minute, time.Hour / 2, 5 * time.Second, 7 * time.Second} {
		f := leaked(n, age)
		f.SinceExact = n != 1
		b.opens(f)
	}
	b.after(0)
	b.resolves(fmt.Sprintf("%020x", 1))
	b.after(pace)
	want := []time.Duration{time.Hour / 2, time.Minute + pace}
	for i, g := range b.said {
		// The one that may be older than that has ended before the second.
		if g.Oldest != want[i] || g.AtLeast != (i == 0) {
			t.Errorf("record %d: the oldest is %s old (at least %v), want %s", i, g.Oldest, g.AtLeast, want[i])
		}
	}
	if len(b.said) != 2 {
		t.Errorf("%d records, want 2", len(b.said))
	}
}

// A leak whose stacks are not all known is one leak; another stack makes another.
func TestStacksThatAreNotKnown(t *testing.T) {
	b := newBench(t, 2)
	leaks := func(id int, function string) {
		f := leaked(id, time.Second)
		if function != "" {
			f.Stack = &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{{Function: function, Line: 7}}}
		}
		b.opens(f)
	}
	for i := range 30 {
		function := ""
		if i%3 == 1 {
			function = "main.leak"
		}
		leaks(i, function)
	}
	b.after(time.Minute)
	if len(b.groups) != 1 || b.plain[finding.Open] != 2 {
		t.Fatalf("%d groups, %d records of their own: %+v", len(b.groups), b.plain[finding.Open], b.groups)
	}
	for _, g := range b.groups {
		if g.Opened != 28 || g.Stack == nil || g.Stack.Frames[0].Function != "main.leak" {
			t.Errorf("group %+v", g)
		}
	}
	for i := range 10 {
		leaks(100+i, "main.other")
	}
	b.after(time.Minute)
	if len(b.groups) != 2 {
		t.Errorf("%d groups, want one for each stack", len(b.groups))
	}
	for id := range b.open {
		b.resolves(id)
	}
	b.after(time.Minute)
	for range 30 {
		b.after(time.Minute)
	}
	if len(b.g.leaks) != 0 || len(b.g.stacks) != 0 {
		t.Errorf("%d leaks and %d stacks are remembered", len(b.g.leaks), len(b.g.stacks))
	}
}

// TestThen: what follows a record is told whether the finding has one of its own.
func TestThen(t *testing.T) {
	b := newBench(t, 2)
	var own []bool
	for i := range 4 {
		f := leaked(i, time.Minute)
		b.open[f.ID] = &f
		b.g.FindingThen(&f, func(is bool) {
			if is != (b.plain[finding.Open] == len(own)+1) {
				t.Errorf("finding %d: own %v after %d records", i, is, b.plain[finding.Open])
			}
			own = append(own, is)
		})
	}
	if fmt.Sprint(own) != "[true true false false]" {
		t.Errorf("records of their own: %v", own)
	}
}

// TestAdopted: what an earlier run opened keeps its records, and counts among the
// others.
func TestAdopted(t *testing.T) {
	b := newBench(t, 2)
	for i := range 3 {
		f := leaked(i, time.Hour)
		f.Status = finding.Update
		b.open[f.ID] = &f
		b.g.Finding(&f)
	}
	b.opens(leaked(3, time.Minute))
	b.after(time.Second)
	if b.plain[finding.Update] != 3 || b.plain[finding.Open] != 0 {
		t.Errorf("printed %v", b.plain)
	}
	if len(b.said) != 1 || b.said[0].Count != 4 || b.said[0].Opened != 1 || b.said[0].Oldest != time.Hour+time.Second {
		t.Errorf("said %+v", b.said)
	}
	if sum := b.g.Summary(ByProcess, b.now); len(sum) != 1 || sum[0].Count != 4 {
		t.Errorf("summary %+v", sum)
	}
	for id := range b.open {
		b.resolves(id)
	}
	b.after(time.Minute)
	if b.plain[finding.Resolved] != 3 || b.said[len(b.said)-1].Status != finding.Resolved {
		t.Errorf("printed %v, said %+v", b.plain, b.said)
	}
}
