package rig

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// Peer is another tool that watches transitions, if it is installed.
type Peer struct {
	*Observer
	// Missing says why it cannot be measured; empty if it can.
	Missing string
}

// inTracefs runs a command with tracefs mounted where the tools look for it,
// in a mount namespace that disappears with it.
var inTracefs = []string{
	"unshare", "--mount", "sh", "-c",
	`[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing || exit
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
exec "$@"`, "sh",
}

// printer is a bpftrace program that prints every transition.
const printer = `tracepoint:sock:inet_sock_set_state /args->protocol == 6/ {
	printf("%d %s %s:%d %s:%d %d %d\n", pid, comm, ntop(args->family, args->saddr), args->sport,
		ntop(args->family, args->daddr), args->dport, args->oldstate, args->newstate);
}`

// packets prints the beginning and the end of connections, four packets each.
const packets = `tcpdump -l -n -i lo 'tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0' | awk '{ print $1, $3, $5, $7 }'`

// Peers returns the tools that print what happens to connections.
func Peers() []Peer {
	bcc := bccTool("tcpstates")
	return []Peer{
		{Observer: transitions("bpftrace, printing transitions", "bpftrace", "-e", printer), Missing: missing("bpftrace")},
		{Observer: transitions("bcc tcpstates", bcc), Missing: missing(bcc)},
		{
			Observer: &Observer{
				Name: "tcpdump of SYN, FIN and RST, piped to awk", argv: []string{"sh", "-c", packets},
				ready: listening, PerConnection: 4, local: true,
			},
			Missing: missing("tcpdump"),
		},
	}
}

func transitions(name string, argv ...string) *Observer {
	return &Observer{
		Name: name, argv: append(append([]string{}, inTracefs...), argv...),
		ready: attached, PerConnection: Transitions,
	}
}

// bccTool returns the name of a bcc tool: Debian adds a suffix.
func bccTool(name string) string {
	if missing(name+"-bpfcc") == "" {
		return name + "-bpfcc"
	}
	return name
}

func missing(program string) string {
	if _, err := exec.LookPath(program); err != nil {
		return program + " is not installed"
	}
	return ""
}

// listening waits for the line that tcpdump prints when it has opened its
// socket.
func listening(ctx context.Context, r *Running) error {
	return r.until(ctx, "listens", startTimeout, 10*time.Millisecond, func() bool {
		return strings.Contains(r.Messages(), "listening on")
	})
}
