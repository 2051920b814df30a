package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a process takes at one moment.
type usage struct{ rssKB, threads, descriptors int64 }

func readUsage(pid int) (u usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return usage{}, fmt.Errorf("reading what the agent takes: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch key {
		case "VmRSS":
			u.rssKB = n
		case "Threads":
			u.threads = n
		}
	}
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return usage{}, fmt.Errorf("counting the agent's descriptors: %w", err)
	}
	u.descriptors = int64(len(files))
	return u, nil
}

// sampleEvery is how often usage is looked at; sessions that last less than
// soakMinimum are too short to tell growth.
const (
	sampleEvery = 5 * time.Second
	soakMinimum = time.Minute
)

// sample notes what the agent takes until it ends.
func (a *agent) sample() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-a.exited:
			return
		case <-tick.C:
		}
		u, err := readUsage(a.cmd.Process.Pid)
		if err != nil {
			return // it is ending
		}
		a.mu.Lock()
		a.samples = append(a.samples, u)
		a.mu.Unlock()
	}
}

// growth says how usage changed over a session, "" for a short one: the first and
// the last tenth of the samples, their highest values.
func (a *agent) growth() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.samples) < int(soakMinimum/sampleEvery) {
		return ""
	}
	tenth := len(a.samples)/10 + 1
	first, last := highest(a.samples[:tenth]), highest(a.samples[len(a.samples)-tenth:])
	return fmt.Sprintf("RSS %.1f to %.1f MB, descriptors %d to %d, threads %d to %d", float64(first.rssKB)/1e3, float64(last.rssKB)/1e3,
		first.descriptors, last.descriptors, first.threads, last.threads)
}

func highest(samples []usage) (u usage) {
	for _, s := range samples {
		u.rssKB, u.threads, u.descriptors = max(u.rssKB, s.rssKB), max(u.threads, s.threads), max(u.descriptors, s.descriptors)
	}
	return u
}
