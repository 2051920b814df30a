package userspace_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// terms are the licences that may be linked into a binary under Apache-2.0, each
// by words that its text has and the others have not.
var terms = []struct {
	name  string
	words []string
	not   string
}{
	{name: "Apache-2.0", words: []string{"apache license version 2.0"}},
	{name: "MIT", words: []string{"permission is hereby granted, free of charge, to any person obtaining a copy", "the software is provided \"as is\""}},
	{name: "BSD-3-Clause", words: []string{"redistribution and use in source and binary forms", "endorse or promote products"}},
	{name: "BSD-2-Clause", words: []string{"redistribution and use in source and binary forms"}, not: "endorse or promote products"},
	{name: "ISC", words: []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"}},
}

// refused are terms that nobody may bring in by updating a dependency; they count
// also where a text offers another licence beside them.
var refused = regexp.MustCompile(`general public license|mozilla public license|business source license|server side public license|elastic license|commons clause|creative commons|eclipse public license|all rights reserved\. (no|unauthorized)`)

// eitherBSD begins terms of which one may choose: what follows "alternatively" need
// not be kept.
const eitherBSD = "spdx-license-identifier: bsd-3-clause or gpl-2.0-only"

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)`)
	words       = regexp.MustCompile(`[\s,*#/]+`)
)

// licencesOf names the licences that a text grants.
func licencesOf(text string) ([]string, error) {
	// Comma and space come and go between versions of the same text.
	plain := strings.ToLower(strings.TrimSpace(words.ReplaceAllString(text, " ")))
	if strings.HasPrefix(plain, eitherBSD) {
		plain, _, _ = strings.Cut(plain, " alternatively ")
	}
	if m := refused.FindString(plain); m != "" {
		return nil, fmt.Errorf("the terms speak of %q", m)
	}
	var found []string
	for _, term := range terms {
		has := func(w string) bool { return strings.Contains(plain, words.ReplaceAllString(w, " ")) }
		if !slices.ContainsFunc(term.words, func(w string) bool { return !has(w) }) && (term.not == "" || !has(term.not)) {
			found = append(found, term.name)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("the terms are none of those that are allowed")
	}
	return found, nil
}

// modules are those that anything here is built or tested from: path to folder.
func modules(t *testing.T) map[string]string {
	t.Helper()
	const format = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}"
	cmd := exec.Command("go", "list", "-deps", "-test", "-f", format, module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing the dependencies: %v", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			found[path] = dir
		}
	}
	return found
}

// TestLicences: what the binary is linked from may be, and docs/dependencies.md
// says of each module that is imported here under which licence it is.
func TestLicences(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := modules(t)
	if len(all) < 10 {
		t.Errorf("only %d modules found: they were not looked at", len(all))
	}
	for path, dir := range all {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, e := range entries {
			if !licenceFile.MatchString(e.Name()) || e.IsDir() {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			names, err := licencesOf(string(text))
			if err != nil {
				t.Errorf("%s, %s: %v", path, e.Name(), err)
			}
			found = append(found, names...)
		}
		if len(found) == 0 {
			t.Errorf("%s has no licence that is known to be allowed: look at it, and add its terms here or leave it out", path)
		}
		for _, name := range found {
			if stated, ok := statedLicence(string(doc), path); ok && !strings.Contains(stated, name) {
				t.Errorf("%s is under %s, but docs/dependencies.md says %q", path, name, stated)
			}
		}
	}
}

// statedLicence returns the cell of the page's table, if the module has a row.
func statedLicence(doc, path string) (string, bool) {
	for line := range strings.Lines(doc) {
		if cells := strings.Split(line, "|"); len(cells) > 4 && strings.TrimSpace(cells[1]) == "`"+path+"`" {
			return strings.TrimSpace(cells[3]), true
		}
	}
	return "", false
}

func TestLicencesOf(t *testing.T) {
	const mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this... THE SOFTWARE IS PROVIDED \"AS IS\""
	const bsd = "Redistribution and use in source\nand binary forms, with or without"
	for name, c := range map[string]struct{ text, want string }{
		"MIT":        {mit, "MIT"},
		"BSD 2":      {bsd, "BSD-2-Clause"},
		"BSD 3":      {bsd + "\n// Neither the name of X may be used to endorse or promote\n// products", "BSD-3-Clause"},
		"Apache":     {"Apache License\n   Version 2.0, January 2004", "Apache-2.0"},
		"two":        {mit + "\nApache License, Version 2.0", "Apache-2.0 MIT"},
		"GPL":        {"GNU GENERAL PUBLIC LICENSE\nVersion 2", ""},
		"BSD or GPL": {"/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */\n" + bsd + " endorse or promote products\nALTERNATIVELY, the GNU General Public License", "BSD-3-Clause"},
		"LGPL, too":  {mit + " or the GNU Lesser General\nPublic License", ""},
		"MPL":        {"Mozilla Public License Version 2.0", ""},
		"BUSL":       {"Business Source License 1.1", ""},
		"no terms":   {"All mine.", ""},
		"empty":      {"", ""},
	} {
		got, err := licencesOf(c.text)
		if strings.Join(got, " ") != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
}
