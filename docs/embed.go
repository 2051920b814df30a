// Package docs holds the pages that the program prints too, so that people who
// read them on the web and on a terminal read the same text.
package docs

import "embed"

// Findings has the folder findings: a page a kind, and outcomes.md.
//
//go:embed findings/*.md
var Findings embed.FS
