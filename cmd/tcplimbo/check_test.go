package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestCheckOnAWellHost(t *testing.T) {
	w := newTestWorld(t)
	if code := w.run(t, "check"); code != 0 || w.errs.Len() != 0 {
		t.Errorf("exit code %d: %s", code, w.errs.String())
	}
	if strings.Contains(w.out.String(), "fail") {
		t.Errorf("got\n%s", w.out.String())
	}
}

type brokenKernel struct{ fakeKernel }

func (brokenKernel) LoadPrograms(context.Context) (lacking, err error) {
	return nil, errors.New("loading BPF programs: bad")
}

func TestCheckTellsWhatFails(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testWorld)
		code   int
		want   string
	}{
		{
			"permission", func(w *testWorld) { w.host = hostWith(t, "0") }, 77,
			"tcplimbo: this host cannot run it with eBPF: failed: cap_bpf, cap_perfmon; the report says what to do",
		},
		{
			"programs", func(w *testWorld) { w.kernel = brokenKernel{} }, 69,
			"tcplimbo: this host cannot run it with eBPF: failed: programs; the report says what to do",
		},
	}
	for _, tt := range tests {
		for _, form := range []string{"table", "json"} {
			w := newTestWorld(t)
			tt.change(w)
			code := w.run(t, "check", "-o", form)
			if got := oneLine(t, w.errs.String()); code != tt.code || got != tt.want {
				t.Errorf("%s as %s: got %d %s", tt.name, form, code, got)
			}
			if form == "json" && !json.Valid(w.out.Bytes()) {
				t.Errorf("%s: not JSON: %s", tt.name, w.out.String())
			}
		}
	}
}

func TestCheckFitsTheTerminal(t *testing.T) {
	w := newTestWorld(t)
	w.host = hostWith(t, "0")
	w.stdoutTerminal = terminal{Width: 70}
	w.run(t, "check")
	for line := range strings.Lines(w.out.String()) {
		if n := len([]rune(line)) - 1; n > 70 {
			t.Errorf("%d cells: %s", n, line)
		}
	}
}
