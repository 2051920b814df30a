package check

import (
	"fmt"
	"strings"
)

// Blocked is why the programs cannot be loaded here. It is one line that names
// what is missing and what to do.
type Blocked struct {
	// Code is the exit code: ExitUnavailable or ExitNoPermission.
	Code int
	// What and Remedy are the two halves of the line.
	What, Remedy string
}

func (b *Blocked) Error() string { return b.What + "; " + b.Remedy }

// Preflight returns a *Blocked if loading is sure to fail, nil if it is worth
// trying. It takes less than a millisecond and needs no permission.
func (h Host) Preflight() error {
	for _, r := range []Result{h.kernel(), h.btf(), h.lockdown()} {
		if r.Status == Fail {
			return &Blocked{r.exit, fmt.Sprintf("%s: %s: %s", r.Name, r.Found, r.Consequence), r.Remedy}
		}
	}
	if missing := h.missing(); len(missing) > 0 {
		what := "missing " + strings.Join(missing, " and ") + ", which loading BPF programs takes"
		return &Blocked{ExitNoPermission, what, capsGrant}
	}
	if r := h.userNamespace(); r.Status == Fail {
		return &Blocked{r.exit, "user namespace: " + r.Found + ": " + r.Consequence, r.Remedy}
	}
	return nil
}
