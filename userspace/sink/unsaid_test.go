package sink

import (
	"strconv"
	"testing"
)

func TestUnsaid(t *testing.T) {
	var u Unsaid
	u.Remove("a")
	if u.Has("a") {
		t.Error("an empty one has something")
	}
	for i := range unsaidMax + 10 {
		u.Add(strconv.Itoa(i))
	}
	if !u.Has("0") || !u.Has(strconv.Itoa(unsaidMax-1)) || u.Has(strconv.Itoa(unsaidMax)) || len(u.ids) != unsaidMax {
		t.Errorf("%d are remembered, want the first %d", len(u.ids), unsaidMax)
	}
	u.Remove("0")
	if u.Has("0") || !u.Has("1") {
		t.Error("the wrong one was forgotten")
	}
	for i := range unsaidMax {
		u.Remove(strconv.Itoa(i))
	}
	if u.ids != nil {
		t.Errorf("%d are left, and memory with them", len(u.ids))
	}
}
