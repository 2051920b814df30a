/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A reading: all that the agent asks of a socket at once, or a glance at it. */
#ifndef TCPLIMBO_READING_H
#define TCPLIMBO_READING_H

/* include/net/inet_connection_sock.h, icsk_pending */
#define ICSK_TIME_PROBE0 3

/* What an earlier reading showed. */
struct seen {
	__u64 cookie;
	__u32 snd_una;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 pad;
};

static __always_inline void span(__u32 *from, __u32 *to, __u32 at, __u32 size)
{
	if (at < *from)
		*from = at;
	if (at + size > *to)
		*to = at + size;
}

#define SPAN(sock, field) \
	span(&from, &to, __CORE_RELO(sock, field, BYTE_OFFSET), __CORE_RELO(sock, field, BYTE_SIZE))

/* The part of a socket that tells whether its data moves: a fifth of it. */
static __always_inline bool copy_progress(__u64 addr)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sock_copy;
	__u32 from = sizeof(sock_copy), to = 0;

	SPAN(icsk, icsk_pending);
	SPAN(icsk, icsk_ack.lrcvtime);
	SPAN(tp, chrono_type);
	SPAN(tp, chrono_start);
	SPAN(tp, lsndtime);
	SPAN(tp, write_seq);
	SPAN(tp, snd_una);
	SPAN(tp, rcv_nxt);
	SPAN(tp, copied_seq);
	SPAN(tp, rcv_tstamp);
	if (from >= to || to > sizeof(sock_copy))
		return false;
	return !bpf_probe_read_kernel((void *)sock_copy + from, to - from, (void *)addr + from);
}

/*
 * Of ESTABLISHED sockets where data waits, nearly all move it: then that is all
 * there is to know. True if all that was seen to wait, and may still, has moved;
 * what is read then says since when the rest waits at most. A closed window
 * proves that by other stamps than these.
 */
static __always_inline bool glance(struct sock_values *v, const struct seen *seen, __u64 addr)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	struct sock_common *c = (struct sock_common *)sock_copy;

	if (!seen->cookie || c->skc_cookie.counter != seen->cookie ||
	    c->skc_state != TCP_ESTABLISHED || !copy_progress(addr))
		return false;
	if (((struct inet_connection_sock *)tp)->icsk_pending == ICSK_TIME_PROBE0)
		return false;
	if (tp->write_seq != tp->snd_una && tp->snd_una == seen->snd_una &&
	    tp->rcv_nxt == seen->rcv_nxt)
		return false;
	if (tp->rcv_nxt != tp->copied_seq && tp->copied_seq == seen->copied_seq)
		return false;
	v->cookie = seen->cookie;
	v->state = TCP_ESTABLISHED;
	v->moved = 1;
	v->snd_una = tp->snd_una;
	v->write_seq = tp->write_seq;
	v->rcv_nxt = tp->rcv_nxt;
	v->copied_seq = tp->copied_seq;
	read_stamps(v, tp);
	return true;
}

static __always_inline void read_rest(struct sock_values *v, struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;

	if (copied_client(tp, v->state))
		v->flags |= SOCK_CLIENT;
	copied_addresses(v->saddr, v->daddr, &sk->__sk_common);
	v->sport = bpf_ntohs(((struct inet_sock *)tp)->inet_sport);
	v->dport = bpf_ntohs(sk->__sk_common.skc_dport);
	v->uid = sk->sk_uid.val;
	v->inode = read_inode(sk->sk_socket);
	v->cgroup_id = core_sock_cgroup_id(sk);
	v->err = sk->sk_err;
	v->err_soft = sk->sk_err_soft;
	v->shutdown = sk->sk_shutdown;
	v->accept_queue = sk->sk_ack_backlog;
	v->accept_limit = sk->sk_max_ack_backlog;
	read_timer(v, tp);
	read_limits(v, tp);
}

static __always_inline void read_sock(struct sock_values *v, __u64 addr)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	struct sock_common *c = (struct sock_common *)sock_copy;
	struct seen seen = { .cookie = v->cookie,
			     .snd_una = v->snd_una,
			     .rcv_nxt = v->rcv_nxt,
			     .copied_seq = v->copied_seq };
	bool glances = v->moved;

	__builtin_memset(v, 0, sizeof(*v));
	v->sk = addr;
	v->flags = SOCK_GONE;
	if (!copy_common(addr))
		return;
	if (c->skc_state == TCP_TIME_WAIT) {
		v->cookie = c->skc_cookie.counter;
		v->state = TCP_TIME_WAIT;
		v->jiffies = (__u32)bpf_jiffies64();
		v->netns = read_netns(c);
		v->dport = bpf_ntohs(c->skc_dport);
		copied_addresses(v->saddr, v->daddr, c);
		read_timewait(v, (struct inet_timewait_sock *)addr);
		return;
	}
	if ((glances && glance(v, &seen, addr)) || !copy_sock(addr))
		return;
	v->cookie = c->skc_cookie.counter;
	v->state = c->skc_state;
	v->flags = copied_flags(tp);
	read_queues(v, tp);
	read_stamps(v, tp);
	read_rest(v, tp);
}

#endif
