package main

import (
	"regexp"
	"strings"
	"time"
)

// version is one version in the spellings of those who read it.
type version struct {
	// described is git's and the binary's own.
	described string
	// semantic orders as Debian orders it (deb-version(7)): 1.2.3, 1.2.3~rc1,
	// 1.2.3+4.gabcdef0, and 0~20260102.abcdef0 before the first tag.
	semantic string
}

var (
	tagged    = regexp.MustCompile(`^v(\d+\.\d+\.\d+)(?:-([a-z][0-9A-Za-z.]*))?(?:-(\d+)-g([0-9a-f]+))?$`)
	onlyAHash = regexp.MustCompile(`^[0-9a-f]+$`)
	strange   = regexp.MustCompile(`[^0-9A-Za-z.]+`)
)

// parseVersion reads what `git describe --tags --always --dirty` prints.
func parseVersion(described string, when time.Time) version {
	text, dirty := strings.CutSuffix(described, "-dirty")
	date := when.Format("20060102")
	var semantic string
	if m := tagged.FindStringSubmatch(text); m != nil {
		semantic = m[1]
		if m[2] != "" {
			semantic += "~" + m[2]
		}
		if m[3] != "" {
			semantic += "+" + m[3] + ".g" + m[4]
		}
	} else if onlyAHash.MatchString(text) {
		semantic = "0~" + date + "." + text
	} else {
		semantic = "0~" + date + "." + strange.ReplaceAllString(text, ".")
	}
	if dirty {
		semantic += "+dirty"
	}
	return version{described, semantic}
}

// tag is the version as an image's tag, which takes neither + nor ~.
func (v version) tag() string {
	return strings.NewReplacer("+", "-", "~", "-").Replace(v.semantic)
}
