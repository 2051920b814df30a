/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The young generation: rings of slots for each CPU. Entering a watched state
 * appends; leaving it costs nothing. Who is still in the state when the slot is
 * looked at again, a tick later, is promoted. See docs/architecture.md.
 */
#ifndef TCPLIMBO_YOUNG_H
#define TCPLIMBO_YOUNG_H

static __always_inline bool same_life(const struct young_slot *s, struct sock_common *c)
{
	__u64 cookie = BPF_CORE_READ(c, skc_cookie.counter);

	if (s->cookie)
		return cookie == s->cookie;
	/* 5.10, 5.11: no cookie unless somebody asked; connect sets ports late */
	return BPF_CORE_READ(c, skc_net.net) == (struct net *)s->net &&
	       (s->state == TCP_SYN_SENT || BPF_CORE_READ(c, skc_portpair) == s->portpair);
}

/* The way from FIN_WAIT1 to FIN_WAIT2 makes no slot of its own. */
static __always_inline bool covers(const struct young_slot *s, __u8 state)
{
	return state == s->state || (s->state == TCP_FIN_WAIT1 && state == TCP_FIN_WAIT2);
}

/*
 * When the socket entered the state it is in now. A FIN_WAIT1 socket that came to
 * FIN_WAIT2 did so with an ACK: that of the FIN, or a later one if the peer goes
 * on sending.
 */
static __always_inline __u64 state_since(const struct young_slot *s, __u8 state)
{
	struct tcp_sock *tp = (struct tcp_sock *)s->sk;
	__u32 ago = (__u32)bpf_jiffies64() - BPF_CORE_READ(tp, rcv_tstamp);
	__u64 since;

	if (state == s->state || !walk.hz)
		return s->time_ns;
	since = bpf_ktime_get_boot_ns() - (__u64)ago * (1000000000ULL / walk.hz);
	return since > s->time_ns ? since : s->time_ns;
}

static __always_inline int promote_timewait(const struct young_slot *s)
{
	struct promoted p = {
		.task = s->task,
		.state = TCP_FIN_WAIT2,
		.flags = SOCK_TIMEWAIT | SOCK_ORPHAN,
	};
	__u64 addr;

	if (!WATCHED(TCP_FIN_WAIT2))
		return 0;
	addr = find_timewait(s->net, s->hash, s->portpair, s->addrpair);
	if (!addr)
		return 0;
	p.cookie = BPF_CORE_READ((struct sock_common *)addr, skc_cookie.counter);
	p.since_ns = timewait_since(addr, s->time_ns);
	promote(addr, &p);
	return 1;
}

/*
 * Promotes the socket of a slot if it is still stuck. Any order of slots and
 * any number of looks at one slot give the same result. Nearly every socket has
 * left its state, which one read tells.
 */
__noinline int settle(__u32 index)
{
	struct young_slot *s = bpf_map_lookup_elem(&young_ring, &index);
	struct promoted p = {};
	struct sock_common *c;
	__u8 state;

	if (!s)
		return 0;
	c = (struct sock_common *)s->sk;
	state = BPF_CORE_READ(c, skc_state);
	if (covers(s, state) && same_life(s, c)) {
		p.cookie = s->cookie;
		p.since_ns = state_since(s, state);
		p.task = s->task;
		p.state = state;
		promote(s->sk, &p);
		return 1;
	}
	return s->state == TCP_FIN_WAIT1 ? promote_timewait(s) : 0;
}

static __always_inline void fill_slot(struct young_slot *s, struct sock *sk, __u64 now, int state)
{
	s->sk = (__u64)sk;
	s->cookie = sock_cookie(sk);
	s->time_ns = now;
	s->state = state;
	s->task.pid = 0;
	if (in_process_context(state))
		current_task(&s->task);
	if (state == TCP_FIN_WAIT1 || !s->cookie) {
		s->net = (__u64)sk->__sk_common.skc_net.net;
		s->hash = sk->__sk_common.skc_hash;
		s->portpair = sk->__sk_common.skc_portpair;
		s->family = sk->__sk_common.skc_family;
		s->addrpair = s->family == AF_INET ? sk->__sk_common.skc_addrpair : 0;
	}
}

/*
 * This CPU's ring. A softirq may come while a slot is being written and make a
 * transition of its own; it finds the ring busy and takes the other one. Nothing
 * makes transitions inside a softirq, so two are enough.
 */
static __always_inline struct young_cpu *ring(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct young_cpu *y = bpf_map_lookup_elem(&young_cpus, &cpu);

	if (y && y->busy) {
		cpu += cpus;
		y = bpf_map_lookup_elem(&young_cpus, &cpu);
	}
	return y;
}

static __always_inline void remember(struct sock *sk, int state)
{
	struct young_cpu *y = ring();
	struct young_slot *s;
	__u32 index;

	if (!y)
		return;
	y->busy = 1;
	index = y->base + (__u32)(y->head & (y->slots - 1));
	s = bpf_map_lookup_elem(&young_ring, &index);
	if (s) {
		if (y->head - y->tail >= y->slots) {
			/* Not looked at yet: do it now, so that nothing is lost. */
			COUNT(young_overrun);
			settle(index);
		}
		fill_slot(s, sk, bpf_ktime_get_boot_ns(), state);
		s->seq = y->head + 1;
		y->head++;
	}
	y->busy = 0;
}

/*
 * Looks at one position; 0 when the rest is too young. Runs on the CPU whose
 * ring it is, so that what stands before head is whole, or one lap on.
 */
__noinline int age_position(__u32 number, __u64 position, __u64 before_ns)
{
	struct young_cpu *y = bpf_map_lookup_elem(&young_cpus, &number);
	struct young_slot *s;
	__u32 index;

	if (!y)
		return 0;
	index = y->base + (__u32)(position & (y->slots - 1));
	s = bpf_map_lookup_elem(&young_ring, &index);
	if (!s || s->seq != position + 1)
		return 1;
	if (s->time_ns > before_ns)
		return 0;
	settle(index);
	return 1;
}

#endif
