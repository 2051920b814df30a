package stack

import (
	"strconv"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func wantFrames() []finding.Frame {
	return []finding.Frame{{Function: "shop.Pay", File: "/src/shop/pay.go", Line: 17, Module: "shop"}}
}
