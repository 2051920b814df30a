package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// binaries has linux-ARCH/tcplimbo for all tests.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "tcplimbo-pack-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	for _, arch := range architectures {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w",
			"-o", filepath.Join(binaries, "linux-"+arch, "tcplimbo"), "./cmd/tcplimbo")
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building for %s: %v\n%s", arch, err, out)
			return 1
		}
	}
	return m.Run()
}

func newRelease(t *testing.T) *release {
	t.Helper()
	when := time.Unix(1_700_000_000, 0).UTC()
	return &release{root: "../..", binaries: binaries, out: t.TempDir(), version: parseVersion("v1.2.3", when), commit: "abc", time: when}
}

func TestVersions(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// Each is newer than the one before, as Debian counts.
	var last string
	for _, test := range []struct{ described, want, tag string }{
		{"0a1b2c3", "0~20260102.0a1b2c3", "0-20260102.0a1b2c3"},
		{"0a1b2c3-dirty", "0~20260102.0a1b2c3+dirty", "0-20260102.0a1b2c3-dirty"},
		{"v1.2.3-rc1", "1.2.3~rc1", "1.2.3-rc1"},
		{"v1.2.3", "1.2.3", "1.2.3"},
		{"v1.2.3-4-g0a1b2c3", "1.2.3+4.g0a1b2c3", "1.2.3-4.g0a1b2c3"},
		{"v1.2.4", "1.2.4", "1.2.4"},
	} {
		got := parseVersion(test.described, when)
		if got.semantic != test.want || got.tag() != test.tag {
			t.Errorf("%s: %s and tag %s, want %s and %s", test.described, got.semantic, got.tag(), test.want, test.tag)
		}
		if dpkg, err := exec.LookPath("dpkg"); err == nil && last != "" {
			if err := exec.Command(dpkg, "--compare-versions", last, "lt", got.semantic).Run(); err != nil {
				t.Errorf("dpkg does not take %s for older than %s", last, got.semantic)
			}
		}
		last = got.semantic
	}
}

// TestSameBytes: all is made twice, in another time zone. (deploy/twice does it
// from another checkout and with another umask, binaries included.)
func TestSameBytes(t *testing.T) {
	first, second := newRelease(t), newRelease(t)
	makeAll := func(r *release) {
		if err := errors.Join(r.image(), r.packages()); err != nil {
			t.Fatal(err)
		}
	}
	makeAll(first)
	t.Setenv("TZ", "Pacific/Chatham")
	makeAll(second)
	sums := string(readFile(t, filepath.Join(first.out, sumsFile)))
	if other := string(readFile(t, filepath.Join(second.out, sumsFile))); other != sums {
		t.Errorf("the second time it was\n%s, the first time\n%s", other, sums)
	}
	if n := strings.Count(sums, "\n"); n != 8 {
		t.Errorf("%d files, want an image, a chart, and three for each architecture:\n%s", n, sums)
	}
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if got := fmt.Sprintf("%x", sha256.Sum256(readFile(t, filepath.Join(first.out, name)))); got != sum {
			t.Errorf("%s has checksum %s, listed is %s", name, got, sum)
		}
	}
}

// TestOldFilesAreNotSummed: what an older version left in the folder is not
// taken for a part of this one.
func TestOldFilesAreNotSummed(t *testing.T) {
	r := newRelease(t)
	for _, old := range []string{"tcplimbo_1.2.2_amd64.deb", "tcplimbo_1.2.30_amd64.deb", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(r.out, old), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.write(map[string][]byte{"tcplimbo_1.2.3_amd64.deb": []byte("new")}); err != nil {
		t.Fatal(err)
	}
	if sums := string(readFile(t, filepath.Join(r.out, sumsFile))); strings.Count(sums, "\n") != 1 {
		t.Errorf("summed:\n%s", sums)
	}
}

// TestImage reads the archive as a container runtime does.
func TestImage(t *testing.T) {
	r := newRelease(t)
	if err := r.image(); err != nil {
		t.Fatal(err)
	}
	index := readIndex(t, filepath.Join(r.out, "tcplimbo_1.2.3.oci.tar"))
	if err := validate.Index(index); err != nil {
		t.Fatal(err)
	}
	named, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	// One name is one thing, or a runtime takes one architecture for all.
	if len(named.Manifests) != 1 || named.Manifests[0].Annotations["io.containerd.image.name"] == "" {
		t.Fatalf("it names %+v", named.Manifests)
	}
	if index, err = index.ImageIndex(named.Manifests[0].Digest); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != m.Platform.Architecture || !config.Created.Equal(r.time) {
			t.Errorf("%s: architecture %s, made %s", m.Platform, config.Architecture, config.Created)
		}
		asTheDockerfile(t, config.Config)
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms %v", platforms)
	}
}

func readIndex(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	tr := tar.NewReader(bytes.NewReader(readFile(t, archive)))
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// asTheDockerfile: both ways to an image give the same one.
func asTheDockerfile(t *testing.T, config v1.Config) {
	t.Helper()
	text := string(readFile(t, "../docker/Dockerfile"))
	_, last, _ := strings.Cut(text, "\nFROM scratch\n")
	for instruction, want := range map[string][]string{"ENTRYPOINT": config.Entrypoint, "CMD": config.Cmd} {
		m := regexp.MustCompile(`(?m)^` + instruction + ` (.*)$`).FindStringSubmatch(last)
		var got []string
		if m == nil || json.Unmarshal([]byte(m[1]), &got) != nil || !slices.Equal(got, want) {
			t.Errorf("the Dockerfile's %s is %v, the image's %q", instruction, m, want)
		}
	}
	for _, m := range regexp.MustCompile(`(org\.opencontainers\.[a-z.]+)="([^"]*)"`).FindAllStringSubmatch(last, -1) {
		if config.Labels[m[1]] != m[2] {
			t.Errorf("the Dockerfile's label %s is %q, the image's %q", m[1], m[2], config.Labels[m[1]])
		}
	}
	if config.User != "" || strings.Contains(last, "\nUSER ") {
		t.Error("the image names a user: neither Docker nor Kubernetes gives it capabilities then")
	}
}

// TestBillNamesAllModules: what the linker put in, no more and no less.
func TestBillNamesAllModules(t *testing.T) {
	r := newRelease(t)
	text, err := r.bill("arm64")
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		SpecVersion string
		Components  []struct{ Name, Version, Purl string }
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	info, err := r.buildInfo("arm64")
	if err != nil {
		t.Fatal(err)
	}
	if len(bill.Components) != len(info.Deps)+1 {
		t.Errorf("%d components, want %d modules and Go", len(bill.Components), len(info.Deps))
	}
	for _, m := range info.Deps {
		if !bytes.Contains(text, []byte(`"purl": "pkg:golang/`+m.Path+"@"+m.Version+`"`)) {
			t.Errorf("%s is missing", m.Path)
		}
	}
	notices, err := r.notices("arm64")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		if !bytes.Contains(notices, []byte("\n"+m.Path+" "+m.Version+": ")) {
			t.Errorf("the notices lack the licence of %s", m.Path)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
