/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ESTABLISHED sockets whose data may not move. Nothing happens in them that a
 * tracepoint could tell, so a walk picks those where something waits, and a
 * retransmission wakes the reader early. Whether they are stalled is decided in
 * Go, on two readings.
 */
#ifndef TCPLIMBO_STALL_H
#define TCPLIMBO_STALL_H

/* Of ESTABLISHED sockets a walk takes only those where something waits. */
__u32 walk_waiting = 0;
/* Written data waits if no ACK came for so many jiffies. */
__u32 walk_quiet = 0;
/* Also those without keepalive that have been idle for so many jiffies; 0: not. */
__u32 walk_idle = 0;

/*
 * A transfer that moves gets ACKs all the time, and its timer does not fire. A
 * closed window gets them too, in answer to probes.
 */
static __always_inline bool may_not_drain(struct tcp_sock *tp, __u32 now)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;

	return now - ((struct tcp_sock *)sock_copy)->rcv_tstamp >= walk_quiet ||
	       !BPF_CORE_READ(tp, snd_wnd) || BPF_CORE_READ(icsk, icsk_retransmits) ||
	       BPF_CORE_READ(icsk, icsk_pending) == ICSK_TIME_PROBE0;
}

static __always_inline bool idles(struct sock *sk, __u32 now)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return now - BPF_CORE_READ(tp, rcv_tstamp) >= walk_idle &&
	       now - BPF_CORE_READ(tp, lsndtime) >= walk_idle &&
	       now - BPF_CORE_READ(tp, inet_conn.icsk_ack.lrcvtime) >= walk_idle &&
	       !(BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << SOCK_KEEPOPEN));
}

/*
 * Nearly all sockets have nothing queued either way, which takes fewer cache
 * lines to see than the sequence numbers do. What arrives out of order counts as
 * memory too.
 */
static __always_inline bool queues_empty(struct sock *copy)
{
	return !copy->sk_backlog.rmem_alloc.counter && !copy->sk_wmem_queued && copy->sk_socket;
}

/*
 * Something waits: to be acknowledged, to be sent, to be read or to be accepted.
 * copy is the beginning of it.
 */
static __always_inline bool waits(struct sock *sk, struct sock *copy)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	__u32 now = (__u32)bpf_jiffies64();
	bool mover;

	if (queues_empty(copy))
		return walk_idle && idles(sk, now);
	mover = is_mover((__u64)sk, &copy->__sk_common);
	if (mover && !copy->sk_wmem_queued)
		return false;
	if (!copy_progress((__u64)sk))
		return false;
	if (tp->write_seq != tp->snd_una)
		add_queue((__u64)sk, now);
	if (mover)
		return false;
	if (tp->rcv_nxt != tp->copied_seq)
		return true;
	if (tp->write_seq != tp->snd_una)
		return may_not_drain((struct tcp_sock *)sk, now);
	return !copy->sk_socket;
}

/*
 * The retransmission timer fired for the third or the fifth time in a row; what
 * is acknowledged in between sets the count to 0 (net/ipv4/tcp_input.c, tcp_ack).
 * With the shortest time-out that is after 1.4 and 6.2 s: two events a stall, and
 * none of a path that merely loses packets. A host whose network went away has
 * thousands of them at once; they take no more than half of the ring buffer,
 * and the next walk finds the rest.
 */
static __always_inline void suspect(struct sock *sk)
{
	__u8 retransmits = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_retransmits);
	struct event *e;

	if (sk->__sk_common.skc_state != TCP_ESTABLISHED || (retransmits != 3 && retransmits != 5))
		return;
	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) * 2 >
	    bpf_ringbuf_query(&events, BPF_RB_RING_SIZE)) {
		COUNT(stall_unsaid);
		return;
	}
	e = new_event(EVENT_RETRANSMIT);
	if (!e)
		return;
	describe(e, sk);
	e->cookie = sock_cookie(sk);
	e->old_state = TCP_ESTABLISHED;
	e->new_state = TCP_ESTABLISHED;
	send_event(e);
}

#endif
