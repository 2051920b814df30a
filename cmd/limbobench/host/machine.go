package host

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and when was measured.
type Machine struct {
	Kernel string    `json:"kernel"`
	Arch   string    `json:"arch"`
	CPU    string    `json:"cpu"`
	CPUs   int       `json:"cpus"`
	Memory int64     `json:"memory_bytes"`
	Go     string    `json:"go"`
	Commit string    `json:"commit,omitempty"`
	Time   time.Time `json:"time"`
	// Load is the load average of the minute before the start.
	Load float64 `json:"load_before"`
}

// Describe returns the machine; root is the source tree that is measured.
func Describe(root string) Machine {
	m := Machine{
		Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Time: time.Now().UTC(),
		CPU: cpuModel(), Commit: commit(root),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		m.Memory = int64(si.Totalram) * int64(si.Unit)
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(b), " ")
		m.Load, _ = strconv.ParseFloat(first, 64) // 0 where the kernel says something else
	}
	return m
}

// String is one line for people.
func (m Machine) String() string {
	s := fmt.Sprintf("Linux %s %s, %d CPUs (%s), %.0f GB, %s, %s",
		m.Kernel, m.Arch, m.CPUs, m.CPU, float64(m.Memory)/(1<<30), m.Go, m.Time.Format("2006-01-02 15:04 MST"))
	if m.Commit != "" {
		s += ", commit " + m.Commit
	}
	return s + fmt.Sprintf(", load before %.2f", m.Load)
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown model"
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if name, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown model"
}

// commit is empty where the sources do not come from git.
func commit(root string) string {
	out, err := exec.Command("git", "-C", root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
