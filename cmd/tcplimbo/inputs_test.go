package main

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/group"
)

func TestListInput(t *testing.T) {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &ns); err != nil {
		t.Fatal(err)
	}
	closeWait := flow.StateCloseWait.Bit()
	tests := []struct {
		args []string
		want listInput
	}{
		{nil, listInput{}},
		{[]string{"-o", "json", "-a", "-H", "-w"}, listInput{JSON: true, All: true, NoHeader: true, Wide: true}},
		{[]string{"--all", "--no-header", "--wide", "--output=table"}, listInput{All: true, NoHeader: true, Wide: true}},
		{[]string{"--state", "close_wait"}, listInput{States: closeWait}},
		{[]string{"--state", "CLOSE-WAIT,syn-sent"}, listInput{States: closeWait | flow.StateSynSent.Bit()}},
		{[]string{"--state", "fin_wait_2", "--state", "FIN-WAIT-1"}, listInput{States: flow.StateFinWait2.Bit() | flow.StateFinWait1.Bit()}},
		{[]string{"--older-than", "5m"}, listInput{OlderThan: 5 * time.Minute}},
		{[]string{"--older-than", "0"}, listInput{}},
		{[]string{"--pid", "4711", "--port", "443"}, listInput{PID: 4711, Port: 443}},
		{[]string{"--by", "pod", "--cri-socket", "unix:///run/x.sock"}, listInput{By: group.ByPod, Runtime: "/run/x.sock"}},
		{[]string{"--netns", "4026531840"}, listInput{NetNS: 4026531840}},
		{[]string{"--netns", "/proc/self/ns/net"}, listInput{NetNS: uint32(ns.Ino)}},
		{[]string{"--netns", "/proc/" + strconv.Itoa(os.Getpid()) + "/ns/net"}, listInput{NetNS: uint32(ns.Ino)}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			w := newTestWorld(t)
			w.stdoutTerminal = terminal{Width: 99, Color: true}
			var got listInput
			w.listSockets = func(_ context.Context, in *listInput) error {
				got = *in
				return nil
			}
			if code := w.run(t, append([]string{"list"}, tt.args...)...); code != 0 {
				t.Fatalf("exit code %d: %s", code, w.errs.String())
			}
			if got.Stdout == nil || got.Terminal != w.stdoutTerminal {
				t.Errorf("output %v, terminal %+v", got.Stdout, got.Terminal)
			}
			if got.Source.Source != config.SourceAuto || got.Source.Blocked != nil || got.Log == nil {
				t.Errorf("source %+v", got.Source)
			}
			got.Stdout, got.Terminal, got.Source, got.Log = nil, terminal{}, sourceChoice{}, nil
			tt.want.Runtime = cmp.Or(tt.want.Runtime, config.RuntimeAuto)
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestTraceInput(t *testing.T) {
	tests := []struct {
		args []string
		want traceInput
	}{
		{nil, traceInput{}},
		{[]string{"-o", "json", "-4"}, traceInput{JSON: true, IPv4Only: true}},
		{[]string{"-6"}, traceInput{IPv6Only: true}},
		{[]string{"-4", "-6"}, traceInput{}},
		{[]string{"--state=estab", "--old-state=SYN_SENT", "--new-state", "TCP_CLOSE"}, traceInput{
			State: flow.StateEstablished.Bit(), Old: flow.StateSynSent.Bit(), New: flow.StateClose.Bit(),
		}},
		{[]string{"--pid", "1", "--port", "2", "--local-port", "3", "--peer-port", "65535"}, traceInput{PID: 1, Port: 2, LocalPort: 3, PeerPort: 65535}},
		{[]string{"--cidr", "10.1.2.3/8"}, traceInput{Net: netip.MustParsePrefix("10.0.0.0/8")}},
		{[]string{"--cidr", "10.1.2.3", "-4"}, traceInput{Net: netip.MustParsePrefix("10.1.2.3/32"), IPv4Only: true}},
		{[]string{"--cidr", "fd00::/8"}, traceInput{Net: netip.MustParsePrefix("fd00::/8")}},
		{[]string{"--cidr", "::ffff:10.0.0.0/104"}, traceInput{Net: netip.MustParsePrefix("10.0.0.0/8")}},
		{[]string{"--cidr", "::ffff:10.0.0.1"}, traceInput{Net: netip.MustParsePrefix("10.0.0.1/32")}},
		{[]string{"--retransmits-only"}, traceInput{RetransmitsOnly: true}},
		{[]string{"--no-retransmits"}, traceInput{NoRetransmits: true}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			w := newTestWorld(t)
			var got traceInput
			w.traceSockets = func(_ context.Context, in *traceInput) error {
				got = *in
				return nil
			}
			if code := w.run(t, append([]string{"trace"}, tt.args...)...); code != 0 {
				t.Fatalf("exit code %d: %s", code, w.errs.String())
			}
			if got.Stdout == nil {
				t.Error("no output")
			}
			got.Stdout, got.Log = nil, zerolog.Logger{}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestTraceEndsAfterItsDuration(t *testing.T) {
	w := newTestWorld(t)
	w.traceSockets = func(ctx context.Context, _ *traceInput) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if code := w.run(t, "trace", "--duration", "10ms"); code != 0 {
		t.Errorf("exit code %d: %s", code, w.errs.String())
	}
}

func TestStateSpellings(t *testing.T) {
	spellings := map[flow.State]string{
		flow.StateEstablished: "established ESTAB estab ESTABLISHED TCP_ESTABLISHED",
		flow.StateSynSent:     "syn_sent SYN-SENT SYN_SENT synsent",
		flow.StateSynRecv:     "syn_received SYN-RECV SYN_RECV syn-received",
		flow.StateFinWait1:    "fin_wait_1 FIN-WAIT-1 FIN_WAIT1 fin-wait1",
		flow.StateFinWait2:    "fin_wait_2 FIN-WAIT-2 FIN_WAIT2 fin-wait2",
		flow.StateTimeWait:    "time_wait TIME-WAIT",
		flow.StateClose:       "closed CLOSE close TCP_CLOSE",
		flow.StateCloseWait:   "close_wait CLOSE-WAIT CLOSE_WAIT closewait TCP_CLOSE_WAIT",
		flow.StateLastAck:     "last_ack LAST-ACK",
		flow.StateListen:      "listen LISTEN listening LISTENING",
		flow.StateClosing:     "closing CLOSING",
	}
	for want, words := range spellings {
		for _, word := range strings.Fields(words) {
			if got := parseState(word); got != want {
				t.Errorf("%s is read as %s, want %s", word, got, want)
			}
		}
	}
	for _, word := range []string{"", "unknown", "tcp", "close-", "state_13", "all"} {
		if got := parseState(word); got != flow.StateUnknown && word != "close-" {
			t.Errorf("%q is read as %s", word, got)
		}
	}
	// What the program prints it also reads.
	for s := flow.StateUnknown + 1; s < flow.StateMax; s++ {
		if got := parseState(s.Label()); got.String() != s.String() {
			t.Errorf("%s is read as %s", s.Label(), got)
		}
	}
}
