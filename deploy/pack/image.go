package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image writes one OCI image for all architectures as a tar archive, which
// `ctr image import`, `podman load`, `skopeo` and `docker load` (from 25) read.
// deploy/docker/Dockerfile describes the same image; a test compares them.
func (r *release) image() error {
	var index v1.ImageIndex = empty.Index
	for _, arch := range architectures {
		image, err := r.imageOf(arch)
		if err != nil {
			return fmt.Errorf("making image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image,
			Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "linux", Architecture: arch},
			},
		})
	}
	entries, err := layoutOf(r.named(index))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := writeTar(&b, entries, r.time); err != nil {
		return err
	}
	return r.write(map[string][]byte{"tcplimbo_" + r.version.semantic + ".oci.tar": b.Bytes()})
}

// named is an index that names another one. Were each architecture's image named, containerd
// would take the last for the whole.
func (r *release) named(images v1.ImageIndex) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: mutate.IndexMediaType(images, types.OCIImageIndex),
		Descriptor: v1.Descriptor{
			Annotations: map[string]string{
				"org.opencontainers.image.ref.name": r.version.tag(),
				// containerd names the image by this one.
				"io.containerd.image.name": imageName + ":" + r.version.tag(),
			},
		},
	})
}

const imageName = "ghcr.io/tcplimbo/tcplimbo"

// imageOf has one layer: the binary, its licence and those of what it contains.
func (r *release) imageOf(arch string) (v1.Image, error) {
	binary, err := os.ReadFile(r.binary(arch))
	if err != nil {
		return nil, fmt.Errorf("reading binary: %w; build it first", err)
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("reading licence: %w", err)
	}
	notices, err := r.notices(arch)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = writeTar(&b, []entry{
		{"usr/bin/tcplimbo", 0o755, binary},
		{"usr/share/doc/tcplimbo/LICENSE", 0o644, licence},
		{"usr/share/doc/tcplimbo/NOTICES", 0o644, notices},
	}, r.time)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("making layer: %w", err)
	}
	return r.configured(layer, arch)
}

func (r *release) configured(layer v1.Layer, arch string) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: v1.Time{Time: r.time}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/usr/bin/tcplimbo"},
			Cmd:        []string{"run"},
			Labels: map[string]string{
				"org.opencontainers.image.title":    "tcplimbo",
				"org.opencontainers.image.licenses": "Apache-2.0",
				"org.opencontainers.image.source":   "https://" + modulePath,
				"org.opencontainers.image.version":  r.version.described,
				"org.opencontainers.image.revision": r.commit,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("writing image settings: %w", err)
	}
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "tcplimbo deploy/pack"},
	})
	if err != nil {
		return nil, fmt.Errorf("adding layer: %w", err)
	}
	return image, nil
}

// layoutOf returns the files of an OCI image layout.
func layoutOf(index v1.ImageIndex) (_ []entry, err error) {
	stage, err := os.MkdirTemp("", "tcplimbo-oci-")
	if err != nil {
		return nil, fmt.Errorf("making staging folder: %w", err)
	}
	defer func() {
		if removing := os.RemoveAll(stage); err == nil && removing != nil {
			err = fmt.Errorf("removing staging folder: %w", removing)
		}
	}()
	if _, err := layout.Write(stage, index); err != nil {
		return nil, fmt.Errorf("writing image: %w", err)
	}
	var entries []entry
	err = filepath.WalkDir(stage, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(stage, path)
		entries = append(entries, entry{filepath.ToSlash(relative), 0o644, data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading image: %w", err)
	}
	return entries, nil
}
