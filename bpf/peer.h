/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The other end of a connection, where that is a socket on this host. Its place in
 * the table cannot be calculated, because the hash is salted (net/ipv4/
 * inet_hashtables.c, inet_ehashfn), so a walk looks for all that are wanted at
 * once. One bit for each pair of ports lets nearly all other sockets pass unread;
 * the reader compares addresses, namespaces and sequence numbers.
 */
#ifndef TCPLIMBO_PEER_H
#define TCPLIMBO_PEER_H

#define PEER_WORDS 2048

__u32 peer_filter[PEER_WORDS] = {};
/* The walk takes only what the filter lets pass. */
__u32 walk_peers = 0;

/* tracer/peers.go sets the same bit: Knuth's multiplicative hash, the upper half. */
static __always_inline bool maybe_peer(__u32 portpair)
{
	__u32 bit = (portpair * 2654435769U) >> 16;

	return peer_filter[(bit >> 5) & (PEER_WORDS - 1)] & (1U << (bit & 31));
}

#endif
