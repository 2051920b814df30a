package table

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// AppendGroups appends a table of what a summary by process, peer, stack or pod
// counted, in the order given.
func AppendGroups(dst []byte, groups []finding.Group, by string, opt Options) []byte {
	rows := make([][4]string, 0, len(groups)+1)
	if !opt.NoHeader {
		rows = append(rows, [4]string{"COUNT", "OLDEST", "KIND", strings.ToUpper(by)})
	}
	for i := range groups {
		g := &groups[i]
		kind := g.Kind.String()
		if g.Kind == finding.KindNone {
			kind = string(unknown)
		}
		rows = append(rows, [4]string{
			strconv.Itoa(g.Count), oldest(g), kind, cmp.Or(shared(g), string(unknown)),
		})
	}
	var width [3]int
	for _, row := range rows {
		for col := range width {
			width[col] = max(width[col], readable.Width(row[col]))
		}
	}
	for _, row := range rows {
		dst = appendSpaces(dst, width[0]-len(row[0]))
		dst = append(dst, row[0]...)
		dst = appendSpaces(dst, gap+width[1]-len(row[1]))
		dst = append(dst, row[1]...)
		dst = appendPadded(appendSpaces(dst, gap), row[2], width[2]+gap)
		dst = append(append(dst, row[3]...), '\n')
	}
	return dst
}

// oldest marks a bound as appendAge does.
func oldest(g *finding.Group) string {
	if g.Oldest >= 0 && g.AtLeast {
		return readable.Age(g.Oldest) + "+"
	}
	return readable.Age(g.Oldest)
}

// shared says what a group's sockets have in common.
func shared(g *finding.Group) string {
	p := &g.Process
	switch name := readable.Safe(cmp.Or(p.Executable, p.Comm), maxName); {
	case name != "" && p.PID != 0:
		return fmt.Sprintf("%s[%d]", name, p.PID)
	case name != "":
		return name
	case g.Workload != nil:
		return string(appendPod(nil, g.Workload))
	case g.Service.IsValid() && g.Role == flow.RoleServer:
		return "serves " + string(readable.AppendAddrPort(nil, g.Service))
	case g.Service.IsValid():
		return string(readable.AppendAddrPort(nil, g.Service))
	case g.Stack != nil:
		return cmp.Or(ownFunctions(g.Stack), "no stack: "+g.Stack.Missing)
	}
	return ""
}

// maxFunctions is how many functions a line shows, maxFunction how long each is at
// most in bytes.
const (
	maxFunctions = 3
	maxFunction  = 96
)

// ownFunctions names the first functions that are the program's own.
func ownFunctions(s *finding.Stack) string {
	var names []string
	for i := range s.Frames {
		f := &s.Frames[i]
		if f.Plumbing || len(names) == maxFunctions {
			continue
		}
		name := f.Function
		if name == "" {
			name = fmt.Sprintf("%s+%#x", f.Module, f.Offset)
		}
		if f.Line > 0 {
			name += fmt.Sprintf(" (%s:%d)", f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		names = append(names, readable.Safe(name, maxFunction))
	}
	return strings.Join(names, " < ")
}
