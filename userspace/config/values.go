package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// durationLimits says which durations a setting takes.
type durationLimits struct {
	low, high time.Duration
	// allowed is the sentence's end that says so to people.
	allowed string
}

// maxDuration is a year: longer than any host runs one kernel, and far from
// overflowing when durations are added.
const maxDuration = 365 * 24 * time.Hour

var (
	thresholdRange = durationLimits{0, maxDuration, "0 (off) to 8760h, such as 30s"}
	tickRange      = durationLimits{minTick, time.Minute, "10ms to 1m, such as 250ms"}
	durationRange  = durationLimits{0, maxDuration, "0 (no end) to 8760h, such as 10m"}
)

func setDuration(to *time.Duration, text string, limits durationLimits) error {
	d, err := ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%w; allowed: %s", err, limits.allowed)
	}
	switch {
	case d < 0:
		return fmt.Errorf("%q is negative; allowed: %s", clip(text), limits.allowed)
	case d < limits.low:
		return fmt.Errorf("%q is too short; allowed: %s", clip(text), limits.allowed)
	case d > limits.high:
		return fmt.Errorf("%q is too long; allowed: %s", clip(text), limits.allowed)
	}
	*to = d
	return nil
}

// ParseDuration reads a duration with a unit, or 0. Its error quotes the text
// and says what is wrong with it.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if text == "" {
		return 0, errors.New("the duration is empty")
	}
	if _, numberErr := strconv.ParseFloat(text, 64); numberErr == nil {
		return 0, fmt.Errorf("%q has no unit (ms, s, m, h)", clip(text))
	}
	return 0, fmt.Errorf("%q is not a duration", clip(text))
}

// clip keeps a hostile value from making a hostile error line.
func clip(text string) string {
	const most = 96
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}

// sizeUnits are binary where the unit does not say otherwise, as in logrotate.
var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
}

// parseSize reads a number of bytes such as 4096, 64KiB or 100MB.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit, known := sizeUnits[strings.ToLower(text[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known {
		return 0, fmt.Errorf("%q is not a size", clip(text))
	}
	if n < 0 {
		return 0, fmt.Errorf("%q is negative", clip(text))
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too large", clip(text))
	}
	return n * unit, nil
}

// minLogSize keeps a rotation from happening with every few lines.
const minLogSize = 64 << 10

func setSize(to *int64, text string) error {
	const allowed = "0 (never rotate) or at least 64KiB, such as 100MiB"
	n, err := parseSize(text)
	if err != nil {
		return fmt.Errorf("%w; allowed: %s", err, allowed)
	}
	if n != 0 && n < minLogSize {
		return fmt.Errorf("%q is too small; allowed: %s", clip(text), allowed)
	}
	*to = n
	return nil
}

// setBytes takes any number of bytes, 0 for none.
func setBytes(to *int64, text string) error {
	n, err := parseSize(text)
	if err != nil {
		return fmt.Errorf("%w; allowed: 0 (off) or a size, such as 128MiB", err)
	}
	*to = n
	return nil
}

// The kernel's ring buffer is at least a page (kernel/bpf/ringbuf.c,
// ringbuf_map_alloc); the upper ends bound the host's memory.
const (
	minRingBytes  = 4 << 10
	maxRingBytes  = 256 << 20
	minYoungSlots = 64
	maxYoungSlots = 1 << 20
	maxPromoted   = 1 << 22
)

func setPowerOfTwo(to *int, text string, low, high int64) error {
	n, err := parseSize(text)
	if err == nil && n != 0 && (n < low || n > high || n&(n-1) != 0) {
		err = fmt.Errorf("%q does not fit", clip(text))
	}
	if err != nil {
		return fmt.Errorf("%w; allowed: 0 (chosen) or a power of two from %d to %d", err, low, high)
	}
	*to = int(n)
	return nil
}

func setCount(to *int, text string, high int64) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > high {
		return fmt.Errorf("%q does not fit; allowed: 0 (chosen) or a number up to %d", clip(text), high)
	}
	*to = int(n)
	return nil
}

func setPath(to *string, text string) error {
	if strings.ContainsRune(text, 0) {
		return fmt.Errorf("%q is not a path", clip(text))
	}
	*to = text
	return nil
}

func setAddress(to *string, text string) error {
	const allowed = "HOST:PORT such as 127.0.0.1:9890, :9890 for every address, '' for off"
	if text == "" {
		*to = ""
		return nil
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not an address with a port; allowed: %s", clip(text), allowed)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port from 0 to 65535; allowed: %s", clip(text), allowed)
	}
	*to = text
	return nil
}

func notOneOf(text string, values []string) error {
	return fmt.Errorf("%q is not known; allowed: %s", clip(text), strings.Join(values, ", "))
}

func setRuntime(to *string, text string) error {
	runtime, err := ParseRuntime(text)
	if err == nil {
		*to = runtime
	}
	return err
}

// ParseRuntime reads which container runtime to ask: RuntimeAuto, RuntimeOff or the
// path of a CRI socket.
func ParseRuntime(text string) (string, error) {
	const allowed = "auto, off, or the full path of a socket such as /run/containerd/containerd.sock"
	path := strings.TrimPrefix(text, "unix://")
	if text != RuntimeAuto && text != RuntimeOff && !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%q is not a socket; allowed: %s", clip(text), allowed)
	}
	return path, setPath(&path, path)
}

// maxGroupAbove is more than anybody reads one by one.
const maxGroupAbove = 1_000_000

func setNumber(to *int, text string, high int64) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > high {
		return fmt.Errorf("%q does not fit; allowed: 0 (off) or a number up to %d", clip(text), high)
	}
	*to = int(n)
	return nil
}
