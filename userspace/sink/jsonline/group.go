package jsonline

import (
	"math"
	"strconv"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// AppendGroup appends a group of findings as one line.
func (e *Encoder) AppendGroup(dst []byte, g *finding.Group) []byte {
	line := e.appendGroup(dst, g, &wide)
	if len(line)-len(dst) < MaxLine {
		return line
	}
	return e.appendGroup(dst, g, &tight)
}

func (e *Encoder) appendGroup(dst []byte, g *finding.Group, limit *limits) []byte {
	begin := len(dst)
	dst = appendBegin(dst, g.Time, levelOf(g.Status), g.Message, limit.message, "tcplimbo.group")
	dst = appendText(dst, `,"tcplimbo.group.id":`, g.ID, maxID)
	dst = appendName(dst, `,"tcplimbo.group.status":`, g.Status.String())
	if g.Kind != finding.KindNone {
		dst = appendName(dst, `,"tcplimbo.finding.kind":`, g.Kind.String())
	}
	dst = appendUint(dst, `,"tcplimbo.group.count":`, uint64(g.Count))
	if g.Opened > 0 { // not in a list, where none has a record
		dst = appendUint(dst, `,"tcplimbo.group.opened":`, g.Opened)
		dst = appendUint(dst, `,"tcplimbo.group.resolved":`, g.Resolved)
	}
	if g.Count > 0 {
		dst = appendSeconds(dst, `,"tcplimbo.group.oldest_seconds":`, g.Oldest)
	}
	if g.GrowthKnown && !math.IsInf(g.Growth, 0) && !math.IsNaN(g.Growth) {
		dst = append(dst, `,"tcplimbo.group.growth_per_minute":`...)
		dst = strconv.AppendFloat(dst, math.Round(g.Growth*10)/10, 'f', -1, 64)
	}
	dst = appendSamples(dst, g.Samples)
	dst = append(dst, `,"network.transport":"tcp"`...)
	dst = appendService(dst, g)
	dst = appendGroupProcess(dst, &g.Process, limit)
	dst = appendWorkload(dst, g.Workload, limit)
	if g.Stack != nil {
		dst = appendStack(dst, g.Stack, begin+MaxLine-1-len(e.tail))
	}
	return append(dst, e.tail...)
}

func appendSamples(dst []byte, ids []string) []byte {
	if len(ids) == 0 {
		return dst
	}
	dst = append(dst, `,"tcplimbo.group.sample_ids":[`...)
	for i, id := range ids[:min(len(ids), finding.MaxSamples)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(appendEscaped(dst, id, maxID), '"')
	}
	return append(dst, ']')
}

// appendService appends the end of the connections that they have in common.
func appendService(dst []byte, g *finding.Group) []byte {
	if !g.Service.IsValid() {
		return dst
	}
	id := flow.ID{Peer: g.Service}
	if g.Role == flow.RoleServer {
		id = flow.ID{Local: g.Service}
	}
	dst = appendState(dst, &id, flow.StateUnknown)
	dst = appendEnds(dst, id.Local, id.Peer)
	return appendName(dst, `,"tcplimbo.tcp.role":`, g.Role.String())
}

// appendGroupProcess appends the program. User and thread are those of one process,
// and said only if there is only one.
func appendGroupProcess(dst []byte, p *finding.Process, limit *limits) []byte {
	if p.PID != 0 {
		one := *p
		one.Relation, one.FD = finding.RelationNone, -1
		return appendProcess(dst, &one, limit)
	}
	dst = appendText(dst, `,"process.executable.name":`, p.Executable, maxName)
	return appendText(dst, `,"process.executable.path":`, p.Path, limit.path)
}
