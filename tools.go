//go:build tools

// Package tools names the programs that building needs, so that go.mod pins them.
package tools

import (
	_ "github.com/cilium/ebpf/cmd/bpf2go"
)
