package flow

// Drop is a place where this host dropped a SYN of its own.
type Drop struct {
	// Reason is the kernel's name without SKB_DROP_REASON_, for example
	// "NETFILTER_DROP"; empty where the kernel gives none (before 5.17).
	Reason string
	// Location is the kernel function that dropped it, with offset; empty
	// where /proc/kallsyms does not tell.
	Location string
	// Hook is where on its way out the SYN was, for example "output" or
	// "tc_egress"; empty if neither reason nor location tell.
	Hook string
	// NetNS is the inode number of the network namespace that it had come to.
	NetNS uint32
}

// SYN is what this host knows of a connect that is not answered; meant for
// sockets in SYN_SENT only.
type SYN struct {
	// Drop is where the last SYN was dropped, nil if no drop of it was seen.
	Drop *Drop
	// DropPast is set where an earlier SYN was dropped and the last one was not.
	DropPast bool
	// NextHopSilent is set where the neighbour that the SYN has to go through
	// does not answer ARP or neighbour discovery (NUD_INCOMPLETE, NUD_FAILED).
	NextHopSilent bool
}
