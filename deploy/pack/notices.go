package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// licenceFile matches what licences ask to be passed on with a binary.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)`)

// notices returns the licences of all modules in the binary, and Go's.
func (r *release) notices(arch string) ([]byte, error) {
	info, err := r.buildInfo(arch)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	goRoot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its folder: %w", err)
	}
	b.WriteString("tcplimbo contains the following.\n")
	if err := appendNotices(&b, "The Go standard library, "+info.GoVersion, string(bytes.TrimSpace(goRoot))); err != nil {
		return nil, err
	}
	for _, m := range modules(info) {
		folder, err := r.moduleFolder(m.Path, m.Version)
		if err != nil {
			return nil, err
		}
		if err := appendNotices(&b, m.Path+" "+m.Version, folder); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// moduleFolder is where the module cache has the module.
func (r *release) moduleFolder(path, version string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", path+"@"+version)
	cmd.Dir = r.root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding module %s: %w", path, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("finding module %s: %w", path, err)
	}
	return module.Dir, nil
}

func appendNotices(b *bytes.Buffer, title, folder string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("looking for the licence of %s: %w", title, err)
	}
	found := false
	for _, f := range files {
		if f.IsDir() || !licenceFile.MatchString(f.Name()) || filepath.Ext(f.Name()) == ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			return fmt.Errorf("reading the licence of %s: %w", title, err)
		}
		found = true
		fmt.Fprintf(b, "\n%s\n%s: %s\n\n%s\n", rule, title, f.Name(), bytes.TrimSpace(text))
	}
	if !found {
		return fmt.Errorf("looking for the licence of %s: none in %s", title, folder)
	}
	return nil
}

const rule = "--------------------------------------------------------------------------------"
