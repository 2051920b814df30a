package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/privilege"
)

// confine gives up what the daemon needs no more. Where the kernel or a container does
// not let it, the daemon works as well, and says so.
func (w *world) confine(cfg *config.Run, polled bool, log zerolog.Logger) {
	if !cfg.Sandbox {
		log.Warn().Msg("privileges are kept: --sandbox=off")
		return
	}
	d, err := w.dropPrivileges(privilegeNeeds(cfg, polled))
	if err != nil {
		log.Warn().Err(err).Msg("not all privileges that are not needed were given up")
		return
	}
	kept := "none"
	if len(d.Kept) > 0 {
		kept = strings.Join(d.Kept, ", ")
	}
	log.Info().Str("kept", kept).Int("dropped", d.Gone).Bool("system_call_filter", d.Filter).Bool("read_only", d.ReadOnly).
		Msg("privileges given up")
}

// privilegeNeeds is what the configuration takes once the daemon runs. The ready file is
// written before, and what is pinned is open by then.
func privilegeNeeds(cfg *config.Run, polled bool) privilege.Needs {
	var n privilege.Needs
	if cfg.LogFile != "" {
		n.Files = append(n.Files, cfg.LogFile)
	}
	if cfg.CaptureDir != "" {
		n.Files = append(n.Files, filepath.Join(cfg.CaptureDir, "dump"))
	}
	// Programs are asked for their goroutines in their own network namespace, and
	// netlink for its sockets in each.
	n.Namespaces = polled || cfg.Pprof != config.PprofOff
	return n
}

// removeStale removes the ready file that an earlier run left, so that it does not speak
// for this one. A file with a text in it is somebody's, and stays; so does one that may
// not be removed.
func removeStale(file string) {
	if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		_ = os.Remove(file)
	}
}
