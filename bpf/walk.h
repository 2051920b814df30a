/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A walk over the kernel's table of connections, all network namespaces in one
 * go, without entering any of them: what no tracepoint told is found here. As
 * the kernel's own lock-free look-up it runs under RCU and checks at the end of
 * a chain (the "nulls" value) that it is still in the chain where it began.
 */
#ifndef TCPLIMBO_WALK_H
#define TCPLIMBO_WALK_H

__u64 walk_heads[BLOCK] = {};
/* States that are wanted; FIN_WAIT2 includes minisockets that stand in it. */
__u32 walk_states = 0;
/* Minisockets in TIME_WAIT proper are wanted. */
__u32 walk_timewait = 0;

/* An ESTABLISHED socket that stalled is tracked for its end. */
static __always_inline bool tracked_state(__u8 state)
{
	return WATCHED(state) || (watch_established && state == TCP_ESTABLISHED);
}

/*
 * Takes a socket that no tracepoint announced into the old generation. Not
 * minisockets, which make no transitions.
 */
static __always_inline void track(struct sock_values *v)
{
	struct promoted p = { .cookie = v->cookie, .state = v->state, .flags = v->flags };
	struct promoted *old = bpf_map_lookup_elem(&old_generation, &v->sk);

	if (!tracked_state(v->state) || (v->flags & SOCK_TIMEWAIT))
		return;
	if (old && (!old->cookie || old->cookie == v->cookie)) {
		old->cookie = v->cookie;
		old->state = v->state;
		return;
	}
	if (old) {
		COUNT(promoted_stale);
		drop_promoted(v->sk, old->hash);
	}
	if (put_promoted(v->sk, &p))
		v->flags |= SOCK_UNTRACKED;
}

/*
 * Reads the socket that values[index] names into values[index]. A cookie that
 * was given must still be its cookie.
 */
__noinline int read_value(__u32 index, __u32 tracking)
{
	struct sock_values *v = bpf_map_lookup_elem(&values, &index);
	__u64 addr, cookie;

	if (!v)
		return 0;
	addr = v->sk;
	cookie = v->cookie;
	read_sock(v, addr);
	if (tracking && (!cookie || cookie == v->cookie))
		track(v);
	return 1;
}

/* Minisockets are shorter: what follows them is read as well, and not looked at. */
static __always_inline bool copy_node(__u64 addr)
{
	struct sock *sk = (struct sock *)node_copy;
	struct sock_common *c = (struct sock_common *)node_copy;
	__u32 from = 0, to = 0;

	SPAN(c, skc_portpair);
	SPAN(c, skc_state);
	SPAN(c, skc_nulls_node.next);
	if (walk_waiting) {
		SPAN(sk, sk_backlog.rmem_alloc.counter);
		SPAN(sk, sk_wmem_queued);
		SPAN(sk, sk_socket);
	}
	return to <= sizeof(node_copy) && !bpf_probe_read_kernel(node_copy, to, (void *)addr);
}

/* Of the socket at this address, whose node is copied. */
static __always_inline bool walk_wants(__u64 addr)
{
	struct sock_common *c = (struct sock_common *)node_copy;
	__u8 state = c->skc_state;
	bool timewait = state == TCP_TIME_WAIT;

	if (walk_peers && !maybe_peer(c->skc_portpair))
		return false;
	if (timewait)
		state = BPF_CORE_READ((struct inet_timewait_sock *)addr, tw_substate);
	if (!walk_peers)
		count_state(state);
	if (timewait)
		return state == TCP_FIN_WAIT2 ? walk_states & (1U << TCP_FIN_WAIT2) :
						walk_timewait != 0;
	if (state == TCP_NEW_SYN_RECV || state > TCP_CLOSING)
		return false;
	if (state == TCP_ESTABLISHED && walk_waiting &&
	    !waits((struct sock *)addr, (struct sock *)node_copy))
		return false;
	return walk_states & (1U << state);
}

/* Leaves in node_copy what comes after it. */
__noinline int walk_take(__u64 addr)
{
	__u32 index = walk.count;
	struct sock_values *v = bpf_map_lookup_elem(&values, &index);

	walk.visited++;
	if (!copy_node(addr)) {
		((struct sock_common *)node_copy)->skc_nulls_node.next = NULL;
		return 1;
	}
	if (!walk_wants(addr))
		return 1;
	if (!v)
		return 0;
	v->sk = addr;
	read_value(index, 0);
	walk.count++;
	return 1;
}

#define CHAIN_FULL 0 /* values has no room left for it: nothing taken */
#define CHAIN_DONE 1
#define CHAIN_MOVED 2 /* a node went to another chain meanwhile: nothing taken */
#define CHAIN_TRIES 4

/* One chain, whole or not at all; at the last try as far as it goes. */
__noinline int walk_chain(__u64 node, __u32 bucket, __u32 last)
{
	__u32 count = walk.count;

	begin_chain();
	for (int i = 0; i < CHAIN_MAX; i++) {
		if (!node || (node & 1)) {
			if (node >> 1 == bucket)
				return CHAIN_DONE;
			if (last) {
				COUNT(chain_moved);
				return CHAIN_DONE;
			}
			walk.count = count;
			uncount_chain();
			return CHAIN_MOVED;
		}
		if (!walk_take(node - bpf_core_field_offset(struct sock_common, skc_nulls_node))) {
			walk.count = count;
			uncount_chain();
			return CHAIN_FULL;
		}
		node = (__u64)((struct sock_common *)node_copy)->skc_nulls_node.next;
	}
	COUNT(chain_cut);
	return CHAIN_DONE;
}

/* As the kernel's own look-ups do, begins again where it was led astray. */
__noinline int walk_bucket(__u64 head, __u32 bucket)
{
	struct inet_hashinfo *hashinfo = (struct inet_hashinfo *)walk.hashinfo;
	__u64 ehash = (__u64)BPF_CORE_READ(hashinfo, ehash);
	int result = CHAIN_MOVED;

	for (__u32 i = 0; i < CHAIN_TRIES && result == CHAIN_MOVED; i++) {
		if (i)
			bpf_probe_read_kernel(&head, sizeof(head),
					      (void *)(ehash + (__u64)bucket * sizeof(head)));
		result = walk_chain(head, bucket, i == CHAIN_TRIES - 1);
	}
	return result;
}

/* Up to BLOCK buckets from the given one; how many were done. */
__noinline int walk_block(__u32 bucket)
{
	struct inet_hashinfo *hashinfo = (struct inet_hashinfo *)walk.hashinfo;
	__u32 size = bpf_core_type_size(struct inet_ehash_bucket);
	void *ehash = BPF_CORE_READ(hashinfo, ehash);

	if (size != sizeof(__u64))
		return 0;
	bpf_probe_read_kernel(walk_heads, sizeof(walk_heads), ehash + (__u64)bucket * size);
	for (__u32 i = 0; i < BLOCK; i++) {
		__u64 head = walk_heads[i];

		if (bucket + i >= walk.buckets)
			return i;
		if (!(head & 1) && !walk_bucket(head, bucket + i))
			return i;
	}
	return BLOCK;
}

#endif
