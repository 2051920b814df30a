/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The young generation: rings of slots for each CPU. Entering a watched state
 * appends; leaving it costs nothing. Who is still in the state when the slot is
 * looked at again, a tick later, is promoted. See docs/architecture.md.
 */
#ifndef TCPLIMBO_YOUNG_H
#define TCPLIMBO_YOUNG_H

static __always_inline bool same_life(const struct young_slot *s, const struct young_tuple *t,
				      struct sock_common *c)
{
	__u64 cookie = BPF_CORE_READ(c, skc_cookie.counter);

	if (s->cookie)
		return cookie == s->cookie;
	/* 5.10, 5.11: no cookie unless somebody asked; connect sets ports late */
	return BPF_CORE_READ(c, skc_net.net) == (struct net *)t->net &&
	       (s->state == TCP_SYN_SENT || BPF_CORE_READ(c, skc_portpair) == t->portpair);
}

static __always_inline void task_of_slot(struct task_id *t, const struct young_slot *s, __u32 uid)
{
	t->pid = s->pid;
	t->tid = s->tid;
	t->uid = uid;
	__builtin_memcpy(t->comm, s->comm, sizeof(t->comm));
}

/* The ways on from FIN_WAIT1 make no slots of their own. */
static __always_inline bool after_fin_wait1(int oldstate, int newstate)
{
	return oldstate == TCP_FIN_WAIT1 && (newstate == TCP_FIN_WAIT2 || newstate == TCP_CLOSING);
}

static __always_inline bool covers(const struct young_slot *s, __u8 state)
{
	return state == s->state || after_fin_wait1(s->state, state);
}

/*
 * When the slot was written, told up to a jiffy late, so that nothing is called
 * stuck too early.
 */
static __always_inline __u64 entered_ns(const struct young_slot *s)
{
	__u64 age = bpf_jiffies64() - s->jiffies;

	if (!age || !walk.hz)
		return bpf_ktime_get_boot_ns();
	return bpf_ktime_get_boot_ns() - (age - 1) * (1000000000ULL / walk.hz);
}

/* The longest a healthy peer delays its ACK (net/ipv4/tcp.h, TCP_DELACK_MIN). */
#define DELAYED_ACK_NS 40000000ULL

/*
 * When the socket entered the state it is in now. A FIN_WAIT1 socket went on by an
 * ACK: the last one if the peer was silent since then, else one that came about
 * a round trip after the FIN.
 */
static __always_inline __u64 state_since(const struct young_slot *s, __u8 state)
{
	struct tcp_sock *tp = (struct tcp_sock *)s->sk;
	__u32 ago = (__u32)bpf_jiffies64() - BPF_CORE_READ(tp, rcv_tstamp);
	__u64 entered = entered_ns(s), answered, last;

	if (state == s->state || !walk.hz)
		return entered;
	last = bpf_ktime_get_boot_ns() - (__u64)ago * (1000000000ULL / walk.hz);
	answered = entered + (BPF_CORE_READ(tp, srtt_us) >> 3) * 1000ULL + DELAYED_ACK_NS;
	if (last > answered)
		return answered;
	return last > entered ? last : entered;
}

enum look {
	LOOK_DONE = 0, /* nothing there, or what there was has moved on */
	LOOK_TOO_YOUNG = 1,
	LOOK_PROMOTED = 2,
};

static __always_inline int promote_timewait(__u64 addr, const struct young_slot *s,
					    const struct young_tuple *t)
{
	struct promoted p = {
		.state = TCP_FIN_WAIT2,
		.flags = SOCK_TIMEWAIT | SOCK_ORPHAN,
	};

	if (!addr || !WATCHED(TCP_FIN_WAIT2))
		return LOOK_DONE;
	task_of_slot(&p.task, s, t->uid);
	p.cookie = BPF_CORE_READ((struct sock_common *)addr, skc_cookie.counter);
	if (s->cookie && p.cookie != s->cookie)
		return LOOK_DONE;
	p.since_ns = timewait_since(addr, entered_ns(s));
	/* It makes no transitions: the old generation could not let go of it. */
	COUNT(promoted);
	announce(addr, &p);
	return LOOK_PROMOTED;
}

/*
 * A slot whose socket was replaced by a minisocket, see hand_over(). That has long
 * gone on to TIME_WAIT if the peer is well, which one read tells.
 */
static __always_inline int look_at_timewait(const struct young_slot *s, __u32 index)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)s->sk;
	struct young_tuple *t;

	if (BPF_CORE_READ(tw, tw_substate) != TCP_FIN_WAIT2 ||
	    BPF_CORE_READ(tw, __tw_common.skc_state) != TCP_TIME_WAIT ||
	    BPF_CORE_READ(tw, __tw_common.skc_cookie.counter) != s->cookie ||
	    !BPF_CORE_READ(tw, __tw_common.skc_refcnt.refs.counter))
		return LOOK_DONE;
	t = bpf_map_lookup_elem(&young_tuples, &index);
	return t ? promote_timewait(s->sk, s, t) : LOOK_DONE;
}

/*
 * The slot as it was written at that position. One that is overwritten at this
 * moment has been looked at by who writes it; it shows because seq is 0 meanwhile.
 */
static __always_inline bool copy_slot(struct young_slot *to, const struct young_slot *s,
				      __u64 position)
{
	if (s->seq != position + 1)
		return false;
	barrier();
	__builtin_memcpy(to, s, sizeof(*to));
	barrier();
	return *(volatile const __u64 *)&s->seq == position + 1;
}

static __always_inline int look_at_socket(const struct young_slot *s, __u32 index)
{
	struct sock_common *c = (struct sock_common *)s->sk;
	__u8 state = BPF_CORE_READ(c, skc_state);
	struct promoted p = {};
	struct young_tuple *t;

	if (!covers(s, state) && s->state != TCP_FIN_WAIT1)
		return LOOK_DONE;
	t = bpf_map_lookup_elem(&young_tuples, &index);
	if (!t)
		return LOOK_DONE;
	if (!covers(s, state) || !same_life(s, t, c))
		return s->state == TCP_FIN_WAIT1 ? promote_timewait(find_timewait(t), s, t) :
						   LOOK_DONE;
	/* MPTCP, SCTP: asked only here, because in each transition it is a cache miss. */
	if (BPF_CORE_READ((struct sock *)c, sk_protocol) != IPPROTO_TCP)
		return LOOK_DONE;
	p.cookie = s->cookie;
	p.since_ns = state_since(s, state);
	task_of_slot(&p.task, s, BPF_CORE_READ((struct sock *)c, sk_uid.val));
	p.state = state;
	promote(s->sk, &p);
	/* Replaced by a minisocket while the old generation did not know it yet? */
	if (s->state == TCP_FIN_WAIT1 && !covers(s, BPF_CORE_READ(c, skc_state)))
		promote_timewait(find_timewait(t), s, t);
	return LOOK_PROMOTED;
}

/*
 * Looks at one position of a ring, which is at the slot of that index, and
 * promotes its socket if that is still stuck. Any order of positions and any
 * number of looks give the same result. Nearly every socket has left its state,
 * which one read tells.
 */
__noinline int look(__u32 index, __u64 position, __u64 before)
{
	struct young_slot *s = bpf_map_lookup_elem(&young_ring, &index);
	struct young_slot copy;

	/* One lap on it was looked at before it was written again. */
	if (!s || !copy_slot(&copy, s, position))
		return LOOK_DONE;
	if (copy.jiffies > before)
		return LOOK_TOO_YOUNG;
	if (copy.state == TCP_TIME_WAIT) {
		/* The copy may be from the middle of hand_over(). */
		copy.sk = *(volatile __u64 *)&s->sk;
		return look_at_timewait(&copy, index);
	}
	return look_at_socket(&copy, index);
}

static __always_inline void fill_tuple(__u32 index, struct sock *sk)
{
	struct young_tuple *t = bpf_map_lookup_elem(&young_tuples, &index);
	struct sock_common *c = &sk->__sk_common;

	if (!t)
		return;
	t->uid = sk->sk_uid.val;
	t->net = (__u64)c->skc_net.net;
	t->ehash = 0;
	if (bpf_core_field_exists(struct inet_hashinfo, pernet)) {
		struct inet_hashinfo *hashinfo = c->skc_net.net->ipv4.tcp_death_row.hashinfo;

		t->ehash = (__u64)hashinfo->ehash;
		t->mask = hashinfo->ehash_mask;
	}
	t->hash = c->skc_hash;
	t->portpair = c->skc_portpair;
	t->addrpair = c->skc_family == AF_INET ? c->skc_addrpair : 0;
}

static __always_inline void fill_slot(struct young_slot *s, __u32 index, struct sock *sk, int state)
{
	/* Not read again from the slot, whose cache line may be on its way still. */
	__u64 cookie = sock_cookie(sk);

	s->sk = (__u64)sk;
	s->cookie = cookie;
	s->jiffies = bpf_jiffies64();
	s->state = state;
	s->pid = 0;
	if (in_process_context(state))
		current_ids(&s->pid, &s->tid, s->comm);
	if (state == TCP_FIN_WAIT1 || !cookie)
		fill_tuple(index, sk);
}

/*
 * This CPU's ring. A softirq may come while a slot is being written and make a
 * transition of its own; it finds the ring busy and takes the other one. Nothing
 * makes transitions inside a softirq, so two are enough; also where programs are
 * preempted, because two of them write here and each runs once on a CPU.
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
		if ((__s64)(y->head - y->tail) >= y->slots) {
			/* Not looked at yet: do it now, so that nothing is lost. */
			COUNT(young_overrun);
			look(index, y->head - y->slots, ~0ULL);
		}
		s->seq = 0;
		barrier();
		fill_slot(s, index, sk, state);
		barrier();
		s->seq = y->head + 1;
		/* An ageing run may come in between; it goes by head. */
		barrier();
		y->head++;
	}
	y->busy = 0;
}

/* How many slots back a socket's own is looked for when it leaves its state. */
#define RECENT 4

/*
 * The slot of a socket that entered this state a moment ago on this CPU, as it
 * often is between two ends on one host; back is how many slots ago.
 */
static __always_inline struct young_slot *recent(struct young_cpu *y, struct sock *sk, __u8 state,
						 __u32 *index, __u32 *back)
{
	struct young_slot *s;

	for (__u32 i = 1; i <= RECENT; i++) {
		*index = y->base + (__u32)((y->head - i) & (y->slots - 1));
		*back = i;
		s = bpf_map_lookup_elem(&young_ring, index);
		if (s && s->sk == (__u64)sk && s->state == state && s->seq == y->head - i + 1)
			return s;
	}
	return NULL;
}

/*
 * The socket's place in its bucket was just given to a minisocket, which stands
 * first there and is in the cache. Note it: the ageing pass would have to search
 * the bucket when nothing of this is in the cache any more. Where another one got
 * in between, that is what it does.
 */
static __always_inline void hand_over(struct young_slot *s, __u32 index)
{
	struct young_tuple *t = bpf_map_lookup_elem(&young_tuples, &index);
	struct inet_timewait_sock *tw;
	__u64 bucket;

	if (!t || !t->ehash || !s->cookie)
		return;
	bucket = t->ehash +
		 (__u64)(t->hash & t->mask) * bpf_core_type_size(struct inet_ehash_bucket);
	tw = (void *)BPF_CORE_READ((struct inet_ehash_bucket *)bucket, chain.first) -
	     bpf_core_field_offset(struct sock_common, skc_nulls_node);
	if (BPF_CORE_READ(tw, __tw_common.skc_cookie.counter) != s->cookie)
		return;
	if (BPF_CORE_READ(tw, tw_substate) != TCP_FIN_WAIT2) {
		s->seq = 0;
		return;
	}
	/* An ageing run in between finds the same by searching. */
	s->sk = (__u64)tw;
	barrier();
	s->state = TCP_TIME_WAIT;
}

/*
 * A socket leaves its state. If its slot is found quickly, the ageing pass is
 * spared to look at a socket that is long gone from the cache, and if it is the
 * youngest, the next one takes its place. The ring is busy meanwhile: what a
 * softirq has to remember must not get in between.
 */
static __always_inline void forget(struct sock *sk, int oldstate, int newstate)
{
	__u32 cpu = bpf_get_smp_processor_id(), index, back;
	struct young_cpu *y = bpf_map_lookup_elem(&young_cpus, &cpu);
	/* FIN_WAIT1's slot stands for what comes after, too. */
	bool after = oldstate == TCP_FIN_WAIT2 || oldstate == TCP_CLOSING;
	__u8 state = after ? TCP_FIN_WAIT1 : oldstate;
	struct young_slot *s;

	if (!y || y->busy || after_fin_wait1(oldstate, newstate))
		return;
	y->busy = 1;
	s = recent(y, sk, state, &index, &back);
	if (s && state == TCP_FIN_WAIT1) {
		hand_over(s, index);
	} else if (s) {
		s->seq = 0;
		barrier();
		/*
		 * Not what the ageing pass, which may run elsewhere, could be at: it
		 * would believe that it has looked at who comes to this position next.
		 */
		if (back == 1 && y->tail < y->head && s->jiffies == bpf_jiffies64())
			y->head--;
	}
	y->busy = 0;
}

#endif
