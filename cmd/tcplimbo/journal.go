package main

import (
	"fmt"

	"github.com/tcplimbo/tcplimbo/userspace/sink/journald"
)

func (r *records) openJournal(in *agentInput) error {
	if !in.Config.Journald {
		return nil
	}
	w, err := journald.Open(journald.Socket)
	if err != nil {
		return fmt.Errorf("--journald: %w; turn it off where systemd-journald does not run, or mount its directory", err)
	}
	r.lines = append(r.lines, r.start(w, "the journal", "journald", in.Metrics, w.Batch()))
	return nil
}
