package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every thread has it, the runtime's own ones that this program cannot ask for anything among them.
func TestRelaxTimers(t *testing.T) {
	if err := os.WriteFile("/proc/"+strconv.Itoa(unix.Getpid())+"/timerslack_ns", []byte("50000"), 0); err != nil {
		t.Skipf("no CAP_SYS_NICE: %v", err)
	}
	defer setSlack("50000")
	relaxTimers()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		slack, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if err != nil {
			continue // it has ended
		}
		if got := strings.TrimSpace(string(slack)); got != strconv.Itoa(int(timerSlack)) {
			t.Errorf("thread %s has a slack of %s ns", thread.Name(), got)
		}
	}
}
