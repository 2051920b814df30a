/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What made the kernel send a segment again, from the socket as it is inside
 * tcp_retransmit_skb(). 5.10 to 7.2 agree on what this needs:
 *
 * - A timer's handler clears icsk_pending before tcp_retransmit_timer() and not
 *   before tcp_send_loss_probe() (net/ipv4/tcp_timer.c, tcp_write_timer_handler).
 * - tcp_retransmit_timer() enters Loss first and adds to icsk_backoff last.
 * - tcp_xmit_retransmit_queue(), by ACKs and by the reordering timer, runs in
 *   Recovery or Loss. A loss probe's timer is set in Open or CWR only, but may be
 *   pending still when an ACK begins a Recovery: so the state is asked first.
 *
 * Two rare ones are told wrong: a timeout brought forward by an ICMP error
 * (tcp_ld_RTO_revert) as slow start, and lost segments after a smaller path MTU
 * (tcp_simple_retransmit) likewise.
 */
#ifndef TCPLIMBO_RETRANSMIT_H
#define TCPLIMBO_RETRANSMIT_H

/* include/uapi/linux/tcp.h, enum tcp_ca_state */
#define CA_RECOVERY 3
#define CA_LOSS 4
/* include/net/inet_connection_sock.h, ICSK_TIME_LOSS_PROBE */
#define TIMER_LOSS_PROBE 5

/* Of all sockets; a cache line apart from what every transition reads. */
__u64 retransmit_counts[RETRANSMIT_KINDS] __attribute__((aligned(128))) = {};

static __always_inline __u8 timer_kind(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	/* The peer took its window back from what is in flight already. */
	if (!BPF_CORE_READ(tp, snd_wnd) && !(sk->__sk_common.skc_flags & (1UL << SOCK_DEAD)))
		return RETRANSMIT_PROBE;
	return BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_backoff) ? RETRANSMIT_BACKOFF :
										RETRANSMIT_RTO;
}

static __always_inline __u8 retransmit_kind(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	__u8 state = sk->__sk_common.skc_state;
	__u8 ca = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	__u8 pending = BPF_CORE_READ(icsk, icsk_pending);

	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return RETRANSMIT_SYN;
	switch (ca) {
	case CA_RECOVERY:
		return RETRANSMIT_FAST;
	case CA_LOSS:
		return pending ? RETRANSMIT_SLOW_START : timer_kind(sk);
	}
	return pending == TIMER_LOSS_PROBE ? RETRANSMIT_TLP : RETRANSMIT_OTHER;
}

static __always_inline void count_retransmit(struct sock *sk)
{
	__u32 kind = retransmit_kind(sk);

	if (kind < RETRANSMIT_KINDS)
		__sync_fetch_and_add(&retransmit_counts[kind], 1);
}

/* As trace() does for a change of state. */
static __always_inline void trace_retransmit(struct sock *sk)
{
	struct event e = {
		.time_ns = bpf_ktime_get_boot_ns(),
		.cookie = sock_cookie(sk),
		.type = EVENT_RETRANSMIT,
		.old_state = sk->__sk_common.skc_state,
		.new_state = sk->__sk_common.skc_state,
		.retransmit_kind = retransmit_kind(sk),
	};

	describe(&e, sk);
	if (!trace_wants(&e, event_family(&e)))
		return;
	if (bpf_ringbuf_output(&events, &e, sizeof(e), wake_flags()))
		COUNT(ring_full);
}

#endif
