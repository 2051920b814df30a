package pprof

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// own is this process's profile.
func own(t testing.TB, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup(name).WriteTo(&b, 0); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// getFrom fetches from a server of this process.
func getFrom(t *testing.T, h http.HandlerFunc, p patience) ([]byte, error) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	defer s.CloseClientConnections()
	return get(t.Context(), int(ns.Fd()), netip.MustParseAddrPort(s.Listener.Addr().String()), p)
}

func TestAnswers(t *testing.T) {
	led := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led = true }))
	defer elsewhere.Close()
	bomb := packed(make([]byte, maxProfile+1))
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"a profile", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(own(t, "goroutine")) }, ResultOK},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, ResultNoEndpoint},
		{"not found", http.NotFound, ResultNoEndpoint},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, ResultNoEndpoint},
		{"another profile", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(own(t, "heap")) }, ResultBroken},
		{"half a profile", func(w http.ResponseWriter, _ *http.Request) {
			b := own(t, "goroutine")
			_, _ = w.Write(b[:len(b)/2])
		}, ResultBroken},
		{"nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, ResultNoEndpoint},
		{"a bomb", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bomb) }, ResultTooLarge},
		{"an answer without end", func(w http.ResponseWriter, r *http.Request) {
			for b := make([]byte, 64<<10); r.Context().Err() == nil; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, ResultTooLarge},
		{"long headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			_, _ = w.Write(own(t, "goroutine"))
		}, ResultNoEndpoint},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ResultNoAnswer},
		{"a slow answer", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte{0x1f})
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, ResultNoAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := patient
			if tt.want == ResultNoAnswer {
				p.answer = 100 * time.Millisecond
			}
			b, err := getFrom(t, tt.handler, p)
			if err == nil {
				_, err = read(b)
			}
			if got := resultOf(err); got != tt.want {
				t.Errorf("%s, want %s: %v", got, tt.want, err)
			}
		})
	}
	if led {
		t.Error("a redirect was followed")
	}
}

// A port where something listens that never answers the connection.
func TestDialEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if _, err := get(ctx, int(ns.Fd()), netip.MustParseAddrPort("127.0.0.1:1"), patient); err == nil {
		t.Error("no error")
	}
}

func TestOwnProfile(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	for range 5 {
		go waitHere(never)
	}
	var d *digest
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		if d, err = read(own(t, "goroutine")); err != nil {
			t.Fatal(err)
		}
		if d.in[here].goroutines == 5 {
			break
		}
	}
	if in := d.in[here]; in.goroutines != 5 || in.parked.Function != here || !strings.HasSuffix(in.parked.File, "hostile_test.go") || in.parked.Line == 0 {
		t.Errorf("counted %+v", in)
	}
}

const here = "github.com/tcplimbo/tcplimbo/userspace/pprof.waitHere"

func waitHere(never chan struct{}) { <-never }

// message makes a field of bytes.
func message(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), slices.Concat(parts...))
}

func number(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

// goroutineKind says that a profile counts goroutines.
func goroutineKind() []byte {
	return slices.Concat(message(profileString), message(profileString, []byte("goroutine")), message(profileKind, number(kindName, 1)))
}

func TestDecodeIsBounded(t *testing.T) {
	tests := []struct {
		name string
		more []byte
		want error
	}{
		{"nothing more", nil, nil},
		{"samples without end", bytes.Repeat(message(profileSample), maxSamples+1), errTooLarge},
		{"locations without end", manyOf(profileLocation, maxLocations), errTooLarge},
		{"functions without end", manyOf(profileFunction, maxFunctions), errTooLarge},
		{"strings without end", bytes.Repeat(message(profileString), maxStrings), errTooLarge},
		{"lines without end", message(profileLocation, bytes.Repeat(message(locationLine), maxDepth+1)), errTooLarge},
		{"fewer than no goroutines", message(profileSample, number(sampleValue, 1<<63)), errBroken},
		{"half a field", message(profileSample, []byte{0x80}), errBroken},
		{"a place that is nowhere", message(profileSample, number(sampleLocation, 77), number(sampleValue, 1)), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := decode(append(goroutineKind(), tt.more...))
			if err != tt.want {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil {
				p.digest()
			}
		})
	}
}

func manyOf(num protowire.Number, n int) []byte {
	var out []byte
	for id := range n + 1 {
		out = append(out, message(num, number(1, uint64(id)))...)
	}
	return out
}

// Deep stacks of few functions, many times over, come to an end.
func TestDigestIsBounded(t *testing.T) {
	b := goroutineKind()
	for id := range uint64(500) {
		b = append(b, message(profileString, []byte("main.f"+strconv.FormatUint(id, 10)))...)
		b = append(b, message(profileFunction, number(functionID, id), number(functionName, id+2))...)
		b = append(b, message(profileLocation, number(locationID, id), message(locationLine, number(lineFunction, id)))...)
	}
	var places []byte
	for id := range uint64(500) {
		places = append(places, number(sampleLocation, id)...)
	}
	for range 1_500 {
		b = append(b, message(profileSample, places, number(sampleValue, 1))...)
	}
	p, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	d := p.digest()
	if len(d.in) > maxKept || d.total != 1_500 {
		t.Errorf("%d functions are kept of %d goroutines", len(d.in), d.total)
	}
}

// Programs that are forgotten make room, those that wait are not forgotten.
func TestProgramsAreBounded(t *testing.T) {
	c := New(Options{Now: func() time.Time { return time.Unix(1e9, 0) }})
	for pid := range uint32(1000) {
		c.About(&finding.Finding{Owner: finding.Owner{Process: finding.Process{
			Task: flow.Task{PID: 1<<23 + pid, StartBoot: time.Second}, Relation: finding.RelationHolder,
		}}})
	}
	if len(c.programs) > maxPrograms || len(c.queue) != maxQueue {
		t.Errorf("%d programs are known, %d wait", len(c.programs), len(c.queue))
	}
}

func FuzzRead(f *testing.F) {
	f.Add(goroutineKind())
	f.Add(append(goroutineKind(), message(profileSample, number(sampleLocation, 1), number(sampleValue, 1))...))
	r, err := gzip.NewReader(bytes.NewReader(own(f, "goroutine")))
	if err != nil {
		f.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decode(b)
		if err != nil {
			return
		}
		d := p.digest()
		if d.total < 0 || len(d.in) > maxKept {
			t.Errorf("%d goroutines, %d functions", d.total, len(d.in))
		}
		for name, in := range d.in {
			if in.goroutines < 0 || in.parked.Line < 0 || len(name) > 512 {
				t.Errorf("in %q: %+v", name, in)
			}
		}
	})
}

func TestOrder(t *testing.T) {
	var at []netip.AddrPort
	for _, a := range []string{"10.0.0.1:1", "10.0.0.1:2", "127.0.0.1:3", "[::1]:4", "10.0.0.1:5"} {
		at = append(at, netip.MustParseAddrPort(a))
	}
	got := order(slices.Clone(at), at[4], 3)
	if want := []netip.AddrPort{at[4], at[3], at[0], at[1], at[2]}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if got := order(slices.Repeat(at, 10), netip.AddrPort{}, 0); len(got) != maxTried {
		t.Errorf("%d addresses are tried", len(got))
	}
}
