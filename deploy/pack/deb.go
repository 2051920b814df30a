package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

const description = `finds TCP sockets that are in limbo
Sockets that look fine to the program that owns them and are not: connects
that nobody answers, half-closed ones whose peer never finishes, ones that the
peer closed and the program forgot, and connections whose data does not move.
It says who holds them, why they are stuck and when the kernel will end them.`

// deb returns a Debian package of the entries.
func (r *release) deb(arch string, entries []entry) (_ []byte, err error) {
	// nfpm takes files, not bytes.
	stage, err := os.MkdirTemp("", "tcplimbo-deb-")
	if err != nil {
		return nil, fmt.Errorf("making staging folder: %w", err)
	}
	defer func() {
		if removing := os.RemoveAll(stage); err == nil && removing != nil {
			err = fmt.Errorf("removing staging folder: %w", removing)
		}
	}()
	scripts := filepath.Join(r.root, "deploy", "deb")
	info := &nfpm.Info{
		Name: "tcplimbo", Arch: arch, Platform: "linux", Version: r.version.semantic, VersionSchema: "none",
		Section: "net", Priority: "optional", Maintainer: "The tcplimbo authors <maintainers@tcplimbo.invalid>",
		Description: description, Homepage: "https://" + modulePath, License: "Apache-2.0", MTime: r.time,
		Overridables: nfpm.Overridables{
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(scripts, "postinst"),
				PreRemove:   filepath.Join(scripts, "prerm"),
				PostRemove:  filepath.Join(scripts, "postrm"),
			},
		},
	}
	for i, e := range entries {
		source := filepath.Join(stage, fmt.Sprint(i))
		if err := os.WriteFile(source, e.data, 0o600); err != nil {
			return nil, fmt.Errorf("staging: %w", err)
		}
		content := &files.Content{
			Source: source, Destination: "/" + e.path,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: fs.FileMode(e.mode), MTime: r.time},
		}
		if e.path == settingsFile {
			content.Type = files.TypeConfig
		}
		info.Contents = append(info.Contents, content)
	}
	info = nfpm.WithDefaults(info)
	var b bytes.Buffer
	if err := deb.Default.Package(info, &b); err != nil {
		return nil, fmt.Errorf("making Debian package: %w", err)
	}
	return b.Bytes(), nil
}
