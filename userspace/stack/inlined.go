package stack

import (
	"context"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// maxEntries is how many entries of a unit are looked at.
	maxEntries = 4 << 20
	// maxOrigins is how often an entry may point to another one for its name.
	maxOrigins = 4
)

// at returns the functions at an address, innermost first, nil if there are
// none. The last one is the function that has a symbol.
func (d *debugData) at(ctx context.Context, addr uint64) ([]finding.Frame, error) {
	u, err := d.unitOf(ctx, addr)
	if err != nil {
		return nil, err
	}
	table, err := d.lines(u)
	if err != nil {
		return nil, err
	}
	r, err := table.seek(ctx, addr)
	if err != nil {
		return nil, err
	}
	chain, err := d.chain(ctx, u, addr)
	if err != nil {
		return nil, err
	}
	var out []finding.Frame
	file, line := r.file, r.line
	for i := len(chain) - 1; i >= 0; i-- {
		f := finding.Frame{Function: demangled(d.function(ctx, u, &chain[i]))}
		if name := table.file(file); name != "" && line > 0 && line <= maxLine {
			f.File, f.Line = name, int(line)
		}
		out = append(out, f)
		file, line = chain[i].callFile, int64(chain[i].callLine)
	}
	return out, nil
}

// chain returns the function that an address of the unit is in, and in it what
// was inlined there, outermost first.
func (d *debugData) chain(ctx context.Context, u *dwarfUnit, addr uint64) ([]dwarfEntry, error) {
	if u.end-u.first > maxUnit {
		return nil, errTooLarge
	}
	b, err := d.info.bytes(u.first, u.end-u.first)
	if err != nil {
		return nil, err
	}
	shapes, err := d.abbrevsAt(u.abbrevs)
	if err != nil {
		return nil, err
	}
	var out []dwarfEntry
	c := cursor{b: b}
	// within is how deep the function is, skipping how deep what is of no
	// interest is; -1 if there is none.
	depth, within, skipping := 0, -1, -1
	for range maxEntries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		code := c.uleb()
		if c.failed {
			return out, nil
		}
		if code == 0 {
			if depth--; depth <= 0 || depth <= within {
				return out, nil
			}
			if depth <= skipping {
				skipping = -1
			}
			continue
		}
		s, ok := shapes[code]
		if !ok {
			return nil, errBroken
		}
		e := c.entry(u, u.first, s)
		look := skipping < 0
		switch {
		case !look:
		case e.tag == tagSubprogram || e.tag == tagInlined:
			if look = d.covers(u, &e, addr); !look {
				break
			}
			if out = append(out, e); len(out) > maxInlined {
				return nil, errTooLarge
			}
			if within < 0 {
				within = depth
			}
		default:
			look = holdsEntries(e.tag)
		}
		if !e.children {
			continue
		}
		// Only ever forward, so it comes to an end.
		if next := e.sibling - u.first; !look && e.sibling > u.first && next > uint64(c.at) && next <= uint64(len(b)) {
			c.at = int(next)
			continue
		}
		if !look && skipping < 0 {
			skipping = depth
		}
		depth++
	}
	return nil, errTooLarge
}

// function returns a function's name as the linker sees it, else as its
// programmer wrote it. An inlined function's is in another entry.
func (d *debugData) function(ctx context.Context, u *dwarfUnit, e *dwarfEntry) string {
	plain := ""
	for range maxOrigins {
		if s := d.text(u, e.linkage); s != "" {
			return s
		}
		if s := d.text(u, e.name); s != "" && plain == "" {
			plain = s
		}
		if e.origin.form == 0 || ctx.Err() != nil {
			break
		}
		at := e.origin.n
		if at < u.first || at >= u.end {
			// Another unit's: link-time optimisation.
			break
		}
		b, err := d.info.bytes(at, min(4096, u.end-at))
		if err != nil {
			break
		}
		c := cursor{b: b}
		s, err := d.abbrev1(u.abbrevs, c.uleb())
		if err != nil {
			break
		}
		next := c.entry(u, at, s)
		if c.failed {
			break
		}
		e = &next
	}
	return plain
}
