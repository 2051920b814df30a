package finding

import "slices"

// ReasonOf returns the reason of that name; false if there is none.
func ReasonOf(name string) (Reason, bool) {
	i := slices.Index(reasonNames[:], name)
	return Reason(max(i, 0)), i > 0
}

// RelationOf returns the relation of that name; false if there is none.
func RelationOf(name string) (Relation, bool) {
	i := slices.Index(relationNames[:], name)
	return Relation(max(i, 0)), i >= 0
}
