/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What moved between kernels: one accessor a change, with the change that made
 * it necessary. Everything else may read the fields by the names of kernel.h.
 */
#ifndef TCPLIMBO_CORE_FIXES_H
#define TCPLIMBO_CORE_FIXES_H

/*
 * bpf_get_socket_cookie() takes a struct sock in tracing programs since 5.12
 * (c5dbb89fc2ac "bpf: Expose bpf_get_socket_cookie to tracing programs"). That
 * cannot be asked for by the helper's number, which is older. 5.12 also brought
 * BPF_FUNC_check_mtu to enum bpf_func_id, which can.
 */
enum bpf_func_id___v512 {
	BPF_FUNC_check_mtu___v512 = 163,
};

static __always_inline bool core_cookie_helper(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id___v512, BPF_FUNC_check_mtu___v512);
}

/*
 * 3ca1032ab7ab "bpf: Implement get_current_task_btf and RET_PTR_TO_BTF_ID", 5.11:
 * the task may be read like any memory, which costs a tenth of asking helpers.
 */
static __always_inline bool core_task_btf_helper(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf);
}

/* The object is one for all machines; arch/x86/include/asm/ptrace.h has ax. */
static __always_inline bool core_amd64(void)
{
	return bpf_core_field_exists(struct pt_regs, ax);
}

/*
 * dd6e10fbd9fb "bpf: Add bpf_task_pt_regs() helper", 5.15: where a system call
 * came from. Asked for on amd64 only.
 */
static __always_inline struct pt_regs *core_user_regs(void)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs) || !core_amd64())
		return NULL;
	return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

static __always_inline unsigned long core_user_sp(void)
{
	struct pt_regs *regs = core_user_regs();

	return regs ? BPF_CORE_READ(regs, sp) : 0;
}

/* 4f19cab76136 "bpf: Add a bpf_sock_from_file helper", 5.11 */
static __always_inline bool core_sock_from_file_helper(void)
{
	return core_cookie_helper() &&
	       bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_sock_from_file);
}

/*
 * d1e5e6408b30 "tcp: Introduce optional per-netns ehash", 6.1: a namespace may
 * have its own table of connections (net.ipv4.tcp_child_ehash_entries). Before,
 * one serves them all, and the protocol names it (4461568aa4e5 cleared that).
 */
static __always_inline struct inet_hashinfo *core_hashinfo(struct net *net,
							   struct inet_hashinfo *global)
{
	struct inet_hashinfo *own = NULL;

	if (!bpf_core_field_exists(struct inet_hashinfo, pernet))
		return global;
	bpf_probe_read_kernel(&own, sizeof(own), &net->ipv4.tcp_death_row.hashinfo);
	return own ? own : global;
}

/*
 * The retransmission timer's end in jiffies. icsk_timeout, a copy of it, is gone
 * in 6.18; the timer itself moved from inet_connection_sock to sock by 7.2 (both
 * seen in the BTF of those kernels).
 */
static __always_inline unsigned long core_retransmit_expires(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	unsigned long expires = 0;

	if (bpf_core_field_exists(icsk->icsk_timeout))
		bpf_probe_read_kernel(&expires, sizeof(expires), &icsk->icsk_timeout);
	else if (bpf_core_field_exists(icsk->icsk_retransmit_timer))
		bpf_probe_read_kernel(&expires, sizeof(expires),
				      &icsk->icsk_retransmit_timer.expires);
	else
		bpf_probe_read_kernel(&expires, sizeof(expires), &sk->tcp_retransmit_timer.expires);
	return expires;
}

/*
 * 08dfe370239e "tcp: introduce icsk->icsk_keepalive_timer", 6.19 and later stable
 * kernels: the timer of keepalive and of orphans in FIN_WAIT2. Before, it was
 * sk_timer, which then became the retransmission timer.
 */
static __always_inline struct timer_list *core_keepalive_timer(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	if (bpf_core_field_exists(icsk->icsk_keepalive_timer))
		return &icsk->icsk_keepalive_timer;
	return &sk->sk_timer;
}

/*
 * 4ecc1baf362c "tcp: convert elligible sysctls to u8", 5.13 and later stable
 * kernels: the namespace's retry counters were int before, with values that a
 * byte holds. Little endian: the first byte is the value's.
 */
#define CORE_READ_SYSCTL(net, name)                                                  \
	({                                                                           \
		__u32 value = 0;                                                     \
		__u32 size = bpf_core_field_size((net)->ipv4.name);                  \
                                                                                     \
		bpf_probe_read_kernel(&value, size == 4 ? 4 : 1, &(net)->ipv4.name); \
		(__u8)(value > 255 ? 255 : value);                                   \
	})

/* ccce324dabfe "tcp: make the first N SYN RTO backoffs linear", 6.5 */
static __always_inline __u8 core_syn_linear_timeouts(struct net *net)
{
	if (!bpf_core_field_exists(net->ipv4.sysctl_tcp_syn_linear_timeouts))
		return 0;
	return CORE_READ_SYSCTL(net, sysctl_tcp_syn_linear_timeouts);
}

/* 54a378f43425 "tcp: add the ability to control max RTO", 6.15; in jiffies */
static __always_inline __u32 core_rto_max(struct inet_connection_sock *icsk)
{
	__u32 max = 0;

	if (bpf_core_field_exists(icsk->icsk_rto_max))
		bpf_probe_read_kernel(&max, sizeof(max), &icsk->icsk_rto_max);
	return max;
}

/*
 * 9d9b1ee0b2d1 "tcp: fix TCP_USER_TIMEOUT with zero window", 5.11 and stable
 * kernels: when zero-window probing began, in jiffies, 0 if it has not. Before,
 * a segment's time stamp served, and how long is left unknown.
 */
static __always_inline __u32 core_probes_tstamp(struct inet_connection_sock *icsk)
{
	__u32 stamp = 0;

	if (bpf_core_field_exists(icsk->icsk_probes_tstamp))
		bpf_probe_read_kernel(&stamp, sizeof(stamp), &icsk->icsk_probes_tstamp);
	return stamp;
}

/*
 * How long the oldest unanswered segment has been waiting, in milliseconds, -1
 * if none is: retrans_stamp, the moment the SYN was sent or retransmitting began,
 * in the units of TCP's timestamps. Those are milliseconds of ktime_get_ns(),
 * since 614e8316aa4c ("tcp: add support for usec resolution in TCP TS values",
 * 6.7) microseconds on some routes.
 */
static __always_inline __s32 core_waiting_ms(struct tcp_sock *tp)
{
	__u32 stamp = BPF_CORE_READ(tp, retrans_stamp);
	__u64 now = bpf_ktime_get_ns();

	if (!stamp)
		return -1;
	if (bpf_core_field_exists(tp->tcp_usec_ts) &&
	    BPF_CORE_READ_BITFIELD_PROBED(tp, tcp_usec_ts))
		return ((__u32)(now / 1000) - stamp) / 1000;
	return (__u32)(now / 1000000) - stamp;
}

/*
 * c504e5c2f964 "net: skb: introduce kfree_skb_reason()", 5.17: the tracepoint
 * kfree_skb says why, as its third argument.
 */
static __always_inline __u32 core_drop_reason(const unsigned long long *kfree_skb_args)
{
	if (!bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED))
		return 0;
	return kfree_skb_args[2];
}

/* A bucket of neighbours and the way through it, see core_neighbour_next(). */
static __always_inline struct neighbour *core_neighbour_of(struct hlist_node *node)
{
	if (!node)
		return NULL;
	return (void *)node - bpf_core_field_offset(struct neighbour, hash);
}

/*
 * f7f52738637f "neighbour: Create netdev->neighbour association" and the
 * commits after it, 6.13: the buckets of the hash table are struct hlist_head.
 * Before, neighbours were linked by a pointer of their own.
 */
static __always_inline struct neighbour *core_neighbour_first(struct neigh_hash_table *nht,
							      __u32 bucket)
{
	struct hlist_node *node = NULL;
	struct neighbour *n = NULL;

	if (bpf_core_field_exists(nht->hash_heads)) {
		bpf_probe_read_kernel(&node, sizeof(node), BPF_CORE_READ(nht, hash_heads) + bucket);
		return core_neighbour_of(node);
	}
	bpf_probe_read_kernel(&n, sizeof(n), BPF_CORE_READ(nht, hash_buckets) + bucket);
	return n;
}

static __always_inline struct neighbour *core_neighbour_next(struct neighbour *n)
{
	if (bpf_core_field_exists(n->hash))
		return core_neighbour_of(BPF_CORE_READ(n, hash.next));
	return BPF_CORE_READ(n, next);
}

/*
 * A Multipath TCP listener's accept queue is that of the TCP socket behind it
 * (net/mptcp/protocol.c, mptcp_listen); kernels may be built without.
 */
static __always_inline struct sock *core_accepting(struct sock *sk)
{
	struct sock *first;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_MPTCP ||
	    !bpf_core_field_exists(struct mptcp_sock, first))
		return sk;
	first = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return first ? first : sk;
}

/*
 * 8520e224f547 "bpf, cgroups: Fix cgroup v2 fallback on v1/v2 mixed mode", 5.15:
 * sock_cgroup_data.cgroup is always the cgroup v2; before, the word may hold
 * other things, and then the cgroup is left unknown.
 */
static __always_inline __u64 core_sock_cgroup_id(struct sock *sk)
{
	struct kernfs_node *kn = NULL;
	struct cgroup *cgrp = NULL;
	__u64 id = 0;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	bpf_probe_read_kernel(&cgrp, sizeof(cgrp), &sk->sk_cgrp_data.cgroup);
	if (!cgrp)
		return 0;
	bpf_probe_read_kernel(&kn, sizeof(kn), &cgrp->kn);
	if (!kn)
		return 0;
	bpf_probe_read_kernel(&id, sizeof(id), &kn->id);
	return id;
}

#endif
