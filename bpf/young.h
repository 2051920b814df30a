/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The young generation: a ring of slots for each CPU. Entering a watched state
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

/*
 * Promotes the socket of a slot if it is still stuck. Any order of slots and
 * any number of looks at one slot give the same result.
 */
__noinline int settle(__u32 index)
{
	struct young_slot *s = bpf_map_lookup_elem(&young_ring, &index);
	struct promoted p = {};
	struct sock_common *c;
	__u64 addr;
	__u8 state;

	if (!s)
		return 0;
	c = (struct sock_common *)s->sk;
	addr = s->sk;
	p.cookie = s->cookie;
	p.since_ns = s->time_ns;
	p.task = s->task;
	state = BPF_CORE_READ(c, skc_state);
	if (same_life(s, c) &&
	    (state == s->state || (s->state == TCP_FIN_WAIT1 && state == TCP_FIN_WAIT2))) {
		p.state = state;
		promote(addr, &p);
		return 1;
	}
	if (s->state != TCP_FIN_WAIT1 || !WATCHED(TCP_FIN_WAIT2))
		return 0;
	addr = find_timewait(s->net, s->hash, s->portpair, s->addrpair);
	if (!addr)
		return 0;
	p.cookie = BPF_CORE_READ((struct sock_common *)addr, skc_cookie.counter);
	p.state = TCP_FIN_WAIT2;
	p.flags = SOCK_TIMEWAIT | SOCK_ORPHAN;
	p.since_ns = timewait_since(addr, s->time_ns);
	promote(addr, &p);
	return 1;
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
 * A transition inside a transition on the same CPU: a softirq between two
 * instructions of the code below. From 6.1 on the kernel refuses to run the
 * inner one at all and counts that (05b24ff9b2cf); before, it must not touch the
 * ring that the outer one is writing.
 */
static __always_inline void promote_nested(struct sock *sk, int state)
{
	struct promoted p = {
		.cookie = sock_cookie(sk),
		.since_ns = bpf_ktime_get_boot_ns(),
		.state = state,
	};

	COUNT(nested);
	promote((__u64)sk, &p);
}

static __always_inline void remember(struct sock *sk, int state)
{
	__u32 cpu = bpf_get_smp_processor_id(), index;
	struct young_cpu *y = bpf_map_lookup_elem(&young_cpus, &cpu);
	struct young_slot *s;

	if (!y)
		return;
	if (y->busy) {
		promote_nested(sk, state);
		return;
	}
	y->busy = 1;
	index = cpu * young_slots + (__u32)(y->head & (young_slots - 1));
	s = bpf_map_lookup_elem(&young_ring, &index);
	if (s) {
		if (y->head - y->tail >= young_slots) {
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
 * ring it is, between two appends, so a slot is either whole or one lap on.
 */
__noinline int age_position(__u32 cpu, __u64 position, __u64 before_ns)
{
	__u32 index = cpu * young_slots + (__u32)(position & (young_slots - 1));
	struct young_slot *s = bpf_map_lookup_elem(&young_ring, &index);

	if (!s || s->seq != position + 1)
		return 1;
	if (s->time_ns > before_ns)
		return 0;
	settle(index);
	return 1;
}

#endif
