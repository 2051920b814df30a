package main

import (
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/ticker"
)

// takeLess has the daemon take less of the host, once it has started.
func takeLess() {
	relaxTimers()
	oneProcessor()
}

// oneProcessor leaves Go's runtime one CPU at a time. The agent is one loop, and what runs beside it
// can take turns; with more, each wake-up of the loop wakes a second thread that looks in vain for work. And
// whatever happens, the agent takes no more than one CPU of the host. GOMAXPROCS in the environment wins.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// newTicker makes the agent's ticker: the kernel's timer, or Go's where there is none.
func newTicker(period time.Duration) agent.Ticker {
	t, err := ticker.New(period)
	if err != nil {
		return agent.GoTicker{Ticker: time.NewTicker(period)}
	}
	return t
}

// timerSlack is how much later than asked for a thread may be woken. Go's runtime has one that looks at
// the others each 20 µs while one of them works, for 50 times after each wake-up of the agent: a fifth of
// what an idle agent costs, and a third of its context switches. Nothing here needs to be woken sooner than this.
const timerSlack = 2 * time.Millisecond

// relaxTimers gives every thread that timerSlack; those that begin later inherit it. It takes
// CAP_SYS_NICE (fs/proc/base.c, timerslack_ns_write); without it the agent works as well,
// for a little more CPU time, unless who starts it sets the slack, as systemd can.
func relaxTimers() { setSlack(strconv.FormatInt(timerSlack.Nanoseconds(), 10)) }

func setSlack(nanoseconds string) {
	threads, err := os.ReadDir(procRoot + "/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if os.WriteFile(procRoot+"/"+t.Name()+"/timerslack_ns", []byte(nanoseconds), 0) != nil {
			return
		}
	}
}
