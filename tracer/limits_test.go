package tracer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// sysctl sets a value of the namespace that the test is in; false if this kernel
// has no such.
func sysctl(t testing.TB, name string, value int) bool {
	t.Helper()
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4", name), []byte(strconv.Itoa(value)), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("setting %s to %d: %v", name, value, err)
	}
	return err == nil
}

// settings leaves out what differs from reading to reading.
func settings(l flow.Limits) flow.Limits {
	l.HZ, l.Jiffies = 0, 0
	return l
}

// A socket without options of its own has the limits of its network namespace,
// and not those of the one the tracer was loaded in.
func TestReadLimitsOfNamespace(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	newNamespace(t)
	want := flow.Limits{
		KeepaliveTime: 11 * time.Second, KeepaliveInterval: 12 * time.Second, KeepaliveProbes: 13,
		SynRetries: 14, Retries2: 16, OrphanRetries: 17, FinTimeout: 18 * time.Second,
		Probing: -1, KeepaliveExpires: -1,
	}
	for name, value := range map[string]int{
		"tcp_keepalive_time": 11, "tcp_keepalive_intvl": 12, "tcp_keepalive_probes": 13,
		"tcp_syn_retries": 14, "tcp_retries2": 16, "tcp_orphan_retries": 17, "tcp_fin_timeout": 18,
	} {
		if !sysctl(t, name, value) {
			t.Errorf("this kernel has no %s", name)
		}
	}
	if sysctl(t, "tcp_syn_linear_timeouts", 15) {
		want.SynLinearTimeouts = 15
	}
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_rto_max_ms"); err == nil {
		sysctl(t, "tcp_rto_max_ms", 19000)
		want.RTOMax = 19 * time.Second
	}
	for _, f := range families {
		client, _ := pair(t, f)
		if got := settings(readSocket(t, tr, client).Limits); got != want {
			t.Errorf("%s: got\n%+v, want\n%+v", f.name, got, want)
		}
	}
}

// The socket's own options come first.
func TestReadLimitsOfSocket(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	tests := []struct {
		name          string
		level, option int
		value         int
		check         func(*flow.Limits) bool
	}{
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 21, func(l *flow.Limits) bool { return l.KeepaliveTime == 21*time.Second }},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 22, func(l *flow.Limits) bool { return l.KeepaliveInterval == 22*time.Second }},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 23, func(l *flow.Limits) bool { return l.KeepaliveProbes == 23 }},
		{"TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 24, func(l *flow.Limits) bool { return l.SynRetries == 24 }},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 2525, func(l *flow.Limits) bool { return l.UserTimeout == 2525*time.Millisecond }},
		{"TCP_LINGER2", unix.IPPROTO_TCP, unix.TCP_LINGER2, 26, func(l *flow.Limits) bool { return l.FinTimeout == 26*time.Second }},
		{"TCP_LINGER2, negative", unix.IPPROTO_TCP, unix.TCP_LINGER2, -1, func(l *flow.Limits) bool { return l.FinTimeout < 0 }},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, func(l *flow.Limits) bool {
			return l.KeepaliveExpires > l.KeepaliveTime-patience && l.KeepaliveExpires <= l.KeepaliveTime
		}},
	}
	for _, tt := range tests {
		client, _ := pair(t, ipv4)
		if before := readSocket(t, tr, client).Limits; tt.check(&before) {
			t.Errorf("%s: as wanted before it is set: %+v", tt.name, before)
		}
		client.setInt(tt.level, tt.option, tt.value)
		if after := readSocket(t, tr, client).Limits; !tt.check(&after) {
			t.Errorf("%s set to %d: %+v", tt.name, tt.value, after)
		}
	}
}

// Since when a closed window is probed.
func TestReadProbing(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, _ := pair(t, ipv4)
	client.fill()
	start := time.Now()
	// While the probe is being sent nothing is pending.
	const probe0 = 3 // ICSK_TIME_PROBE0
	var s flow.Sock
	eventually(t, "a probe of the closed window, and the next one pending", func() bool {
		s = readSocket(t, tr, client)
		return s.Limits.Probing >= 0 && s.Pending == probe0
	})
	if most := time.Since(start) + time.Second; s.Limits.Probing > most {
		t.Errorf("probing since %v, %v at the most", s.Limits.Probing, most)
	}
}

// The clock that timers are rounded to runs at the rate that was learnt.
func TestReadJiffies(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, _ := pair(t, ipv4)
	begin, start := readSocket(t, tr, client).Limits, time.Now()
	<-time.After(200 * time.Millisecond)
	end := readSocket(t, tr, client).Limits
	lasted := time.Duration(end.Jiffies-begin.Jiffies) * time.Second / time.Duration(end.HZ)
	if least, most := 180*time.Millisecond, time.Since(start)+50*time.Millisecond; lasted < least || lasted > most {
		t.Errorf("%v by jiffies (HZ %d), want %v to %v", lasted, end.HZ, least, most)
	}
}
