package jsonline

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

func TestStack(t *testing.T) {
	own := finding.Frame{Function: "main.serve", File: "/src/a b/serve.go", Line: 7}
	plumbing := finding.Frame{Function: "net.(*conn).Read", File: "/go/net.go", Line: 196, Plumbing: true}
	for _, tt := range []struct {
		name               string
		stack              *finding.Stack
		trace, of, missing any
	}{
		{"off", nil, nil, nil, nil},
		{"none", &finding.Stack{Missing: finding.MissingOlder}, nil, nil, "older_than_agent"},
		{"being looked up", &finding.Stack{Of: finding.StackAccept, Missing: finding.MissingPending}, nil, nil, "pending"},
		{
			"folded", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{plumbing, own, plumbing, own}},
			"main.serve (/src/a b/serve.go:7)\nmain.serve (/src/a b/serve.go:7)", "accept", nil,
		},
		{
			"nothing but plumbing", &finding.Stack{Of: finding.StackConnect, Frames: []finding.Frame{plumbing}, Missing: finding.MissingNoFramePointers},
			"net.(*conn).Read (/go/net.go:196)", "connect", "no_frame_pointers",
		},
		{
			"no symbols", &finding.Stack{Of: finding.StackConnect, Frames: []finding.Frame{{Module: "a\nb", Offset: 255}, {Function: "f"}}},
			"a\\x0ab+0xff\nf", "connect", nil,
		},
	} {
		f := sinktest.Findings()[0].Finding
		f.Stack = tt.stack
		got := object(t, testEncoder().AppendFinding(nil, &f))
		for key, want := range map[string]any{
			"code.stacktrace": tt.trace, "tcplimbo.stack.of": tt.of, "tcplimbo.stack.missing": tt.missing,
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, key, got[key], want)
			}
		}
	}
}

// The goroutine is left out where there is no room, its stack before it never.
func TestGoroutineOfStack(t *testing.T) {
	maker := finding.Frame{Function: "main.main", File: "/src/main.go", Line: 7}
	for _, tt := range []struct {
		name        string
		stack       finding.Stack
		room        int
		id, creator any
	}{
		{"unknown", finding.Stack{MadeBy: &maker}, 500, nil, nil},
		{"the first", finding.Stack{Goroutine: 1}, 500, json.Number("1"), nil},
		{"made", finding.Stack{Goroutine: 34, MadeBy: &maker}, 500, json.Number("34"), "main.main (/src/main.go:7)"},
		{"made, little room", finding.Stack{Goroutine: 34, MadeBy: &maker}, 50, json.Number("34"), nil},
		{"no room", finding.Stack{Goroutine: 34, MadeBy: &maker}, 9, nil, nil},
	} {
		got := object(t, append(appendGoroutine([]byte(`{"a":1`), &tt.stack, tt.room), "}\n"...))
		if got["tcplimbo.stack.goroutine.id"] != tt.id || got["tcplimbo.stack.goroutine.creator"] != tt.creator {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A stack takes the room that the line has left, and says what it leaves out.
func TestLongStackIsCut(t *testing.T) {
	for _, text := range []string{"f", strings.Repeat("main.x", 30), strings.Repeat("\"\x1b\u202e\n", 500), strings.Repeat("d/", 300)} {
		f := sinktest.Findings()[0].Finding
		f.Stack = sinktest.LongStack(text)
		line := testEncoder().AppendFinding([]byte("before"), &f)[len("before"):]
		got := object(t, line)
		frames := strings.Split(got["code.stacktrace"].(string), "\n")
		if len(line) >= MaxLine || len(line) < MaxLine-2*maxFrame || len(frames) < 5 {
			t.Errorf("a line of %d bytes with %d frames", len(line), len(frames))
		}
		if last := frames[len(frames)-1]; !strings.HasPrefix(last, "… ") || !strings.HasSuffix(last, " more") {
			t.Errorf("cut and not said: %q", last)
		}
	}
	longest := sinktest.Longest()
	longest.Listener, longest.Sock.SYN.Drop = nil, nil
	got := object(t, New(Options{Host: strings.Repeat("h", 99), Node: strings.Repeat("n", 999)}).AppendFinding(nil, &longest))
	if got["tcplimbo.stack.missing"] != noRoom || got["code.stacktrace"] != nil {
		t.Errorf("a line without room says %q, %q", got["tcplimbo.stack.missing"], got["code.stacktrace"])
	}
}

func TestMissingWordsNeedNoEscaping(t *testing.T) {
	seen := map[string]bool{noRoom: true}
	for _, word := range finding.Missing {
		checkName(t, word)
		if seen[word] {
			t.Errorf("%s is there twice", word)
		}
		seen[word] = true
	}
}
