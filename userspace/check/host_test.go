package check

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// facts are the files and links of a made-up host. A value that begins with
// "->" is a link.
type facts map[string]string

const (
	allCaps = "000001ffffffffff"
	noCaps  = "0000000000000000"
)

func status(caps string, extra ...string) string {
	return "Name:\ttcplimbo\nNSpid:\t42\nCapInh:\t0000000000000000\nCapEff:\t" + caps + "\nSeccomp:\t0\n" + strings.Join(extra, "\n")
}

// wellFacts are those of a host on which everything works.
func wellFacts() facts {
	return facts{
		btfPath:                                     btfWith("btf_trace_inet_sock_set_state", "btf_trace_tcp_retransmit_skb"),
		"proc/self/status":                          status(allCaps),
		"proc/self/ns/user":                         "->user:[4026531837]",
		"proc/self/ns/pid":                          "->pid:[4026531836]",
		"proc/self/ns/net":                          "->net:[4026531840]",
		"proc/self/mountinfo":                       "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw\n",
		"proc/self/attr/current":                    "unconfined",
		securityFS + "/lockdown":                    "[none] integrity confidentiality",
		securityFS + "/lsm":                         "lockdown,capability,yama,apparmor",
		"sys/fs/selinux/enforce":                    "0",
		"proc/sys/net/core/dummy":                   "",
		"proc/sys/net/core/netdev_budget":           "300",
		"proc/sys/net/core/bpf_jit_enable":          "1",
		"proc/sys/kernel/unprivileged_bpf_disabled": "2",
		seccompActions:                              "kill_process kill_thread trap errno user_notif trace log allow",
		kallsymsPath:                                "0000000000000000 A fixed_percpu_data\nffffffff81000000 T startup_64\nffffffff81000060 T secondary_startup_64\n",
	}
}

// hiddenSymbols is what those read whom kernel.kptr_restrict shuts out.
const hiddenSymbols = "0000000000000000 T startup_64\n0000000000000000 T secondary_startup_64\n"

// with returns the facts of a host that differs from a well one. "-" removes a
// file.
func with(changes facts) facts {
	all := wellFacts()
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "-" })
	return all
}

func btfWith(names ...string) string {
	text := "\x00int\x00" + strings.Join(names, "\x00") + "\x00"
	header := btfHeader{Magic: btfMagic, Version: 1, HdrLen: 24, TypeLen: 4, StrOff: 4, StrLen: uint32(len(text))}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, header); err != nil {
		panic(err)
	}
	b.WriteString("TYPE" + text)
	return b.String()
}

// host writes the facts to a directory.
func host(t *testing.T, release string, files facts) Host {
	t.Helper()
	root := t.TempDir()
	for name, value := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(value, "->"); link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(value), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Host{
		Root:         root,
		Release:      func() (string, error) { return release, nil },
		MemlockLimit: func() (uint64, error) { return 64 << 10, nil },
	}
}

func TestParseVersion(t *testing.T) {
	tests := []struct {
		release string
		want    version
		known   bool
	}{
		{"5.10.0-28-amd64", version{5, 10}, true},
		{"6.18.44-fc-v669", version{6, 18}, true},
		{"7.2-rc1", version{7, 2}, true},
		{"10.0", version{10, 0}, true},
		{"", version{}, false},
		{"next", version{}, false},
	}
	for _, tt := range tests {
		got, known := parseVersion(tt.release)
		if known != tt.known || known && got != tt.want {
			t.Errorf("%q: got %v %v, want %v %v", tt.release, got, known, tt.want, tt.known)
		}
	}
	if !(version{4, 19}).less(version{5, 10}) || !(version{5, 9}).less(version{5, 10}) || (version{6, 1}).less(version{5, 10}) {
		t.Error("versions are ordered wrongly")
	}
}

func TestSystemReadsThisHost(t *testing.T) {
	h := System()
	if r := h.kernel(); r.Status == Warn {
		t.Errorf("the release is not understood: %+v", r)
	}
	if h.status("CapEff") == "" || h.namespace("pid") == "" {
		t.Error("/proc/self is not understood")
	}
	if limit, err := h.MemlockLimit(); err != nil || limit == 0 {
		t.Errorf("memlock limit %d, %v", limit, err)
	}
	if math.MaxUint64>>20 < lockedMemory {
		t.Error("no limit counts as too little")
	}
}

// FuzzHost sees that hostile kernel files (a container can mount anything over
// them) make no panic and no line that breaks the table.
func FuzzHost(f *testing.F) {
	f.Add([]byte(btfWith("x")), "CapEff:\tffff", "1 2 3 4 /proc 5 - proc proc hidepid=2", "[none]")
	f.Add([]byte{0x9f, 0xeb, 1, 0, 0xff, 0xff, 0xff, 0xff}, "CapEff:", " - ", "[")
	f.Fuzz(func(t *testing.T, btf []byte, status, mounts, lockdown string) {
		h := host(t, "6.1", facts{
			btfPath: string(btf), "proc/self/status": status, "proc/self/mountinfo": mounts,
			securityFS + "/lockdown": lockdown, securityFS + "/lsm": lockdown, "proc/self/attr/current": lockdown,
			"proc/sys/net/core/bpf_jit_enable": lockdown,
		})
		report := Run(t.Context(), h, fakeKernel{})
		var out bytes.Buffer
		if err := report.WriteTable(&out, 80, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\x1b\x00\u202e") {
				t.Errorf("line %q", line)
			}
		}
		if err := h.Preflight(); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
