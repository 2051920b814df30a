package pods

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// imageName is that of the one image; nothing pulls it.
const imageName = "tcplimbo.test/pod:1"

// descriptor names a blob of an image (OCI image specification, v1).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// writeImage writes an OCI image with both programs; by itself it waits.
func writeImage(t *testing.T, path string) {
	t.Helper()
	var out bytes.Buffer
	image := tar.NewWriter(&out)
	blob := func(kind string, data []byte) descriptor {
		sum := sha256.Sum256(data)
		digest := hex.EncodeToString(sum[:])
		addFile(t, image, "blobs/sha256/"+digest, data, 0o644)
		return descriptor{MediaType: "application/vnd.oci.image." + kind, Digest: "sha256:" + digest, Size: len(data)}
	}
	layer := blob("layer.v1.tar", layer(t))
	config := blob("config.v1+json", encode(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/leakypod", "pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
	}))
	manifest := blob("manifest.v1+json", encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []descriptor{layer},
	}))
	manifest.Annotations = map[string]string{"io.containerd.image.name": imageName}
	addFile(t, image, "index.json", encode(t, map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}), 0o644)
	addFile(t, image, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func layer(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	files := tar.NewWriter(&out)
	for _, path := range []string{tcplimbo, leakypod} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		addFile(t, files, filepath.Base(path), data, 0o755)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func addFile(t *testing.T, to *tar.Writer, name string, data []byte, mode int64) {
	t.Helper()
	if err := to.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: mode, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Write(data); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
