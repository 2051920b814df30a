package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// installed returns what a package puts on a host, by its place there. The unit
// and the settings are the ones of deploy/systemd; man page and completions are
// what the binary itself prints.
func (r *release) installed(arch string) ([]entry, error) {
	binary, err := os.ReadFile(r.binary(arch))
	if err != nil {
		return nil, fmt.Errorf("reading binary: %w; build it first", err)
	}
	entries := []entry{
		{"usr/bin/tcplimbo", 0o755, binary},
	}
	for _, f := range []struct{ place, source string }{
		{"usr/lib/systemd/system/tcplimbo.service", "deploy/systemd/tcplimbo.service"},
		{settingsFile, "deploy/systemd/tcplimbo.yaml"},
		{"usr/share/doc/tcplimbo/copyright", "LICENSE"},
		{"usr/share/doc/tcplimbo/README.md", "README.md"},
		{"usr/share/doc/tcplimbo/CHANGELOG.md", "CHANGELOG.md"},
		{"usr/share/doc/tcplimbo/prometheus/tcplimbo.rules.yaml", "deploy/prometheus/tcplimbo.rules.yaml"},
		{"usr/share/doc/tcplimbo/grafana/tcplimbo.json", "deploy/grafana/tcplimbo.json"},
	} {
		data, err := os.ReadFile(filepath.Join(r.root, f.source))
		if err != nil {
			return nil, fmt.Errorf("reading what is packed: %w", err)
		}
		entries = append(entries, entry{f.place, 0o644, data})
	}
	printed, err := r.printed()
	if err != nil {
		return nil, err
	}
	notices, err := r.notices(arch)
	if err != nil {
		return nil, err
	}
	bill, err := r.bill(arch)
	if err != nil {
		return nil, err
	}
	return append(append(entries, printed...),
		entry{"usr/share/doc/tcplimbo/NOTICES", 0o644, notices},
		entry{"usr/share/doc/tcplimbo/tcplimbo.cdx.json", 0o644, bill},
	), nil
}

// settingsFile is kept when the package is upgraded.
const settingsFile = "etc/tcplimbo/tcplimbo.yaml"

// printed returns the man page and the completions.
func (r *release) printed() ([]entry, error) {
	var entries []entry
	for _, p := range []struct {
		place string
		args  []string
	}{
		{"usr/share/man/man1/tcplimbo.1.gz", []string{"man"}},
		{"usr/share/bash-completion/completions/tcplimbo", []string{"completion", "bash"}},
		{"usr/share/zsh/vendor-completions/_tcplimbo", []string{"completion", "zsh"}},
		{"usr/share/fish/vendor_completions.d/tcplimbo.fish", []string{"completion", "fish"}},
	} {
		// The host's own binary prints it for the others.
		out, err := exec.Command(r.binary(runtime.GOARCH), p.args...).Output()
		if err != nil {
			return nil, fmt.Errorf("asking the binary for its %s: %w", p.args[0], err)
		}
		if filepath.Ext(p.place) == ".gz" {
			if out, err = compressed(out); err != nil {
				return nil, err
			}
		}
		entries = append(entries, entry{p.place, 0o644, out})
	}
	return entries, nil
}

func compressed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = zw.Write(data)
	}
	if err == nil {
		err = zw.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return b.Bytes(), nil
}
