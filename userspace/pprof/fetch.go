package pprof

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

const (
	// maxBody is how much of an answer is read, maxProfile how much it may be
	// unpacked. 100,000 goroutines in 1,000 places take some 200 KB.
	maxBody    = 8 << 20
	maxProfile = 8 << 20
	// The profile that is counted by stack: debug=2 would name each goroutine,
	// but the program stands still while it writes that.
	path = "/debug/pprof/goroutine"
	// handler is in every program that can answer: no other one is asked, at
	// ports that are for something else.
	handler = "net/http/pprof.Index"
)

// answer is what a program said.
type answer struct {
	digest *digest
	at     netip.AddrPort
	comm   string
	// raw is the answer as it came.
	raw []byte
}

var (
	errNotGo      = errors.New("no Go program")
	errNoPprof    = errors.New("a Go program without net/http/pprof")
	errNoEndpoint = errors.New("no address that answers with a goroutine profile")
)

// answer asks a program at its addresses, first at where it answered last.
func (c *Capture) answer(ctx context.Context, p stack.Process, last netip.AddrPort, suspect uint16) (*answer, error) {
	proc := c.opts.Proc + "/" + strconv.FormatUint(uint64(p.PID), 10)
	isGo, hasPprof := stack.GoProgram(ctx, proc+"/exe", handler)
	if !hasPprof {
		if err := p.Check(proc); err != nil {
			return nil, failed(ResultGone, err)
		}
		if isGo {
			return nil, failed(ResultNone, errNoPprof)
		}
		return nil, failed(ResultNative, errNotGo)
	}
	ns, err := os.Open(proc + "/ns/net")
	if err != nil {
		return nil, denied(err)
	}
	defer ns.Close()
	at, err := listenersOf(proc, c.opts.Only)
	if err != nil {
		return nil, denied(err)
	}
	comm, _ := os.ReadFile(proc + "/comm")
	// Read last: a pid that was reused before shows here.
	if err := p.Check(proc); err != nil {
		return nil, failed(ResultGone, err)
	}
	result := failed(ResultNoEndpoint, errNoEndpoint)
	for _, addr := range order(at, last, suspect) {
		raw, err := get(ctx, int(ns.Fd()), addr, c.patience)
		if err != nil {
			result = worse(result, err)
			continue
		}
		d, err := read(raw)
		if err != nil {
			result = worse(result, err)
			continue
		}
		return &answer{digest: d, at: addr, comm: strings.TrimSpace(string(comm)), raw: raw}, nil
	}
	return nil, result
}

// order puts the likely addresses first: the one that answered before, then those that
// only this host reaches, as is good practice; last the one where sockets are in limbo.
func order(at []netip.AddrPort, last netip.AddrPort, suspect uint16) []netip.AddrPort {
	rank := func(a netip.AddrPort) int {
		switch {
		case a == last:
			return 0
		case a.Port() == suspect:
			return 3
		case a.Addr().IsLoopback():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(at, func(a, b netip.AddrPort) int { return cmp.Compare(rank(a), rank(b)) })
	return at[:min(len(at), maxTried)]
}

// worse keeps of two failures the one that tells more: that most ports serve
// something else is no news.
func worse(one, other error) error {
	if resultOf(other) == ResultNoEndpoint {
		return one
	}
	return other
}

func denied(err error) error {
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EPERM) {
		return failed(ResultDenied, err)
	}
	return failed(ResultGone, err)
}

// get fetches the goroutine profile at an address of a network namespace.
func get(ctx context.Context, ns int, addr netip.AddrPort, p patience) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.answer)
	defer cancel()
	client := http.Client{
		// A redirect could lead anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, ns, addr, p.connect) },
			// No proxy, whatever the environment says; the connection ends with
			// the answer.
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "tcplimbo")
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, failed(ResultDenied, err)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, failed(ResultNoAnswer, err)
	case err != nil:
		// Most ports speak something else.
		return nil, failed(ResultNoEndpoint, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, failed(ResultNoEndpoint, fmt.Errorf("answer of status %d", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, failed(ResultNoAnswer, err)
	case len(body) > maxBody:
		return nil, failed(ResultTooLarge, errTooLarge)
	}
	return body, nil
}

// dial connects from inside of a network namespace. A socket stays in the one
// it was made in, so the thread that went there has no other use and ends.
func dial(ctx context.Context, ns int, addr netip.AddrPort, within time.Duration) (conn net.Conn, err error) {
	onThread(func() {
		if err = enter(ns); err != nil {
			return
		}
		// An address in numbers: the dialing stays on this goroutine, so on
		// this thread.
		conn, err = (&net.Dialer{Timeout: within}).DialContext(ctx, "tcp", addr.String())
	})
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		// It ends with a reset: a program that does not close its connections
		// gets no further one to forget.
		err = tcp.SetLinger(0)
	}
	return conn, err
}

// enter takes this thread into a network namespace. It does not need the right to where it
// already is.
func enter(ns int) error {
	var to, is unix.Stat_t
	if err := unix.Fstat(ns, &to); err != nil {
		return fmt.Errorf("reading network namespace: %w", err)
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &is); err == nil && to.Dev == is.Dev && to.Ino == is.Ino {
		return nil
	}
	if err := netns.Set(netns.NsHandle(ns)); err != nil {
		return fmt.Errorf("entering network namespace: %w", err)
	}
	return nil
}

// onThread calls fn on a thread that ends with it. The process's first thread
// cannot end, and would show the namespace as the process's own; it is left
// alone.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// While this goroutine has the first thread, another one cannot.
			onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		fn()
	}()
	<-done
}

// read unpacks a profile and counts it.
func read(raw []byte) (*digest, error) {
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, failed(ResultNoEndpoint, fmt.Errorf("unpacking profile: %w", err))
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxProfile+1))
	if err != nil {
		return nil, failed(ResultBroken, fmt.Errorf("unpacking profile: %w", err))
	}
	if len(plain) > maxProfile {
		return nil, failed(ResultTooLarge, errTooLarge)
	}
	p, err := decode(plain)
	if err != nil {
		return nil, failed(ResultBroken, fmt.Errorf("reading profile: %w", err))
	}
	return p.digest(), nil
}
