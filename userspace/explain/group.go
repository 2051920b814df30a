package explain

import (
	"fmt"
	"math"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// kindWords are how people write where the sockets of a kind are.
var kindWords = [finding.KindCount]string{
	finding.KindNone:           "without a finding",
	finding.SynSentStalled:     "in SYN_SENT",
	finding.FinWait2Dangling:   "in FIN_WAIT2",
	finding.CloseWaitSilent:    "in CLOSE_WAIT",
	finding.EstablishedStalled: "ESTABLISHED without progress",
	finding.ClosingStalled:     "closing",
}

// GroupMessage builds the sentence of a group.
func GroupMessage(g *finding.Group) string {
	whose := kindWords[g.Kind] + ofProgram(g) + atService(g)
	if g.Status == finding.Resolved {
		return fmt.Sprintf("%s %s that had no records of their own ended", sockets(g.Resolved, "all "), whose)
	}
	s := sockets(uint64(g.Count), "") + " " + whose + oldest(g)
	s += growth(g)
	if apart := g.Opened - g.Resolved; apart > 0 {
		s += fmt.Sprintf("; %d of them have no records of their own", apart)
	}
	return s
}

func oldest(g *finding.Group) string {
	switch {
	case g.Oldest < 0:
		return ""
	case g.AtLeast:
		return ", the oldest for at least " + readable.Age(g.Oldest)
	}
	return ", the oldest for " + readable.Age(g.Oldest)
}

// growth says what was seen, a minute only where a minute was.
func growth(g *finding.Group) string {
	n, in := float64(g.Grown), "in "+readable.Age(g.GrownIn)
	if g.GrowthKnown {
		n, in = math.Round(g.Growth), "a minute"
	}
	switch {
	case n > 0:
		return fmt.Sprintf("; %.0f more %s", n, in)
	case n < 0:
		return fmt.Sprintf("; %.0f fewer %s", -n, in)
	}
	return ""
}

func sockets(n uint64, all string) string {
	if n == 1 {
		return "1 socket"
	}
	return fmt.Sprintf("%s%d sockets", all, n)
}

func ofProgram(g *finding.Group) string {
	p := &g.Process
	if !p.Named() {
		return ""
	}
	s := " of " + programName(p)
	if p.PID != 0 {
		s += fmt.Sprintf(" (pid %d)", p.PID)
	}
	if w := g.Workload; w != nil && w.Pod != "" {
		s += " in pod " + readable.Safe(w.Namespace, nameMax) + "/" + readable.Safe(w.Pod, nameMax)
	}
	return s
}

func atService(g *finding.Group) string {
	switch {
	case !g.Service.IsValid():
		return ""
	case g.Role == flow.RoleServer:
		return " that serves " + address(g.Service)
	}
	return " to " + address(g.Service)
}
