package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// PprofMode says whether Go programs are asked for their goroutines.
type PprofMode uint8

// Who is asked: nobody, a program at all addresses it listens at, or at one.
const (
	PprofOff PprofMode = iota
	PprofAuto
	PprofAddress
)

// CaptureDir is the name of the setting whose value may be a folder that cannot be
// written.
const CaptureDir = "capture-dir"

func pprofSettings() []Setting {
	return []Setting{
		{
			Name: "pprof", Placeholder: "off|auto|ADDRESS", Default: "off", Group: groupRunning,
			Usage: "ask Go programs with findings what their goroutines do, by their own net/http/pprof: auto (at all ports they listen at), " +
				"an address such as :6060, or off",
			set: setPprof,
		},
		{
			Name: CaptureDir, Placeholder: "FOLDER", Group: groupRunning, File: true,
			Usage: "keep the profiles that --pprof fetches here, 64 of them and 64 MiB at most",
			set:   func(r *Run, v string) error { return setPath(&r.CaptureDir, v) },
		},
	}
}

func setPprof(r *Run, text string) error {
	const allowed = "off, auto, or a port such as :6060, or an address such as 127.0.0.1:6060"
	switch text {
	case "off":
		r.Pprof, r.PprofAddress = PprofOff, netip.AddrPort{}
		return nil
	case "auto":
		r.Pprof, r.PprofAddress = PprofAuto, netip.AddrPort{}
		return nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not known; allowed: %s", clip(text), allowed)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return fmt.Errorf("%q has no port from 1 to 65535; allowed: %s", clip(text), allowed)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.IsUnspecified() || addr.Zone() != "" {
		return fmt.Errorf("%q has no address in numbers; allowed: %s", clip(text), allowed)
	}
	r.Pprof, r.PprofAddress = PprofAddress, netip.AddrPortFrom(addr.Unmap(), uint16(number))
	return nil
}

// checkPprof refuses a folder that nothing would be kept in.
func (r *Run) checkPprof() error {
	if r.CaptureDir != "" && r.Pprof == PprofOff {
		return errors.New("--capture-dir keeps what --pprof fetches, and that is off; give --pprof auto too")
	}
	return nil
}
