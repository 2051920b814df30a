package sink

import "hash/maphash"

// unsaidMax bounds what is remembered, some 16 bytes each. As many sockets
// are followed by the kernel side.
const unsaidMax = 1 << 16

// Unsaid remembers findings whose first record a full queue dropped, so that the
// next one is said as the first. The zero value is empty. It is used by one goroutine.
type Unsaid struct {
	seed maphash.Seed
	ids  map[uint64]struct{}
}

// Add remembers a finding; where too many are remembered, it does not.
func (u *Unsaid) Add(id string) {
	if u.ids == nil {
		// Seeded, so that nobody can make two alike.
		u.seed, u.ids = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	if len(u.ids) < unsaidMax {
		u.ids[maphash.String(u.seed, id)] = struct{}{}
	}
}

// Has reports whether a finding is remembered.
func (u *Unsaid) Has(id string) bool {
	if len(u.ids) == 0 {
		return false
	}
	_, ok := u.ids[maphash.String(u.seed, id)]
	return ok
}

// Remove forgets a finding.
func (u *Unsaid) Remove(id string) {
	if len(u.ids) == 0 {
		return
	}
	delete(u.ids, maphash.String(u.seed, id))
	if len(u.ids) == 0 {
		u.ids = nil // a map keeps the memory that it once needed
	}
}
