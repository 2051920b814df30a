package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const modulePath = "github.com/tcplimbo/tcplimbo"

// bill returns the CycloneDX bill of materials of a binary: what the Go linker
// wrote into it, so nothing that is only in go.mod and nothing left out.
func (r *release) bill(arch string) ([]byte, error) {
	info, err := r.buildInfo(arch)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(r.binary(arch))
	if err != nil {
		return nil, fmt.Errorf("reading binary: %w", err)
	}
	sum := sha256.Sum256(data)
	self := cdx.Component{
		BOMRef: modulePath, Type: cdx.ComponentTypeApplication, Name: "tcplimbo", Version: r.version.described,
		PackageURL: "pkg:golang/" + modulePath + "@" + r.version.described + "?goos=linux&goarch=" + arch,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		Properties: &[]cdx.Property{{Name: "vcs.revision", Value: r.commit}},
	}
	components := []cdx.Component{{
		BOMRef: "std", Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion,
		PackageURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
	}}
	for _, m := range modules(info) {
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		components = append(components, cdx.Component{
			BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl,
			Scope: cdx.ScopeRequired, Properties: &[]cdx.Property{{Name: "go.sum", Value: m.Sum}},
		})
	}
	refs := make([]string, len(components))
	for i := range components {
		refs[i] = components[i].BOMRef
	}
	bom := cdx.NewBOM()
	// No serial number: it would be another one each time.
	bom.Metadata = &cdx.Metadata{Timestamp: r.time.Format("2006-01-02T15:04:05Z"), Component: &self}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return nil, fmt.Errorf("encoding bill of materials: %w", err)
	}
	return b.Bytes(), nil
}

func (r *release) buildInfo(arch string) (*debug.BuildInfo, error) {
	info, err := buildinfo.ReadFile(r.binary(arch))
	if err != nil {
		return nil, fmt.Errorf("reading what the binary is made of: %w", err)
	}
	return info, nil
}

// modules returns the modules in the binary, replacements in the place of what
// they replace, by path.
func modules(info *debug.BuildInfo) []*debug.Module {
	var all []*debug.Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) })
	return all
}
