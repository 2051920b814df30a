/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Entering the old generation, and telling Go. */
#ifndef TCPLIMBO_PROMOTE_H
#define TCPLIMBO_PROMOTE_H

/* More nodes than this in one hash chain are not followed, but counted. */
#define CHAIN_MAX 128

static __always_inline __u64 wake_flags(void)
{
	if (trace_all && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void send_event(struct event *e)
{
	bpf_ringbuf_submit(e, wake_flags());
}

static __always_inline struct event *new_event(__u8 type)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		COUNT(ring_full);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->type = type;
	e->time_ns = bpf_ktime_get_boot_ns();
	return e;
}

/* A connected socket keeps its hash until it is gone, its minisocket has it too. */
static __always_inline __u64 filter_key(__u32 hash)
{
	return (__u64)hash << 32;
}

static __always_inline bool maybe_promoted(struct sock *sk)
{
	return filter_passes(&promoted_filter, filter_key(sk->__sk_common.skc_hash));
}

/* Returns 0, -EEXIST, or that there is no room. */
static __always_inline long put_promoted(__u64 addr, struct promoted *p)
{
	long err;

	p->hash = BPF_CORE_READ((struct sock_common *)addr, skc_hash);
	/* Before it is there: it may make a transition on another CPU at once. */
	filter_count(&promoted_filter, filter_key(p->hash), 1);
	err = bpf_map_update_elem(&old_generation, &addr, p, BPF_NOEXIST);
	if (err) {
		filter_count(&promoted_filter, filter_key(p->hash), -1);
		return err;
	}
	__sync_fetch_and_add(&promoted_count, 1);
	return 0;
}

static __always_inline void drop_promoted(__u64 addr, __u32 hash)
{
	if (bpf_map_delete_elem(&old_generation, &addr))
		return;
	filter_count(&promoted_filter, filter_key(hash), -1);
	__sync_fetch_and_add(&promoted_count, -1);
}

static __always_inline void announce(__u64 addr, const struct promoted *p)
{
	struct event *e = new_event(EVENT_PROMOTED);

	if (!e)
		return;
	e->sk = addr;
	e->cookie = p->cookie;
	e->since_ns = p->since_ns;
	e->task = p->task;
	e->new_state = p->state;
	e->flags = p->flags;
	send_event(e);
}

/*
 * Two slots can lead to the same socket: FIN_WAIT1's knows who closed it,
 * FIN_WAIT2's knows when the state began. Keep the best of both.
 */
static __always_inline void merge(__u64 addr, struct promoted *old, const struct promoted *next)
{
	if (!old->task.pid)
		old->task = next->task;
	if (next->state == old->state && next->since_ns > old->since_ns)
		old->since_ns = next->since_ns;
	announce(addr, old);
}

static __always_inline void promote(__u64 addr, struct promoted *p)
{
	struct promoted *old = bpf_map_lookup_elem(&old_generation, &addr);

	if (old && old->cookie == p->cookie) {
		merge(addr, old, p);
		return;
	}
	if (old) {
		/* Its end was not seen: the address serves another socket now. */
		COUNT(promoted_stale);
		drop_promoted(addr, old->hash);
	}
	switch (put_promoted(addr, p)) {
	case 0:
		COUNT(promoted);
		break;
	case -EEXIST:
		/* The ageing pass and an early look met at this slot. */
		break;
	default:
		COUNT(promoted_full);
		p->flags |= SOCK_UNTRACKED;
	}
	announce(addr, p);
}

/*
 * Nearly all minisockets have gone on to TIME_WAIT: ask that first, even of what may
 * not be one. The bodies of long loops are functions of their own, which the
 * verifier goes through once and not at each turn.
 */
__noinline int is_successor(__u64 addr, __u64 net, __u64 hash_ports, __u64 addrpair)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)addr;
	struct sock_common *c = (struct sock_common *)addr;

	return BPF_CORE_READ(tw, tw_substate) == TCP_FIN_WAIT2 &&
	       BPF_CORE_READ(c, skc_state) == TCP_TIME_WAIT &&
	       BPF_CORE_READ(c, skc_hash) == hash_ports >> 32 &&
	       BPF_CORE_READ(c, skc_portpair) == (__u32)hash_ports &&
	       (__u64)BPF_CORE_READ(c, skc_net.net) == net &&
	       (!addrpair || BPF_CORE_READ(c, skc_addrpair) == addrpair);
}

/*
 * The minisocket that stands in for a closed FIN_WAIT2 socket, 0 if there is
 * none (any more). No tracepoint names it: tcp_time_wait() hashes it into the
 * bucket of the socket it replaces (net/ipv4/tcp_minisocks.c), so look there.
 * IPv6 addresses are not compared: the full 32-bit hash covers them, and the
 * reader of the values takes the addresses from the minisocket itself.
 */
__noinline __u64 search_bucket(__u64 bucket, __u64 net, __u64 hash_ports, __u64 addrpair)
{
	struct hlist_nulls_node *node =
		BPF_CORE_READ((struct inet_ehash_bucket *)bucket, chain.first);

	for (int i = 0; i < CHAIN_MAX; i++) {
		__u64 addr =
			(__u64)node - bpf_core_field_offset(struct sock_common, skc_nulls_node);

		if (!node || ((__u64)node & 1))
			return 0;
		if (is_successor(addr, net, hash_ports, addrpair))
			return addr;
		node = BPF_CORE_READ(node, next);
	}
	COUNT(chain_cut);
	return 0;
}

static __always_inline __u64 find_timewait(const struct young_tuple *t)
{
	__u32 size = bpf_core_type_size(struct inet_ehash_bucket), mask = t->mask;
	struct inet_hashinfo *hashinfo;
	__u64 ehash = t->ehash;

	if (!ehash) {
		hashinfo =
			core_hashinfo((struct net *)t->net, (struct inet_hashinfo *)walk.hashinfo);
		if (!hashinfo)
			return 0;
		ehash = (__u64)BPF_CORE_READ(hashinfo, ehash);
		mask = BPF_CORE_READ(hashinfo, ehash_mask);
	}
	return search_bucket(ehash + (__u64)(t->hash & mask) * size, t->net,
			     (__u64)t->hash << 32 | t->portpair, t->addrpair);
}

/* When a minisocket entered FIN_WAIT2; not known better, when it was closed. */
static __always_inline __u64 timewait_since(__u64 addr, __u64 closed_ns)
{
	__s64 age = timewait_age((struct inet_timewait_sock *)addr);
	__u64 now = bpf_ktime_get_boot_ns(), since;

	if (!walk.hz || age < 0)
		return closed_ns;
	since = now - (__u64)age * (1000000000ULL / walk.hz);
	return since > closed_ns && since <= now ? since : closed_ns;
}

#endif
