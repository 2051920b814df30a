package stack

import "path"

// file returns the path of a file by its number, "" if there is none.
func (t *lineTable) file(n uint64) string {
	c := t.files
	dir := t.d.text(t.u, t.u.root.dir)
	if t.version == 5 {
		return t.file5(c, dir, n)
	}
	// Folder 0 is the unit's own, file 1 the first.
	dirs := []string{dir}
	for !c.failed {
		at := c.text()
		if c.at-at <= 1 {
			break
		}
		if len(dirs) < 1<<16 {
			dirs = append(dirs, cut(string(c.b[at:c.at-1]), maxName))
		}
	}
	for i := uint64(1); !c.failed; i++ {
		at := c.text()
		if c.at-at <= 1 {
			break
		}
		name := cut(string(c.b[at:c.at-1]), maxName)
		folder := c.uleb()
		c.uleb()
		c.uleb()
		if i == n && !c.failed && folder < uint64(len(dirs)) {
			return absolute(dir, absolute(dirs[folder], name))
		}
	}
	return ""
}

// lineFile is a file or a folder of DWARF 5.
type lineFile struct {
	path value
	dir  uint64
}

func (t *lineTable) file5(c cursor, dir string, n uint64) string {
	folders := c
	skipList(&c, t.u)
	f, ok := nthFile(c, t.u, n)
	if !ok {
		return ""
	}
	folder, ok := nthFile(folders, t.u, f.dir)
	if !ok {
		return ""
	}
	return absolute(dir, absolute(t.text(folder.path), t.text(f.path)))
}

func (t *lineTable) text(v value) string {
	if v.form == formString {
		// Here an offset in the table, not in .debug_info.
		c := cursor{b: t.files.b, at: int(min(v.n, uint64(len(t.files.b))))}
		at := c.text()
		if c.failed {
			return ""
		}
		return cut(string(c.b[at:c.at-1]), maxName)
	}
	return t.d.text(t.u, v)
}

type fileFormat struct {
	kind uint64
	form attribute
}

// fileFormats reads of what a list's entries are made, and how many there are.
func fileFormats(c *cursor) (formats []fileFormat, count uint64) {
	n := c.u8()
	if n > maxFormats {
		c.failed = true
		return nil, 0
	}
	for range n {
		formats = append(formats, fileFormat{kind: c.uleb(), form: attribute{form: uint16(min(c.uleb(), 0xffff))}})
	}
	count = c.uleb()
	// An entry of nothing would make a list without end.
	if len(formats) == 0 || count > uint64(len(c.b)) {
		count = 0
	}
	return formats, count
}

func skipList(c *cursor, u *dwarfUnit) {
	formats, count := fileFormats(c)
	for range count {
		for _, f := range formats {
			c.value(f.form, u, 0)
		}
		if c.failed {
			return
		}
	}
}

func nthFile(c cursor, u *dwarfUnit, n uint64) (f lineFile, ok bool) {
	formats, count := fileFormats(&c)
	if n >= count {
		return f, false
	}
	for i := uint64(0); i <= n && !c.failed; i++ {
		f = lineFile{}
		for _, part := range formats {
			v := c.value(part.form, u, 0)
			switch part.kind {
			case lnctPath:
				f.path = v
			case lnctDirectory:
				f.dir = v.n
			}
		}
	}
	return f, !c.failed
}

// absolute completes the name of a file.
func absolute(dir, name string) string {
	if dir == "" || name == "" || path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}
