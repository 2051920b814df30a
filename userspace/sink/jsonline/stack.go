package jsonline

import (
	"strconv"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

const (
	// maxFrame bounds one frame, so that a function with a long name leaves room
	// for its callers; maxFile is the file's share of it.
	maxFrame = 240
	maxFile  = 96
	// stackLeast is the room that a stack needs: the longest frame fits.
	stackLeast = maxFrame + 120
	// cutMark ends a stack that did not fit.
	cutMark = `\n… 255 more`
	// noRoom is said where the rest of the line is too long for any frame.
	noRoom = "no_room"
)

// appendStack appends what is known of the code behind a finding, up to the length
// end: it comes last, takes the room that the line has left, and says if that is
// too little.
func appendStack(dst []byte, s *finding.Stack, end int) []byte {
	missing := s.Missing
	if end-len(dst) < stackLeast && len(s.Frames) > 0 {
		missing = noRoom
	} else if len(s.Frames) > 0 {
		if s.Of != finding.StackNone {
			dst = appendName(dst, `,"tcplimbo.stack.of":`, s.Of.String())
		}
		if missing != "" {
			dst = appendName(dst, `,"tcplimbo.stack.missing":`, missing)
		}
		return appendFrames(dst, shown(s), end)
	}
	if missing == "" || len(dst)+len(`,"tcplimbo.stack.missing":""`)+len(missing) > end {
		return dst
	}
	return appendName(dst, `,"tcplimbo.stack.missing":`, missing)
}

// shown are the frames of the program itself. What only carries its data, such as
// package net, is folded away, unless there is nothing else.
func shown(s *finding.Stack) []finding.Frame {
	own := make([]finding.Frame, 0, len(s.Frames))
	for _, f := range s.Frames {
		if !f.Plumbing {
			own = append(own, f)
		}
	}
	if len(own) == 0 {
		return s.Frames
	}
	return own
}

func appendFrames(dst []byte, frames []finding.Frame, end int) []byte {
	dst = append(dst, `,"code.stacktrace":"`...)
	end -= len(cutMark) + len(`"`)
	for i := range frames {
		before := len(dst)
		if i > 0 {
			dst = append(dst, `\n`...)
		}
		dst = appendFrame(dst, &frames[i])
		if len(dst) > end {
			dst = append(dst[:before], `\n… `...)
			dst = strconv.AppendInt(dst, int64(len(frames)-i), 10)
			return append(dst, ` more"`...)
		}
	}
	return append(dst, '"')
}

// appendFrame appends function (file:line), or module+offset where no symbol names
// the function.
func appendFrame(dst []byte, f *finding.Frame) []byte {
	if f.Function == "" {
		dst = appendEscaped(dst, f.Module, maxFile)
		dst = append(dst, "+0x"...)
		return strconv.AppendUint(dst, f.Offset, 16)
	}
	dst = appendEscaped(dst, f.Function, maxFrame-maxFile)
	if f.File == "" || f.Line <= 0 {
		return dst
	}
	dst = append(dst, " ("...)
	dst = appendEscaped(dst, shortFile(f.File), maxFile)
	dst = append(dst, ':')
	dst = strconv.AppendInt(dst, int64(f.Line), 10)
	return append(dst, ')')
}

// shortFile keeps the end of a long path: the file tells more than the build
// machine's directories.
func shortFile(file string) string {
	const room = maxFile - len(readable.Mark)
	if len(file) <= room {
		return file
	}
	cut := file[len(file)-room:]
	if i := strings.IndexByte(cut, '/'); i >= 0 {
		return readable.Mark + cut[i:]
	}
	return readable.Mark + cut
}
