// Package check looks at a host and says what tcplimbo can do there: what was
// found, what follows from it, and what to do about it. It only reads; nothing
// on the host is changed, and it is useful without any privilege.
package check

import (
	"context"
	"errors"
	"strings"
	"syscall"
)

// Status is how a line of the report stands.
type Status string

// The states of a line.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Exit codes, as sysexits.h numbers them.
const (
	// ExitUnavailable says that this kernel cannot (EX_UNAVAILABLE).
	ExitUnavailable = 69
	// ExitNoPermission says that a permission is missing (EX_NOPERM).
	ExitNoPermission = 77
)

// Result is one line of the report.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what is there.
	Found string `json:"found"`
	// Consequence is what follows from it, "" if nothing worth saying does.
	Consequence string `json:"consequence,omitempty"`
	// Remedy is what to do; "" if and only if all is well.
	Remedy string `json:"remedy,omitempty"`

	// exit is the exit code a failure causes.
	exit int
}

func ok(name, found string) Result { return Result{Name: name, Status: OK, Found: found} }

func warn(name, found, consequence, remedy string) Result {
	return Result{Name: name, Status: Warn, Found: found, Consequence: consequence, Remedy: remedy}
}

// unavailable is a failure that no permission repairs.
func unavailable(name, found, consequence, remedy string) Result {
	return Result{name, Fail, found, consequence, remedy, ExitUnavailable}
}

// notPermitted is a failure that a permission repairs.
func notPermitted(name, found, consequence, remedy string) Result {
	return Result{name, Fail, found, consequence, remedy, ExitNoPermission}
}

// Report is the whole answer.
type Report struct{ Checks []Result }

// ExitCode is 0 if `run` would work with eBPF. A kernel that cannot comes before a
// permission that is missing: no permission repairs it.
func (r *Report) ExitCode() int {
	code := 0
	for _, c := range r.Checks {
		switch {
		case c.Status != Fail:
		case c.exit == ExitUnavailable:
			return ExitUnavailable
		default:
			code = c.exit
		}
	}
	return code
}

// Failed returns the names of the failed lines.
func (r *Report) Failed() []string {
	var names []string
	for _, c := range r.Checks {
		if c.Status == Fail {
			names = append(names, c.Name)
		}
	}
	return names
}

// Kernel tries in the kernel what only the tracer can. Each method gives back
// all that it made.
type Kernel interface {
	// LoadPrograms loads and attaches the programs of `run`. It returns in lacking why
	// it cannot have one that it does without.
	LoadPrograms(ctx context.Context) (lacking, err error)
	// OpenIterators runs the iterators that list sockets and descriptors.
	OpenIterators(ctx context.Context) error
	// TellSYNCauses loads what tells why a SYN is not answered.
	TellSYNCauses(ctx context.Context) error
	// AskSockDiag asks netlink for sockets, which needs no BPF. It returns in how
	// many network namespaces, and what is not known that way.
	AskSockDiag(ctx context.Context) (namespaces int, lost string, err error)
	// TakeStacks attaches what takes user stacks.
	TakeStacks(ctx context.Context) StackHooks
}

// Run makes the report.
func Run(ctx context.Context, h Host, k Kernel) *Report {
	r := &Report{}
	add := func(results ...Result) { r.Checks = append(r.Checks, results...) }
	add(h.kernel(), h.btf(), h.tracepoints())
	add(h.capabilities()...)
	add(h.userNamespace(), h.lockdown())

	blocked := r.ExitCode() != 0
	programs, loads := tryPrograms(ctx, blocked, k)
	add(h.lsm(loads), h.seccomp(loads), h.memlock(), programs)
	add(tryKernel(ctx, "iterators", blocked, k.OpenIterators,
		"work", "sockets that are older than the start and the holders of all sockets stay unknown"))
	add(h.synCauses(ctx, loads, k), h.stacks(ctx, loads, k))
	add(h.sockDiag(ctx, r.ExitCode() != 0, k))
	add(h.jit(), h.unprivilegedBPF(), h.pidNamespace(), h.netNamespace(), h.connectionTable(), h.hidepid(), h.sandbox())
	return r
}

// tryPrograms also reports whether `run` would work.
func tryPrograms(ctx context.Context, blocked bool, k Kernel) (line Result, loads bool) {
	const name, works = "programs", "loaded and attached"
	var lacking error
	line = tryKernel(ctx, name, blocked, func(ctx context.Context) (err error) {
		lacking, err = k.LoadPrograms(ctx)
		return err
	}, works, "nothing is seen")
	loads = line.Status == OK
	if loads && lacking != nil {
		line = warn(name, works+", but "+oneLine(lacking),
			"a state change inside another one is found by a walk, up to 30 s late", reportIt)
	}
	return line, loads
}

// reportIt is what to do about a kernel that nobody has met.
const reportIt = "report it with the output of `tcplimbo check -o json` and `uname -a`"

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// tryKernel turns an attempt into a line. It is not made where it cannot work:
// its error would only repeat, less clearly, what another line says.
func tryKernel(ctx context.Context, name string, blocked bool, attempt func(context.Context) error, works, lost string) Result {
	if blocked {
		return warn(name, "not tried", "what fails above comes first", "repair the failed lines, then run `tcplimbo check` again")
	}
	err := attempt(ctx)
	if err == nil {
		return ok(name, works)
	}
	found := oneLine(err)
	if errors.Is(err, syscall.EPERM) {
		return notPermitted(name, found, lost,
			"a seccomp filter or a security module denies bpf(2): allow it for tcplimbo, or run it unconfined")
	}
	return unavailable(name, found, lost, reportIt)
}
