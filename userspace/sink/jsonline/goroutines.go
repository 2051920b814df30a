package jsonline

import (
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// maxDump bounds the name of a profile's file, which is our own.
const maxDump = 96

// appendGoroutines appends what the program said of its goroutines, up to the length
// end: all of it, or only how many there are, or nothing.
func appendGoroutines(dst []byte, g *finding.Goroutines, end int) []byte {
	before := len(dst)
	if g.Missing != "" {
		return fit(appendName(dst, `,"tcplimbo.pprof.missing":`, g.Missing), before, end)
	}
	dst = appendUint(dst, `,"tcplimbo.pprof.goroutines":`, uint64(max(g.Total, 0)))
	if g.Function != "" {
		dst = appendUint(dst, `,"tcplimbo.pprof.matching":`, uint64(max(g.Matching, 0)))
	}
	dst = appendSeconds(dst, `,"tcplimbo.pprof.age_seconds":`, max(g.Age, 0))
	dst = fit(dst, before, end)
	counts := len(dst)
	dst = appendText(dst, `,"tcplimbo.pprof.function":`, g.Function, maxFrame-maxFile)
	if g.Parked.Function != "" {
		dst = append(dst, `,"tcplimbo.pprof.parked":"`...)
		dst = append(appendFrame(dst, &g.Parked), '"')
	}
	dst = appendText(dst, `,"tcplimbo.pprof.dump":`, g.Dump, maxDump)
	return fit(dst, counts, end)
}

// appendGoroutine appends which goroutine took the stack, up to the length end: with
// where it was made, or its id alone, or nothing.
func appendGoroutine(dst []byte, s *finding.Stack, end int) []byte {
	if s.Goroutine == 0 {
		return dst
	}
	before := len(dst)
	dst = fit(appendUint(dst, `,"tcplimbo.stack.goroutine.id":`, s.Goroutine), before, end)
	if s.MadeBy == nil || len(dst) == before {
		return dst
	}
	before = len(dst)
	dst = append(dst, `,"tcplimbo.stack.goroutine.creator":"`...)
	return fit(append(appendFrame(dst, s.MadeBy), '"'), before, end)
}

// fit takes back what was appended since a line was before bytes long if it is
// longer than end now.
func fit(dst []byte, before, end int) []byte {
	if len(dst) > end {
		return dst[:before]
	}
	return dst
}
