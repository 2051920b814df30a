/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How many TCP sockets the host has in each state: counted by walks on their way,
 * listeners in their own table. A walk that runs while sockets come and go counts
 * some twice or not at all, as any walk does; only one runs at a time.
 */
#ifndef TCPLIMBO_CENSUS_H
#define TCPLIMBO_CENSUS_H

#define CENSUS_STATES 16
/* Buckets that one function looks at: loops in loops take long to verify. */
#define BLOCK 32

/* Set to 0 by Go where a walk begins. */
__u64 census[CENSUS_STATES] = {};
/*
 * What the present chain added, eight bits a state: a chain that is walked once
 * more is taken back first. It has at most CHAIN_MAX sockets.
 */
__u64 chain_census[2] = {};

static __always_inline void count_state(__u8 state)
{
	state &= CENSUS_STATES - 1;
	census[state]++;
	chain_census[state >> 3] += 1ULL << (8 * (state & 7));
}

static __always_inline void begin_chain(void)
{
	chain_census[0] = 0;
	chain_census[1] = 0;
}

__noinline int uncount_chain(void)
{
	for (int i = 0; i < CENSUS_STATES; i++)
		census[i] -= (chain_census[i >> 3] >> (8 * (i & 7))) & 0xff;
	return 0;
}

/*
 * Listeners of a bucket. That of an address and a port is the only table that all
 * kernels keep all listeners in (net/ipv4/inet_hashtables.c, inet_hash2 up to 5.18,
 * __inet_hash from 5.19 on). The link to the next is the first member of both
 * sorts of nodes, and the end is NULL or odd.
 */
__noinline int count_bucket(__u64 head)
{
	__u64 node = 0;
	int n;

	bpf_probe_read_kernel(&node, sizeof(node), (void *)head);
	for (n = 0; n < CHAIN_MAX; n++) {
		if (!node || (node & 1))
			break;
		if (bpf_probe_read_kernel(&node, sizeof(node), (void *)node))
			break;
	}
	return n;
}

/* Up to BLOCK buckets from the given one; how many there are. */
__noinline int count_listeners(__u32 bucket)
{
	struct inet_hashinfo *hashinfo = (struct inet_hashinfo *)walk.hashinfo;
	__u64 head = bpf_core_field_offset(struct inet_listen_hashbucket, nulls_head);
	__u64 size = bpf_core_type_size(struct inet_listen_hashbucket);
	__u64 table = (__u64)BPF_CORE_READ(hashinfo, lhash2);
	__u32 mask = BPF_CORE_READ(hashinfo, lhash2_mask);

	if (!table)
		return 0;
	for (__u32 i = 0; i < BLOCK; i++) {
		if (bucket + i > mask)
			return i;
		census[TCP_LISTEN] += count_bucket(table + (bucket + i) * size + head);
	}
	return BLOCK;
}

#endif
