package tracer

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

func kept() flow.Kept {
	return flow.Kept{
		FindingID: "00112233445566778899",
		Sock: flow.ID{
			Key:   flow.Key{Addr: 0xffff_8880_1234_5678, Cookie: 0x7f0d},
			Local: netip.MustParseAddrPort("10.0.0.1:5000"), Peer: netip.MustParseAddrPort("[fd00::1]:443"), NetNS: 4026531840, CgroupID: 9,
		},
		State: flow.StateCloseWait, TimeWait: true, Role: flow.RoleServer, Since: time.Hour, Exact: true,
		Task:   flow.Task{PID: 1, TID: 2, UID: 3, Comm: "fifteen bytes x", StartBoot: time.Minute},
		Reason: "listener_overflow", Wall: time.Unix(0, 1_700_000_000_123_456_789), NextUpdate: 2 * time.Hour, Interval: time.Hour, Threshold: 30 * time.Second,
		SndUna: 1, CopiedSeq: 1<<32 - 1, RcvNxt: 3, Inode: 4711,
		Owner: flow.Task{PID: 10, TID: 10, UID: 0, Comm: "a\nb", StartBoot: time.Second}, Relation: "last_holder", FD: -1,
		Path: "/usr/bin/prog",
	}
}

func TestKeptGoesThere(t *testing.T) {
	for _, change := range []func(*flow.Kept){
		func(*flow.Kept) {},
		func(k *flow.Kept) { k.FindingID, k.Reason, k.Relation, k.Path = "", "", "", "" },
		func(k *flow.Kept) { k.Sock.Cookie, k.Polled = 0, true },
		func(k *flow.Kept) { k.Grouped = true },
	} {
		want := kept()
		change(&want)
		b, err := encodeKept(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got flow.Kept
		if err := decodeKept(b, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v:\n got %+v\nwant %+v", err, got, want)
		}
		b[0]++
		if err := decodeKept(b, &got); !errors.Is(err, errPinned) {
			t.Errorf("another version: %v", err)
		}
	}
	long := kept()
	long.Path = strings.Repeat("/x", pinPath)
	b, err := encodeKept(&long)
	var got flow.Kept
	if err != nil || decodeKept(b, &got) != nil || got.Path != "" {
		t.Errorf("a path that is too long is %q: %v", got.Path, err)
	}
}

func FuzzKept(f *testing.F) {
	k := kept()
	b, err := encodeKept(&k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		var k flow.Kept
		if decodeKept(b, &k) == nil && (len(b) != pinnedSize || k.State >= flow.StateMax) {
			t.Errorf("%d bytes: %+v", len(b), k)
		}
	})
}

// mountBPF mounts a BPF file system for the test.
func mountBPF(t *testing.T) string {
	t.Helper()
	requireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		t.Fatalf("mounting a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

func openPins(t *testing.T, dir string) (*Pins, []flow.Kept) {
	t.Helper()
	p, err := OpenPins(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.Take()
	if err != nil {
		t.Fatal(err)
	}
	return p, all
}

func TestPins(t *testing.T) {
	dir := filepath.Join(mountBPF(t), "a", "b")
	p, all := openPins(t, dir)
	if len(all) != 0 || p.Discarded {
		t.Errorf("a new directory has %v", all)
	}
	finding, sock := kept(), kept()
	sock.FindingID = ""
	for _, k := range []*flow.Kept{&finding, &sock} {
		if err := p.Keep(k); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenPins(dir); !errors.Is(err, ErrPinsInUse) {
		t.Errorf("a second daemon: %v", err)
	}
	if _, err := Unpin(dir); !errors.Is(err, ErrPinsInUse) {
		t.Errorf("unpin beside a daemon: %v", err)
	}
	closing(t, p)
	p, all = openPins(t, dir)
	if len(all) != 2 {
		t.Errorf("kept %v", all)
	}
	for _, k := range []*flow.Kept{&finding, &sock, &sock} {
		if err := p.Forget(k); err != nil {
			t.Error(err)
		}
	}
	closing(t, p)
	if p, all = openPins(t, dir); len(all) != 0 {
		t.Errorf("after Forget: %v", all)
	}
	closing(t, p)
	for _, want := range []bool{true, false} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if there, err := Unpin(dir); err != nil || there != want {
			t.Errorf("unpin: %v, %v", there, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

func closing(t *testing.T, p *Pins) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestPinsOfAnotherVersion: a map of another layout and values of another version
// are removed, and that is told.
func TestPinsOfAnotherVersion(t *testing.T) {
	dir := mountBPF(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Pin(filepath.Join(dir, pinName)); err != nil {
		t.Fatal(err)
	}
	p, all := openPins(t, dir)
	if !p.Discarded || len(all) != 0 {
		t.Errorf("discarded %v, kept %v", p.Discarded, all)
	}
	if err := p.m.Put(pinKey{1}, make([]byte, pinnedSize)); err != nil {
		t.Fatal(err)
	}
	closing(t, p)
	p, all = openPins(t, dir)
	if !p.Discarded || len(all) != 0 {
		t.Errorf("discarded %v, kept %v", p.Discarded, all)
	}
	closing(t, p)
	if _, err := OpenPins(t.TempDir()); !errors.Is(err, ErrNotBPFFS) {
		t.Errorf("no BPF file system: %v", err)
	}
}

// requireRoot skips where maps cannot be made; see newTracer for REQUIRE_BPF.
func requireRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("REQUIRE_BPF") == "1":
		t.Fatal("mounting and pinning need root, and REQUIRE_BPF=1 forbids to skip")
	default:
		t.Skip("mounting and pinning need root")
	}
}
