package flow

import "testing"

func TestRetransmitting(t *testing.T) {
	for _, tt := range []struct {
		name string
		sock Sock
		want RetransmitKind
	}{
		{"nothing", Sock{State: StateEstablished}, RetransmitNone},
		{"window probes", Sock{State: StateEstablished, Backoff: 5, ProbesOut: 5}, RetransmitNone},
		{"the first timeout", Sock{State: StateEstablished, Retransmits: 1, Backoff: 1}, RetransmitRTO},
		{"timeouts of a thin stream", Sock{State: StateEstablished, Retransmits: 3}, RetransmitRTO},
		{"the second timeout", Sock{State: StateLastAck, Retransmits: 2, Backoff: 2}, RetransmitBackoff},
		{"SYNs", Sock{State: StateSynSent, Retransmits: 4, Backoff: 2}, RetransmitSyn},
		{"a minisocket", Sock{State: StateFinWait2, TimeWait: true, Retransmits: 1}, RetransmitNone},
	} {
		if got := tt.sock.Retransmitting(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRetransmitNames(t *testing.T) {
	seen := map[string]bool{}
	for k := range RetransmitKinds {
		if name := k.String(); name == "" || seen[name] {
			t.Errorf("kind %d is called %q", k, name)
		}
		seen[k.String()] = true
	}
	if got := RetransmitKind(200).String(); got != "other" {
		t.Errorf("a kind of a later kernel side is called %q", got)
	}
}
