/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Readers of sockets. Those that take a pointer out of a map use probe reads
 * only: the socket may be freed and its memory be anything, so a reader never
 * faults and the caller compares cookie, state and addresses before it believes.
 */
#ifndef TCPLIMBO_SOCK_H
#define TCPLIMBO_SOCK_H

#define WATCHED(state) (watch_states & (1U << (31 & (state))))

static __always_inline void put_ipv4(__u8 to[16], __be32 addr)
{
	__u32 *w = (__u32 *)to;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = addr;
}

static __always_inline void read_addresses(__u8 saddr[16], __u8 daddr[16], struct sock_common *c)
{
	if (BPF_CORE_READ(c, skc_family) == AF_INET6) {
		bpf_probe_read_kernel(saddr, 16, &c->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(daddr, 16, &c->skc_v6_daddr);
		/* While connecting, only the IPv4 half of a mapped source is set. */
		if (((__u32 *)daddr)[0] || ((__u32 *)daddr)[1] ||
		    ((__u32 *)daddr)[2] != bpf_htonl(0xffff))
			return;
	}
	put_ipv4(saddr, BPF_CORE_READ(c, skc_rcv_saddr));
	put_ipv4(daddr, BPF_CORE_READ(c, skc_daddr));
}

static __always_inline void copy_address(__u8 to[16], const struct in6_addr *from)
{
	__builtin_memcpy(to, from, 16);
}

/* The same of a copy. */
static __always_inline void copied_addresses(__u8 saddr[16], __u8 daddr[16], struct sock_common *c)
{
	if (c->skc_family == AF_INET6) {
		copy_address(saddr, &c->skc_v6_rcv_saddr);
		copy_address(daddr, &c->skc_v6_daddr);
		if (((__u32 *)daddr)[0] || ((__u32 *)daddr)[1] ||
		    ((__u32 *)daddr)[2] != bpf_htonl(0xffff))
			return;
	}
	put_ipv4(saddr, c->skc_rcv_saddr);
	put_ipv4(daddr, c->skc_daddr);
}

static __always_inline __u32 read_netns(struct sock_common *c)
{
	return BPF_CORE_READ(c, skc_net.net, ns.inum);
}

/*
 * A child of a listener inherits the listener's bind bucket, without the lock bit
 * (net/core/sock.c, sk_clone_lock); connect() makes buckets with fastreuse -1
 * (net/ipv4/inet_hashtables.c, __inet_hash_connect).
 */
static __always_inline bool is_client(__u8 userlocks, struct inet_bind_bucket *tb)
{
	return userlocks & SOCK_BINDPORT_LOCK || (tb && BPF_CORE_READ(tb, fastreuse) < 0);
}

static __always_inline bool read_client(struct sock *sk)
{
	return is_client(BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks),
			 BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_bind_hash));
}

/* include/net/inet_connection_sock.h, icsk_pending */
#define ICSK_TIME_PROBE0 3

/*
 * A copy of the socket that is being read: one probe read of it all costs a tenth
 * of one for each field, and fields of a copy are plain loads. Only programs that
 * the agent runs read sockets, one at a time.
 */
#define COPY_MAX 8192
static __u64 sock_copy[COPY_MAX / 8];

/* What minisockets have too, up to the cookie; false where the memory cannot be read. */
static __always_inline bool copy_common(__u64 addr)
{
	__u32 size = bpf_core_field_offset(struct sock_common, skc_cookie) + sizeof(__u64);

	return size <= sizeof(sock_copy) && !bpf_probe_read_kernel(sock_copy, size, (void *)addr);
}

/* False where the memory cannot be read: it was a socket once. */
static __always_inline bool copy_sock(__u64 addr)
{
	__u32 size = bpf_core_type_size(struct tcp_sock);

	return size <= sizeof(sock_copy) && !bpf_probe_read_kernel(sock_copy, size, (void *)addr);
}

/*
 * The beginning of the socket that a walk is at, up to what tells that nothing waits
 * there: nearly all that a patrol looks at, and all of the next in the chain. One read
 * lets the cache misses, which are what a walk costs, overlap.
 */
#define NODE_MAX 1024
static __u64 node_copy[NODE_MAX / 8];

static __always_inline void span(__u32 *from, __u32 *to, __u32 at, __u32 size)
{
	if (at < *from)
		*from = at;
	if (at + size > *to)
		*to = at + size;
}

/* Widens what is copied of a socket, the bytes between from and to, by a field. */
#define SPAN(sock, field) \
	span(&from, &to, __CORE_RELO(sock, field, BYTE_OFFSET), __CORE_RELO(sock, field, BYTE_SIZE))

static __always_inline __u8 copied_flags(struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;
	unsigned long flags = sk->__sk_common.skc_flags;
	__u8 out = 0;

	if (flags & (1UL << SOCK_DEAD))
		out |= SOCK_ORPHAN;
	if (flags & (1UL << SOCK_KEEPOPEN))
		out |= SOCK_KEEPALIVE;
	if (sk->sk_socket)
		out |= SOCK_HAS_SOCKET;
	return out;
}

static __always_inline bool copied_client(struct tcp_sock *tp, __u8 state)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;

	return state == TCP_SYN_SENT ||
	       (state != TCP_LISTEN &&
		is_client(BPF_CORE_READ_BITFIELD((struct sock *)tp, sk_userlocks),
			  icsk->icsk_bind_hash));
}

/* net/socket.c, SOCK_INODE() */
static __always_inline __u64 read_inode(struct socket *sock)
{
	return sock ? BPF_CORE_READ((struct socket_alloc *)sock, vfs_inode.i_ino) : 0;
}

static __always_inline void read_queues(struct sock_values *v, struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;

	v->snd_una = tp->snd_una;
	v->snd_nxt = tp->snd_nxt;
	v->write_seq = tp->write_seq;
	v->rcv_nxt = tp->rcv_nxt;
	v->copied_seq = tp->copied_seq;
	v->snd_wnd = tp->snd_wnd;
	v->srtt_us = tp->srtt_us >> 3;
	v->min_rtt_us = tp->rtt_min.s[0].v; /* ~0 until measured, tcp_init_sock */
	v->receive_memory = sk->sk_backlog.rmem_alloc.counter;
	v->receive_buffer = sk->sk_rcvbuf;
}

/* The kernel's stamps are the low 32 bits of jiffies; 0 is one that was never set. */
static __always_inline __u32 jiffies_since(__u64 now, __u32 stamp)
{
	return stamp ? (__u32)now - stamp : NEVER;
}

/* net/ipv4/tcp_output.c, tcp_chrono_set: every type but 0 has data queued */
static __always_inline __u32 copied_busy(__u32 now, struct tcp_sock *tp)
{
	return BPF_CORE_READ_BITFIELD(tp, chrono_type) ? now - tp->chrono_start : NEVER;
}

static __always_inline void read_stamps(struct sock_values *v, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;
	__u64 now = bpf_jiffies64();

	v->jiffies = (__u32)now;
	v->received_jiffies = jiffies_since(now, icsk->icsk_ack.lrcvtime);
	v->acked_jiffies = jiffies_since(now, tp->rcv_tstamp);
	v->sent_jiffies = jiffies_since(now, tp->lsndtime);
	v->busy_jiffies = copied_busy((__u32)now, tp);
}

static __always_inline void read_timer(struct sock_values *v, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;

	v->rto_jiffies = icsk->icsk_rto;
	v->retransmits = icsk->icsk_retransmits;
	v->backoff = icsk->icsk_backoff;
	v->probes_out = icsk->icsk_probes_out;
	v->pending = icsk->icsk_pending;
	v->waiting_ms = v->state == TCP_SYN_SENT || v->retransmits ? core_waiting_ms(tp) : -1;
	if (v->pending) {
		v->expires_jiffies =
			(__s32)((__u32)core_retransmit_expires((struct sock *)tp) - v->jiffies);
		v->flags |= SOCK_TIMER;
	}
}

/* An identity that no later socket at this address has; made if need be. */
static __always_inline __u64 sock_cookie(struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	if (!cookie && core_cookie_helper())
		cookie = bpf_get_socket_cookie(sk);
	return cookie;
}

#endif
