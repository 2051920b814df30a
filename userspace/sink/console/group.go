package console

import (
	"strconv"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// wordGroup begins the records of groups; that a group has ended its sentence says.
const wordGroup = "GROUP"

// AppendGroup appends a group of findings as a block of lines.
func (c *Formatter) AppendGroup(dst []byte, g *finding.Group) []byte {
	b := c.begin(dst, g.Time, wordGroup, colorOf(g.Status))
	b.text(readable.Safe(g.Message, maxMessage))
	b.list(groupFacts(g), faint)
	return b.end()
}

func groupFacts(g *finding.Group) []string {
	facts := []string{
		g.Kind.String(), decimal(uint64(g.Count)) + " open",
		decimal(g.Opened) + " opened and " + decimal(g.Resolved) + " resolved without records of their own",
	}
	if g.GrowthKnown {
		facts = append(facts, strconv.FormatFloat(g.Growth, 'f', 1, 64)+" a minute")
	}
	if w := workload(g.Workload); w != "" {
		facts = append(facts, w)
	}
	if len(g.Samples) > 0 {
		var ids []string
		for _, id := range g.Samples {
			ids = append(ids, readable.Safe(id, maxName))
		}
		facts = append(facts, "such as "+strings.Join(ids, " "))
	}
	return append(facts, "group "+readable.Safe(g.ID, maxName))
}
