package readable

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWidthAndCut(t *testing.T) {
	for _, tc := range []struct {
		in    string
		width int
		cut   int
		want  string
	}{
		{"nginx", 5, 5, "nginx"},
		{"nginx", 5, 4, "ngi…"},
		{"nginx", 5, 1, "…"},
		{"nginx", 5, 0, ""},
		{"nginx", 5, -3, ""},
		{"größe", 5, 4, "grö…"},
		{"日本語", 6, 5, "日本…"},
		{"日本語", 6, 4, "日…"},
		{"e\u0301a", 2, 2, "e\u0301a"},
	} {
		if got := Width(tc.in); got != tc.width {
			t.Errorf("Width(%q) = %d, want %d", tc.in, got, tc.width)
		}
		if got := Cut(tc.in, tc.cut); got != tc.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tc.in, tc.cut, got, tc.want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("日本語 text", 7)
	f.Add("e\u0301\u0301", 1)
	f.Fuzz(func(t *testing.T, s string, width int) {
		s = Safe(s, 256)
		if got := Width(Cut(s, width)); got > max(width, 0) {
			t.Fatalf("Cut(%q, %d) is %d cells wide", s, width, got)
		}
	})
}

// openPTY returns the slave side of a new terminal of the given width.
func openPTY(t *testing.T, width uint16) int {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("opening /dev/ptmx: %v", err)
	}
	t.Cleanup(func() { unix.Close(master) })
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlocking the terminal: %v", err)
	}
	slave, err := unix.IoctlRetInt(master, unix.TIOCGPTPEER)
	if err != nil {
		t.Skipf("opening the slave side: %v", err)
	}
	t.Cleanup(func() { unix.Close(slave) })
	if err := unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: width}); err != nil {
		t.Fatalf("setting the terminal's size: %v", err)
	}
	return slave
}

func TestTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, tty, shy := int(file.Fd()), openPTY(t, 123), openPTY(t, 0)
	for name, tc := range map[string]struct {
		fd    int
		env   map[string]string
		width int
		color bool
	}{
		"file":           {plain, nil, 0, false},
		"terminal":       {tty, map[string]string{"TERM": "xterm"}, 123, true},
		"refused":        {tty, map[string]string{"NO_COLOR": "1"}, 123, false},
		"empty NO_COLOR": {tty, map[string]string{"NO_COLOR": ""}, 123, true},
		"dumb":           {tty, map[string]string{"TERM": "dumb"}, 123, false},
		"no size":        {shy, nil, defaultWidth, true},
		"closed":         {-1, nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := TerminalWidth(tc.fd); got != tc.width {
				t.Errorf("width %d, want %d", got, tc.width)
			}
			if got := WantsColor(tc.fd, func(k string) string { return tc.env[k] }); got != tc.color {
				t.Errorf("color %v, want %v", got, tc.color)
			}
		})
	}
}
