/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Why a SYN stays unanswered, as far as this host can tell: whether this host
 * drops it itself, and whether the next hop answers at all.
 */
#ifndef TCPLIMBO_SYN_H
#define TCPLIMBO_SYN_H

/*
 * By socket address. Of the least recently dropped the reason may be forgotten;
 * the next retransmission brings it back.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set */
	__type(key, __u64);
	__type(value, struct syn_drop);
} syn_drops SEC(".maps");

/* Where limbo_syn leaves what it read; Go maps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VALUES);
	__type(key, __u32);
	__type(value, struct syn_cause);
} syn_causes SEC(".maps");

/* The tracepoint's own frames, the one that frees, and its callers. */
#define FRAMES (8 + CALLERS)

/*
 * Who called what stands at location. All of netfilter's hooks drop in the same
 * functions, and only their callers tell which hook it was.
 */
static __always_inline void put_callers(void *ctx, struct syn_drop *d)
{
	__u64 frames[FRAMES] = {};

	if (bpf_get_stack(ctx, frames, sizeof(frames), 0) < 0)
		return;
	for (int i = 0; i < FRAMES - CALLERS; i++) {
		if (frames[i] != d->location)
			continue;
		for (int j = 0; j < CALLERS; j++)
			d->callers[j] = frames[i + 1 + j];
		return;
	}
}

static __always_inline void note_syn_drop(void *ctx, struct sock *sk, struct sk_buff *skb,
					  __u64 location, __u32 reason)
{
	__u8 retransmits = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_retransmits);
	struct net_device *dev = skb->dev;
	struct syn_drop d = {};
	__u64 addr = (__u64)sk;

	/*
	 * Retransmissions only: a program that connects in vain a thousand times a
	 * second shall not push out the sockets that wait.
	 */
	if (!retransmits)
		return;
	d.cookie = sk->__sk_common.skc_cookie.counter;
	d.time_ns = bpf_ktime_get_boot_ns();
	d.location = location;
	put_callers(ctx, &d);
	d.reason = reason;
	d.netns = dev ? BPF_CORE_READ(dev, nd_net.net, ns.inum) : read_netns(&sk->__sk_common);
	d.hash = sk->__sk_common.skc_hash;
	d.retransmits = retransmits;
	if (bpf_map_update_elem(&syn_drops, &addr, &d, BPF_ANY))
		COUNT(syn_drop_lost);
}

/* Where a packet goes next on its way. */
struct next_hop {
	struct net_device *dev;
	__u32 key[4]; /* an IPv4 address takes the first */
	__u64 words;  /* 1 or 4 */
};

static __always_inline void next_hop_v4(struct next_hop *to, struct sock *sk, struct rtable *rt)
{
	__u8 family = BPF_CORE_READ(rt, rt_gw_family);

	to->words = family == AF_INET6 ? 4 : 1;
	if (family == AF_INET6)
		bpf_probe_read_kernel(to->key, sizeof(to->key), &rt->rt_gw6);
	else
		to->key[0] = family ? BPF_CORE_READ(rt, rt_gw4) :
				      BPF_CORE_READ(sk, __sk_common.skc_daddr);
}

/* include/net/ip6_route.h, rt6_nexthop() */
static __always_inline void next_hop_v6(struct next_hop *to, struct sock *sk, struct rt6_info *rt)
{
	to->words = 4;
	if (BPF_CORE_READ(rt, rt6i_flags) & RTF_GATEWAY)
		bpf_probe_read_kernel(to->key, sizeof(to->key), &rt->rt6i_gateway);
	else
		bpf_probe_read_kernel(to->key, sizeof(to->key), &sk->__sk_common.skc_v6_daddr);
}

static __always_inline struct neigh_hash_table *neighbours_of(struct next_hop *to)
{
	struct net_device *dev = to->dev;

	if (to->words == 1)
		return BPF_CORE_READ(dev, ip_ptr, arp_parms, tbl, nht);
	return BPF_CORE_READ(dev, ip6_ptr, nd_parms, tbl, nht);
}

/* include/net/arp.h, arp_hashfn(); include/net/ndisc.h, ndisc_hashfn() */
static __always_inline __u32 neighbour_hash(struct next_hop *to, struct neigh_hash_table *nht)
{
	__u32 dev = (__u32)((__u64)to->dev ^ (__u64)to->dev >> 32), rnd[4] = {}, hash;

	bpf_probe_read_kernel(rnd, sizeof(rnd), &nht->hash_rnd);
	hash = (to->key[0] ^ dev) * rnd[0];
	if (to->words == 4)
		hash += to->key[1] * rnd[1] + to->key[2] * rnd[2] + to->key[3] * rnd[3];
	return hash >> (32 - (BPF_CORE_READ(nht, hash_shift) & 31));
}

/* A function of its own, as all bodies of long loops: see is_successor(). */
__noinline int is_neighbour(__u64 addr, __u64 dev, __u64 words, __u64 low, __u64 high)
{
	struct neighbour *n = (struct neighbour *)addr;
	__u64 key[2] = {};

	if ((__u64)BPF_CORE_READ(n, dev) != dev)
		return 0;
	if (words == 1)
		bpf_probe_read_kernel(key, 4, &n->primary_key);
	else
		bpf_probe_read_kernel(key, 16, &n->primary_key);
	return key[0] == low && key[1] == high;
}

/*
 * NUD_* of the next hop, as the kernel's own look-up finds it (net/core/
 * neighbour.c, neigh_lookup); 0 if there is none. Neither loopback nor
 * point-to-point links have one by that key.
 */
static __always_inline __u8 neighbour_state(struct next_hop *to)
{
	struct neigh_hash_table *nht = neighbours_of(to);
	__u64 low = to->key[0] | (__u64)to->key[1] << 32;
	__u64 high = to->key[2] | (__u64)to->key[3] << 32;
	struct neighbour *n;

	if (!nht)
		return 0;
	n = core_neighbour_first(nht, neighbour_hash(to, nht));
	for (int i = 0; n && i < CHAIN_MAX; i++) {
		if (is_neighbour((__u64)n, (__u64)to->dev, to->words, low, high))
			return BPF_CORE_READ(n, nud_state);
		n = core_neighbour_next(n);
	}
	return 0;
}

/*
 * The route of a SYN that was sent and has not left: it waits for its next hop,
 * as skb_still_in_host_queue() finds too (net/ipv4/tcp_output.c). Then it is not
 * retransmitted, and the socket's own route, which an IPv6 socket gives up at
 * each time-out (tcp_write_timeout), not looked for again.
 */
static __always_inline struct dst_entry *queued_route(struct sock *sk)
{
	struct sk_buff_fclones *syn = (void *)BPF_CORE_READ(sk, tcp_rtx_queue.rb_node);

	if (!syn || BPF_CORE_READ(syn, fclone_ref.refs.counter) < 2 ||
	    BPF_CORE_READ(syn, skb2.sk) != sk)
		return NULL;
	return (struct dst_entry *)(BPF_CORE_READ(syn, skb2._skb_refdst) & ~1UL);
}

static __always_inline __u8 read_neighbour(struct sock *sk)
{
	struct dst_entry *dst = BPF_CORE_READ(sk, sk_dst_cache);
	struct next_hop to = {};

	if (!dst)
		dst = queued_route(sk);
	if (!dst)
		return 0;
	to.dev = BPF_CORE_READ(dst, dev);
	if (!to.dev)
		return 0;
	if (BPF_CORE_READ(dst, ops, family) == AF_INET)
		next_hop_v4(&to, sk, (struct rtable *)dst);
	else
		next_hop_v6(&to, sk, (struct rt6_info *)dst);
	return neighbour_state(&to);
}

/* The address may have had another socket before. */
static __always_inline void read_drop(struct syn_cause *c, struct sock *sk)
{
	__u64 addr = (__u64)sk;
	struct syn_drop *d = bpf_map_lookup_elem(&syn_drops, &addr);

	if (d && (!d->cookie || d->cookie == c->cookie) &&
	    d->hash == BPF_CORE_READ(sk, __sk_common.skc_hash))
		c->drop = *d;
}

/* Fills in what syn_causes[index] asks for by socket and cookie. */
__noinline int read_cause(__u32 index)
{
	struct syn_cause *c = bpf_map_lookup_elem(&syn_causes, &index);
	struct sock *sk;
	__u64 cookie;

	if (!c)
		return 0;
	sk = (struct sock *)c->sk;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	__builtin_memset(&c->drop, 0, sizeof(c->drop));
	c->known = 0;
	c->neighbour = 0;
	if ((c->cookie && c->cookie != cookie) ||
	    BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return 0;
	c->known = 1;
	c->cookie = cookie;
	c->retransmits = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_retransmits);
	c->neighbour = read_neighbour(sk);
	read_drop(c, sk);
	return 1;
}

#endif
