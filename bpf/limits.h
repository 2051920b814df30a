/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* When the kernel gives a socket up: its options, or what its namespace has for all. */
#ifndef TCPLIMBO_LIMITS_H
#define TCPLIMBO_LIMITS_H

/* What the namespace sets for all its sockets: read once as long as they follow each other. */
static struct net_limits {
	__u64 net;
	__u32 keepalive_jiffies;
	__u32 interval_jiffies;
	__s32 fin_timeout_jiffies;
	__u8 keepalive_probes;
	__u8 syn_retries;
	__u8 syn_linear_timeouts;
	__u8 retries2;
	__u8 orphan_retries;
	__u8 pad[3];
	__u32 inum;
} net_limits;

static __always_inline void read_net_limits(struct net *net)
{
	struct net_limits *l = &net_limits;

	if (l->net == (__u64)net)
		return;
	l->net = (__u64)net;
	l->inum = BPF_CORE_READ(net, ns.inum);
	l->keepalive_jiffies = BPF_CORE_READ(net, ipv4.sysctl_tcp_keepalive_time);
	l->interval_jiffies = BPF_CORE_READ(net, ipv4.sysctl_tcp_keepalive_intvl);
	l->fin_timeout_jiffies = BPF_CORE_READ(net, ipv4.sysctl_tcp_fin_timeout);
	l->keepalive_probes = CORE_READ_SYSCTL(net, sysctl_tcp_keepalive_probes);
	l->syn_retries = CORE_READ_SYSCTL(net, sysctl_tcp_syn_retries);
	l->syn_linear_timeouts = core_syn_linear_timeouts(net);
	l->retries2 = CORE_READ_SYSCTL(net, sysctl_tcp_retries2);
	l->orphan_retries = CORE_READ_SYSCTL(net, sysctl_tcp_orphan_retries);
}

/* Settings may change between two runs. */
static __always_inline void forget_net_limits(void)
{
	net_limits.net = 0;
}

static __always_inline void read_keepalive(struct sock_values *v, struct tcp_sock *tp)
{
	struct timer_list *timer = core_keepalive_timer((struct sock *)tp);
	unsigned int time = tp->keepalive_time, interval = tp->keepalive_intvl;
	__u8 probes = tp->keepalive_probes;

	v->keepalive_jiffies = time ? time : net_limits.keepalive_jiffies;
	v->interval_jiffies = interval ? interval : net_limits.interval_jiffies;
	v->keepalive_probes = probes ? probes : net_limits.keepalive_probes;
	if (BPF_CORE_READ(timer, entry.pprev)) {
		v->keepalive_timer = 1;
		v->keepalive_expires = (__s32)(BPF_CORE_READ(timer, expires) - bpf_jiffies64());
	}
}

/* What decides when the kernel gives up; net/ipv4/tcp_timer.c is what uses it. */
static __always_inline void read_limits(struct sock_values *v, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;
	__u32 probing = core_probes_tstamp(icsk);
	__u8 syn_retries = icsk->icsk_syn_retries;
	int linger2 = tp->linger2;

	read_net_limits(((struct sock *)tp)->__sk_common.skc_net.net);
	v->netns = net_limits.inum;
	v->rto_max_jiffies = core_rto_max(icsk);
	v->user_timeout_ms = icsk->icsk_user_timeout;
	v->probing_jiffies = probing ? (__s32)(v->jiffies - probing) : -1;
	v->fin_timeout_jiffies = linger2 < 0 ? -1 : linger2;
	if (!linger2)
		v->fin_timeout_jiffies = net_limits.fin_timeout_jiffies;
	v->syn_retries = syn_retries ? syn_retries : net_limits.syn_retries;
	v->syn_linear_timeouts = net_limits.syn_linear_timeouts;
	v->retries2 = net_limits.retries2;
	v->orphan_retries = net_limits.orphan_retries;
	read_keepalive(v, tp);
}

#endif
