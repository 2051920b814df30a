package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// Set with -ldflags "-X main.version=… -X main.commit=…"; a plain `go build` or
// `go install` leaves them empty and the Go toolchain's stamp is used.
var version, commit string

// The output forms that are not the daemon's.
const (
	formText    = "text"
	formTable   = "table"
	formColumns = "columns"
	formJSON    = "json"
)

// buildInfo is what identifies this program.
type buildInfo struct {
	Version string `json:"version"`
	// Commit is left out where the toolchain did not stamp one.
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() buildInfo {
	stamp, ok := debug.ReadBuildInfo()
	if !ok {
		stamp = &debug.BuildInfo{}
	}
	return buildFrom(version, commit, stamp)
}

func buildFrom(version, commit string, stamp *debug.BuildInfo) buildInfo {
	b := buildInfo{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b.Version == "" {
		b.Version = stamp.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	if b.Commit != "" {
		return b
	}
	for _, s := range stamp.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (b buildInfo) String() string {
	text := programName + " " + b.Version + " ("
	if b.Commit != "" {
		text += "commit " + b.Commit
		if b.Modified {
			text += ", modified"
		}
		text += ", "
	}
	return text + b.Go + ", " + b.Platform + ")"
}

func versionCommand() *command {
	return &command{
		name: "version", usage: "show version, commit, Go version and platform",
		flags: []flagSpec{{
			name: "output", short: "o", placeholder: "FORM", def: formText, values: []string{formText, formJSON},
			usage: "text or json",
		}},
		examples: []example{
			{"tcplimbo version", "for a bug report"},
			{"tcplimbo version -o json | jq -r .commit", "for a script"},
		},
		run: func(c *cli.Context) error {
			form, err := oneOf(c, "output", formText, formJSON)
			if err != nil {
				return err
			}
			return printVersion(c.App.Writer, form)
		},
	}
}

func printVersion(w io.Writer, form string) error {
	if form == formJSON {
		return writing(json.NewEncoder(w).Encode(thisBuild()))
	}
	_, err := fmt.Fprintln(w, thisBuild())
	return writing(err)
}
