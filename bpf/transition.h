/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What happens at a change of state and at a retransmission. */
#ifndef TCPLIMBO_TRANSITION_H
#define TCPLIMBO_TRANSITION_H

/* Direct reads where the type of the tracepoint's argument reaches: it is trusted. */
static __always_inline void describe(struct event *e, struct sock *sk)
{
	struct sock_common *c = &sk->__sk_common;
	__u32 *daddr = (__u32 *)e->daddr;

	e->sk = (__u64)sk;
	e->err = sk->sk_err;
	e->err_soft = sk->sk_err_soft;
	e->netns = c->skc_net.net->ns.inum;
	/* At CLOSE skc_num is 0 already; while connecting inet_sport is, still. */
	e->sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	if (!e->sport)
		e->sport = c->skc_num;
	e->dport = bpf_ntohs(c->skc_dport);
	e->retransmits = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_retransmits);
	e->flags |= c->skc_flags & (1UL << SOCK_DEAD) ? SOCK_ORPHAN : 0;
	if (c->skc_family == AF_INET6) {
		__u32 *saddr = (__u32 *)e->saddr;

		for (int i = 0; i < 4; i++) {
			saddr[i] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
			daddr[i] = c->skc_v6_daddr.in6_u.u6_addr32[i];
		}
		if (daddr[0] || daddr[1] || daddr[2] != bpf_htonl(0xffff))
			return;
	}
	put_ipv4(e->saddr, c->skc_rcv_saddr);
	put_ipv4(e->daddr, c->skc_daddr);
}

static __always_inline __u64 successor_of(struct sock *sk, __u8 flags)
{
	struct sock_common *c = &sk->__sk_common;
	struct young_tuple t = {};
	__u16 sport;

	if (!(flags & SOCK_ORPHAN))
		return 0;
	/* A probe read, because numbers are calculated with, not pointers. */
	t.net = (__u64)BPF_CORE_READ(c, skc_net.net);
	t.hash = c->skc_hash;
	/*
	 * skc_num, half of skc_portpair, is 0 already where the port was not bound
	 * (net/ipv4/tcp.c, tcp_set_state); the minisocket keeps it.
	 */
	sport = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	t.portpair = c->skc_dport | (__u32)sport << 16;
	t.addrpair = c->skc_family == AF_INET ? c->skc_addrpair : 0;
	return find_timewait(&t);
}

/* Takes the socket out of the old generation; returns what lives on, or 0. */
static __always_inline __u64 leave(struct sock *sk, struct promoted *p, int oldstate, int newstate)
{
	__u8 dead = sk->__sk_common.skc_flags & (1UL << SOCK_DEAD) ? SOCK_ORPHAN : 0;
	__u64 addr = (__u64)sk, successor = 0;

	if (oldstate == TCP_FIN_WAIT2 && newstate == TCP_CLOSE)
		successor = successor_of(sk, dead);
	drop_promoted(addr, p->hash);
	return successor;
}

static __always_inline __u64 move_on(struct sock *sk, struct promoted *p, int oldstate,
				     int newstate)
{
	if (!WATCHED(newstate))
		return leave(sk, p, oldstate, newstate);
	p->state = newstate;
	p->since_ns = bpf_ktime_get_boot_ns();
	return 0;
}

/* Is the entry about this socket, or about one that had its address before? */
static __always_inline bool still_same(struct sock *sk, struct promoted *p)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter, addr = (__u64)sk;

	if (p->cookie == cookie)
		return true;
	if (!p->cookie && p->hash == sk->__sk_common.skc_hash) {
		/* Older than the agent: somebody asked for its cookie meanwhile. */
		p->cookie = cookie;
		return true;
	}
	COUNT(promoted_stale);
	drop_promoted(addr, p->hash);
	return false;
}

static __noinline int follow_promoted(struct sock *sk, int oldstate, int newstate)
{
	__u64 addr = (__u64)sk;
	struct promoted *p;
	struct event *e;

	p = bpf_map_lookup_elem(&old_generation, &addr);
	if (!p || !still_same(sk, p))
		return false;
	if (in_process_context(newstate))
		current_task(&p->task, sk);
	e = new_event(EVENT_TRANSITION);
	if (!e) {
		move_on(sk, p, oldstate, newstate);
		return true;
	}
	describe(e, sk);
	e->cookie = p->cookie;
	e->since_ns = p->since_ns;
	e->task = p->task;
	e->old_state = oldstate;
	e->new_state = newstate;
	e->successor = move_on(sk, p, oldstate, newstate);
	send_event(e);
	return true;
}

/* A socket of the old generation moves on; false if it is not one. */
static __always_inline bool follow(struct sock *sk, int oldstate, int newstate)
{
	return maybe_promoted(sk) && follow_promoted(sk, oldstate, newstate);
}

static __always_inline bool in_trace_net(const __u8 addr[16])
{
	for (int i = 0; i < 16; i++)
		if ((addr[i] & trace_mask[i]) != trace_net[i])
			return false;
	return true;
}

/*
 * A connect has no local port yet when it begins; the reader knows it by the time
 * it looks, and looks again at what passes here without one.
 */
static __always_inline bool trace_wants_ports(const struct event *e)
{
	if (trace_peer_port && trace_peer_port != e->dport)
		return false;
	if (!e->sport)
		return true;
	if (trace_local_port && trace_local_port != e->sport)
		return false;
	return !trace_port || trace_port == e->sport || trace_port == e->dport;
}

static __always_inline bool trace_wants(const struct event *e, __u16 family)
{
	__u32 old = 1U << (e->old_state & 31), new = 1U << (e->new_state & 31);

	if (trace_old_states && !(trace_old_states & old))
		return false;
	if (trace_new_states && !(trace_new_states & new))
		return false;
	if (trace_states && !(trace_states & (old | new)))
		return false;
	if (trace_family && trace_family != family)
		return false;
	if (trace_pid && trace_pid != e->task.pid)
		return false;
	return trace_wants_ports(e) && (in_trace_net(e->saddr) || in_trace_net(e->daddr));
}

/* IPv4 in an IPv6 socket is IPv4. */
static __always_inline __u16 event_family(const struct event *e)
{
	const __u32 *w = (const __u32 *)e->daddr;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff) ? AF_INET : AF_INET6;
}

/* When the old state was entered, 0 if that was not seen; remembers the new one. */
static __always_inline __u64 trace_since(__u64 addr, __u64 cookie, __u64 now, int newstate)
{
	struct promoted *p = bpf_map_lookup_elem(&old_generation, &addr);
	struct promoted fresh = { .cookie = cookie, .since_ns = now };
	__u64 since = p && p->cookie == cookie ? p->since_ns : 0;

	if (newstate == TCP_CLOSE)
		bpf_map_delete_elem(&old_generation, &addr);
	else if (bpf_map_update_elem(&old_generation, &addr, &fresh, BPF_ANY))
		COUNT(promoted_full);
	return since;
}

/*
 * Made on the stack: room in the ring buffer that was taken and given back stays
 * taken until the reader comes by, so that what a filter leaves out would push out
 * what it lets through. Not inlined, so that the frame of what healthy connections
 * go through, where nothing is traced, stays small: 64 bytes instead of 224.
 */
static __noinline int trace(struct sock *sk, __u8 type, int oldstate, int newstate)
{
	struct event e = {
		.time_ns = bpf_ktime_get_boot_ns(),
		.cookie = sock_cookie(sk),
		.type = type,
		.old_state = oldstate,
		.new_state = newstate,
	};

	if (trace_ages && type == EVENT_TRANSITION)
		e.since_ns = trace_since((__u64)sk, e.cookie, e.time_ns, newstate);
	describe(&e, sk);
	if (type == EVENT_TRANSITION && in_process_context(newstate))
		current_task(&e.task, sk);
	if (!trace_wants(&e, event_family(&e)))
		return 0;
	if (bpf_ringbuf_output(&events, &e, sizeof(e), wake_flags()))
		COUNT(ring_full);
	return 0;
}

/* A retransmission of a socket that is watched already. */
static __always_inline void retransmitted(struct sock *sk)
{
	__u64 addr = (__u64)sk;
	struct promoted *p;
	struct event *e;

	if (!maybe_promoted(sk))
		return;
	p = bpf_map_lookup_elem(&old_generation, &addr);
	if (!p || !still_same(sk, p))
		return;
	e = new_event(EVENT_RETRANSMIT);
	if (!e)
		return;
	describe(e, sk);
	e->cookie = p->cookie;
	e->since_ns = p->since_ns;
	e->old_state = p->state;
	e->new_state = p->state;
	send_event(e);
}

#endif
