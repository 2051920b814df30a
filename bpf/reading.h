/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A reading: all that the agent asks of a socket at once. */
#ifndef TCPLIMBO_READING_H
#define TCPLIMBO_READING_H

static __always_inline void read_rest(struct sock_values *v, struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;

	if (copied_client(tp, v->state))
		v->flags |= SOCK_CLIENT;
	copied_addresses(v->saddr, v->daddr, &sk->__sk_common);
	v->sport = bpf_ntohs(((struct inet_sock *)tp)->inet_sport);
	v->dport = bpf_ntohs(sk->__sk_common.skc_dport);
	v->hash = sk->__sk_common.skc_hash;
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
	if (!copy_sock(addr))
		return;
	v->cookie = c->skc_cookie.counter;
	v->state = c->skc_state;
	v->flags = copied_flags(tp);
	read_queues(v, tp);
	read_stamps(v, tp);
	read_rest(v, tp);
}

#endif
