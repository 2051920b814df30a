package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// confineEnv makes the test binary drop something and then become the program
// in its arguments: no setpriv(1) or unshare(1) is needed.
const confineEnv = "TCPLIMBO_E2E_CONFINE"

// The values of confineEnv.
const (
	confineNoBTF = "no-btf"
	// confineCaps is followed by capability numbers, separated by commas.
	confineCaps = "no-caps:"
)

func runConfined() {
	how, ok := os.LookupEnv(confineEnv)
	if !ok {
		return
	}
	_ = os.Unsetenv(confineEnv)
	if err := confine(how); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		os.Exit(125)
	}
}

func confine(how string) error {
	// Bounding set and mount namespace belong to the thread.
	runtime.LockOSThread()
	switch caps, drop := strings.CutPrefix(how, confineCaps); {
	case drop:
		for c := range strings.SplitSeq(caps, ",") {
			n, err := strconv.Atoi(c)
			if err != nil {
				return fmt.Errorf("reading a capability number: %w", err)
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
				return fmt.Errorf("dropping capability %d: %w", n, err)
			}
		}
	case how == confineNoBTF:
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("leaving the mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("making mounts private: %w", err)
		}
		if err := unix.Mount("none", "/sys/kernel/btf", "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("hiding the kernel's BTF: %w", err)
		}
	default:
		return fmt.Errorf("unknown way to confine %q", how)
	}
	return fmt.Errorf("executing %s: %w", os.Args[1], syscall.Exec(os.Args[1], os.Args[1:], os.Environ()))
}
