package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// packages writes, for each architecture, a Debian package, a tar archive and a
// bill of materials; the chart; and SHA256SUMS of them all.
func (r *release) packages() error {
	made := map[string][]byte{}
	for _, arch := range architectures {
		entries, err := r.installed(arch)
		if err != nil {
			return err
		}
		name := "tcplimbo_" + r.version.semantic + "_linux_" + arch
		var archive bytes.Buffer
		if err := writeTarGz(&archive, relocated(name, entries), r.time); err != nil {
			return err
		}
		made[name+".tar.gz"] = archive.Bytes()
		made["tcplimbo_"+r.version.semantic+"_"+arch+".deb"], err = r.deb(arch, entries)
		if err != nil {
			return err
		}
		made[name+".cdx.json"], err = r.bill(arch)
		if err != nil {
			return err
		}
	}
	name, chart, err := r.chart()
	if err != nil {
		return err
	}
	made[name] = chart
	return r.write(made)
}

// relocated puts the entries under a folder, as one unpacks an archive. The
// unit stays what it is for: a copy to /usr/bin and /etc.
func relocated(folder string, entries []entry) []entry {
	moved := slices.Clone(entries)
	for i := range moved {
		moved[i].path = folder + "/" + moved[i].path
	}
	return moved
}

// write writes the files and the checksums of all of this version, which
// `sha256sum -c` reads: image and packages are made one after the other.
func (r *release) write(made map[string][]byte) error {
	for name, data := range made {
		if err := os.WriteFile(filepath.Join(r.out, name), data, 0o644); err != nil {
			return fmt.Errorf("writing package: %w", err)
		}
	}
	files, err := os.ReadDir(r.out)
	if err != nil {
		return fmt.Errorf("listing packages: %w", err)
	}
	var sums strings.Builder
	for _, f := range files {
		if _, now := made[f.Name()]; !now && !r.mine(f.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.out, f.Name()))
		if err != nil {
			return fmt.Errorf("summing package: %w", err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), f.Name())
	}
	if err := os.WriteFile(filepath.Join(r.out, sumsFile), []byte(sums.String()), 0o644); err != nil {
		return fmt.Errorf("writing checksums: %w", err)
	}
	return nil
}

const sumsFile = "SHA256SUMS"

// mine tells a file of this version from what an older run left there.
func (r *release) mine(name string) bool {
	own := "tcplimbo_" + r.version.semantic
	return strings.HasPrefix(name, own+"_") || name == own+".oci.tar" || chartFile.MatchString(name)
}

var (
	chartFile    = regexp.MustCompile(`^tcplimbo-[0-9][0-9A-Za-z.+-]*\.tgz$`)
	chartVersion = regexp.MustCompile(`(?m)^version: ([0-9A-Za-z.+-]+)$`)
)

// chart returns the Helm chart as `helm package` would make it, but with the
// same bytes each time, and its file name.
func (r *release) chart() (string, []byte, error) {
	root := filepath.Join(r.root, "deploy", "helm", "tcplimbo")
	var entries []entry
	var name string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if relative == "Chart.yaml" {
			m := chartVersion.FindSubmatch(data)
			if m == nil {
				return fmt.Errorf("%s has no version", path)
			}
			name = "tcplimbo-" + string(m[1]) + ".tgz"
		}
		entries = append(entries, entry{"tcplimbo/" + filepath.ToSlash(relative), 0o644, data})
		return nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("packing chart: %w", err)
	}
	var b bytes.Buffer
	err = writeTarGz(&b, entries, r.time)
	return name, b.Bytes(), err
}
