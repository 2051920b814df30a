/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a minisocket tells: it stands in for a closed socket in FIN_WAIT2. */
#ifndef TCPLIMBO_TIMEWAIT_H
#define TCPLIMBO_TIMEWAIT_H

/*
 * How many jiffies ago a minisocket entered FIN_WAIT2: its timer ends a
 * fin_timeout later. Not so if TCP_LINGER2 was set; where the estimate is out of
 * bounds it is -1.
 */
static __always_inline __s64 timewait_age(struct inet_timewait_sock *tw)
{
	__s64 left = (__s64)(BPF_CORE_READ(tw, tw_timer.expires) - bpf_jiffies64());
	__s64 whole = BPF_CORE_READ(&tw->__tw_common, skc_net.net, ipv4.sysctl_tcp_fin_timeout);

	return left >= 0 && left <= whole ? whole - left : -1;
}

/*
 * How long a minisocket has been standing, where the kernel notes that, else -1:
 * with TCP_LINGER2 its timer does not tell.
 */
static __always_inline __s32 timewait_ms(struct inet_timewait_sock *tw)
{
	__s32 age;

	if (!bpf_core_field_exists(tw->tw_entry_stamp))
		return -1;
	age = (__u32)(bpf_ktime_get_ns() / 1000000) - BPF_CORE_READ(tw, tw_entry_stamp);
	return age > 0 ? age : 0;
}

static __always_inline void read_timewait(struct sock_values *v, struct inet_timewait_sock *tw)
{
	v->flags = SOCK_TIMEWAIT | SOCK_ORPHAN | SOCK_TIMER;
	/* Freed memory keeps what stood in it until it is used again. */
	if (!BPF_CORE_READ(tw, __tw_common.skc_refcnt.refs.counter))
		v->flags |= SOCK_GONE;
	v->state = BPF_CORE_READ(tw, tw_substate);
	v->sport = bpf_ntohs(BPF_CORE_READ(tw, tw_sport));
	v->expires_jiffies = (__s32)(BPF_CORE_READ(tw, tw_timer.expires) - bpf_jiffies64());
	v->fin_timeout_jiffies =
		BPF_CORE_READ(&tw->__tw_common, skc_net.net, ipv4.sysctl_tcp_fin_timeout);
	v->waiting_ms = timewait_ms(tw);
	/* Nothing is queued or in flight any more: both numbers stand for all. */
	v->rcv_nxt = BPF_CORE_READ(tw, __tw_common.skc_tw_rcv_nxt);
	v->snd_nxt = BPF_CORE_READ(tw, __tw_common.skc_tw_snd_nxt);
	v->copied_seq = v->rcv_nxt;
	v->snd_una = v->snd_nxt;
	v->write_seq = v->snd_nxt;
}

#endif
