/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who has a descriptor of a socket, from a walk over all tasks' files. */
#ifndef TCPLIMBO_HOLDERS_H
#define TCPLIMBO_HOLDERS_H

/*
 * Netlink's protocols and raw sockets use the number 6 too. A listener may be
 * MPTCP (Go's are, by default) and hand out plain TCP connections.
 */
static __always_inline bool is_tcp(struct sock *sk, __u8 state)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u16 protocol = BPF_CORE_READ(sk, sk_protocol);

	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_type) == SOCK_STREAM &&
	       (protocol == IPPROTO_TCP || (protocol == IPPROTO_MPTCP && state == TCP_LISTEN));
}

static __always_inline bool holder_wanted(struct sock *sk, __u8 state)
{
	__u64 key = (__u64)sk;

	if (holder_states & (1U << (state & 31)))
		return true;
	if (bpf_map_lookup_elem(&wanted, &key))
		return true;
	if (state != TCP_LISTEN)
		return false;
	key = BPF_CORE_READ(sk, __sk_common.skc_num);
	return bpf_map_lookup_elem(&wanted, &key);
}

/* Asking the file, not its private_data, gives a pointer the cookie helper takes. */
static __always_inline __u64 file_cookie(struct file *file, struct sock *sk)
{
	struct socket *sock;

	if (!core_sock_from_file_helper())
		return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	sock = bpf_sock_from_file(file);
	if (!sock || !sock->sk)
		return 0;
	return bpf_get_socket_cookie(sock->sk);
}

static __always_inline void describe_holder(struct holder *h, struct task_struct *task, __u32 fd,
					    struct sock *sk)
{
	h->sk = (__u64)sk;
	h->fd = fd;
	h->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	h->netns = read_netns(&sk->__sk_common);
	h->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	h->accept_queue = BPF_CORE_READ(core_accepting(sk), sk_ack_backlog);
	h->accept_limit = BPF_CORE_READ(core_accepting(sk), sk_max_ack_backlog);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6)
		bpf_probe_read_kernel(h->addr, sizeof(h->addr), &sk->__sk_common.skc_v6_rcv_saddr);
	else
		put_ipv4(h->addr, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	h->task.tid = pid_in_namespace(task);
	h->task.pid = pid_in_namespace(task->group_leader);
	h->task.uid = BPF_CORE_READ(task, cred, uid.val);
	h->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_probe_read_kernel(h->task.comm, sizeof(h->task.comm), task->group_leader->comm);
}

#endif
