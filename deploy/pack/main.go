// Command pack makes what is released from binaries that were built before: a
// container image, Debian packages, tar archives, the Helm chart, a software
// bill of materials for each binary, and the checksums of all of them. The same
// input gives the same bytes: every time stamp is that of the commit, every
// owner is root, and no mode depends on the umask.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// architectures are those that the BPF object is made for.
var architectures = []string{"amd64", "arm64"}

// release is what is packed, from where and whereto.
type release struct {
	// root is the checkout; binaries has linux-ARCH/tcplimbo.
	root, binaries, out string
	version             version
	commit              string
	// time is the commit's; it stands in for every time stamp.
	time time.Time
}

func (r *release) binary(arch string) string {
	return filepath.Join(r.binaries, "linux-"+arch, "tcplimbo")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "pack: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	r, what, err := parse(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return fmt.Errorf("making output folder: %w", err)
	}
	switch what {
	case "image":
		return r.image()
	case "package":
		return r.packages()
	}
	return fmt.Errorf("%q is not known; say image or package", what)
}

func parse(args []string) (*release, string, error) {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	r := &release{}
	var described string
	var epoch int64
	flags.StringVar(&r.root, "root", ".", "the checkout")
	flags.StringVar(&r.binaries, "binaries", "bin", "folder with linux-ARCH/tcplimbo")
	flags.StringVar(&r.out, "out", "dist", "where to write")
	flags.StringVar(&described, "version", "", "what git describe says")
	flags.StringVar(&r.commit, "commit", "", "the commit's hash")
	flags.Int64Var(&epoch, "epoch", 0, "the commit's time in seconds since 1970")
	if err := flags.Parse(args); err != nil {
		return nil, "", err
	}
	if flags.NArg() != 1 || described == "" || epoch <= 0 {
		return nil, "", errors.New("usage: pack -version V -epoch SECONDS [flags] image|package")
	}
	r.time = time.Unix(epoch, 0).UTC()
	r.version = parseVersion(described, r.time)
	return r, flags.Arg(0), nil
}
