/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Readers of sockets. Those that take a pointer out of a map use probe reads
 * only: the socket may be freed and its memory be anything, so a reader never
 * faults and the caller compares cookie, state and addresses before it believes.
 */
#ifndef TCPLIMBO_SOCK_H
#define TCPLIMBO_SOCK_H

/* include/net/inet_connection_sock.h, icsk_pending */
#define ICSK_TIME_PROBE0 3

#define WATCHED(state) (watch_states & (1U << (31 & (state))))

static __always_inline void put_ipv4(__u8 to[16], __be32 addr)
{
	__u32 *w = (__u32 *)to;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = addr;
}

static __always_inline void read_addresses(__u8 saddr[16], __u8 daddr[16], struct sock_common *c)
{
	if (BPF_CORE_READ(c, skc_family) == AF_INET6) {
		bpf_probe_read_kernel(saddr, 16, &c->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(daddr, 16, &c->skc_v6_daddr);
		/* While connecting, only the IPv4 half of a mapped source is set. */
		if (((__u32 *)daddr)[0] || ((__u32 *)daddr)[1] ||
		    ((__u32 *)daddr)[2] != bpf_htonl(0xffff))
			return;
	}
	put_ipv4(saddr, BPF_CORE_READ(c, skc_rcv_saddr));
	put_ipv4(daddr, BPF_CORE_READ(c, skc_daddr));
}

static __always_inline void copy_address(__u8 to[16], const struct in6_addr *from)
{
	__builtin_memcpy(to, from, 16);
}

/* The same of a copy. */
static __always_inline void copied_addresses(__u8 saddr[16], __u8 daddr[16], struct sock_common *c)
{
	if (c->skc_family == AF_INET6) {
		copy_address(saddr, &c->skc_v6_rcv_saddr);
		copy_address(daddr, &c->skc_v6_daddr);
		if (((__u32 *)daddr)[0] || ((__u32 *)daddr)[1] ||
		    ((__u32 *)daddr)[2] != bpf_htonl(0xffff))
			return;
	}
	put_ipv4(saddr, c->skc_rcv_saddr);
	put_ipv4(daddr, c->skc_daddr);
}

static __always_inline __u32 read_netns(struct sock_common *c)
{
	return BPF_CORE_READ(c, skc_net.net, ns.inum);
}

/*
 * A child of a listener inherits the listener's bind bucket, without the lock bit
 * (net/core/sock.c, sk_clone_lock); connect() makes buckets with fastreuse -1
 * (net/ipv4/inet_hashtables.c, __inet_hash_connect).
 */
static __always_inline bool is_client(__u8 userlocks, struct inet_bind_bucket *tb)
{
	return userlocks & SOCK_BINDPORT_LOCK || (tb && BPF_CORE_READ(tb, fastreuse) < 0);
}

static __always_inline bool read_client(struct sock *sk)
{
	return is_client(BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks),
			 BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_bind_hash));
}

/*
 * A copy of the socket that is being read: one probe read of it all costs a tenth
 * of one for each field, and fields of a copy are plain loads. Only programs that
 * the agent runs read sockets, one at a time.
 */
#define COPY_MAX 8192
static __u64 sock_copy[COPY_MAX / 8];

/* What minisockets have too, up to the cookie; false where the memory cannot be read. */
static __always_inline bool copy_common(__u64 addr)
{
	__u32 size = bpf_core_field_offset(struct sock_common, skc_cookie) + sizeof(__u64);

	return size <= sizeof(sock_copy) && !bpf_probe_read_kernel(sock_copy, size, (void *)addr);
}

/* False where the memory cannot be read: it was a socket once. */
static __always_inline bool copy_sock(__u64 addr)
{
	__u32 size = bpf_core_type_size(struct tcp_sock);

	return size <= sizeof(sock_copy) && !bpf_probe_read_kernel(sock_copy, size, (void *)addr);
}

static __always_inline __u8 copied_flags(struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;
	unsigned long flags = sk->__sk_common.skc_flags;
	__u8 out = 0;

	if (flags & (1UL << SOCK_DEAD))
		out |= SOCK_ORPHAN;
	if (flags & (1UL << SOCK_KEEPOPEN))
		out |= SOCK_KEEPALIVE;
	if (sk->sk_socket)
		out |= SOCK_HAS_SOCKET;
	return out;
}

static __always_inline bool copied_client(struct tcp_sock *tp, __u8 state)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;

	return state == TCP_SYN_SENT ||
	       (state != TCP_LISTEN &&
		is_client(BPF_CORE_READ_BITFIELD((struct sock *)tp, sk_userlocks),
			  icsk->icsk_bind_hash));
}

/* net/socket.c, SOCK_INODE() */
static __always_inline __u64 read_inode(struct socket *sock)
{
	return sock ? BPF_CORE_READ((struct socket_alloc *)sock, vfs_inode.i_ino) : 0;
}

static __always_inline void read_queues(struct sock_values *v, struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;

	v->snd_una = tp->snd_una;
	v->snd_nxt = tp->snd_nxt;
	v->write_seq = tp->write_seq;
	v->rcv_nxt = tp->rcv_nxt;
	v->copied_seq = tp->copied_seq;
	v->snd_wnd = tp->snd_wnd;
	v->srtt_us = tp->srtt_us >> 3;
	v->min_rtt_us = tp->rtt_min.s[0].v; /* ~0 until measured, tcp_init_sock */
	v->receive_memory = sk->sk_backlog.rmem_alloc.counter;
	v->receive_buffer = sk->sk_rcvbuf;
}

/* The kernel's stamps are the low 32 bits of jiffies; 0 is one that was never set. */
static __always_inline __u32 jiffies_since(__u64 now, __u32 stamp)
{
	return stamp ? (__u32)now - stamp : NEVER;
}

static __always_inline void read_stamps(struct sock_values *v, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;
	__u64 now = bpf_jiffies64();

	v->jiffies = (__u32)now;
	v->received_jiffies = jiffies_since(now, icsk->icsk_ack.lrcvtime);
	v->acked_jiffies = jiffies_since(now, tp->rcv_tstamp);
	v->sent_jiffies = jiffies_since(now, tp->lsndtime);
	v->busy_jiffies = NEVER;
	/* net/ipv4/tcp_output.c, tcp_chrono_set: every type but 0 has data queued */
	if (BPF_CORE_READ_BITFIELD(tp, chrono_type))
		v->busy_jiffies = (__u32)now - tp->chrono_start;
}

static __always_inline void read_timer(struct sock_values *v, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;

	v->rto_jiffies = icsk->icsk_rto;
	v->retransmits = icsk->icsk_retransmits;
	v->backoff = icsk->icsk_backoff;
	v->probes_out = icsk->icsk_probes_out;
	v->pending = icsk->icsk_pending;
	v->waiting_ms = v->state == TCP_SYN_SENT || v->retransmits ? core_waiting_ms(tp) : -1;
	if (v->pending) {
		v->expires_jiffies =
			(__s32)((__u32)core_retransmit_expires((struct sock *)tp) - v->jiffies);
		v->flags |= SOCK_TIMER;
	}
}

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

/* A pid as the agent's namespace numbers it; 0 where it does not see it. */
static __always_inline __u32 pid_in_namespace(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid *nr;
	__u32 out = 0;

	if (!pid || BPF_CORE_READ(pid, level) < walk.pid_level)
		return 0;
	nr = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	     walk.pid_level * bpf_core_type_size(struct upid);
	bpf_probe_read_kernel(&out, sizeof(out), &nr->nr);
	return out;
}

/* As the agent's namespace numbers them; the kernel's own numbers are at level 0. */
static __always_inline void ids_in_namespace(__u32 *pid, __u32 *tid)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	*tid = pid_in_namespace(task);
	*pid = pid_in_namespace(BPF_CORE_READ(task, group_leader));
}

/* Right only where the kernel is in the context of the caller. */
static __always_inline void current_ids(__u32 *pid, __u32 *tid, __u8 comm[COMM_LEN])
{
	if (core_task_btf_helper()) {
		struct task_struct *task = bpf_get_current_task_btf();
		__u64 *from = (__u64 *)task->comm, *to = (__u64 *)comm;

		*pid = task->tgid;
		*tid = task->pid;
		to[0] = from[0];
		to[1] = from[1];
	} else {
		__u64 ids = bpf_get_current_pid_tgid();

		*pid = ids >> 32;
		*tid = (__u32)ids;
		bpf_get_current_comm(comm, COMM_LEN);
	}
	if (walk.pid_level)
		ids_in_namespace(pid, tid);
}

/* The user is the socket's: the task's costs more to ask for than all else. */
static __always_inline void current_task(struct task_id *t, struct sock *sk)
{
	current_ids(&t->pid, &t->tid, t->comm);
	t->uid = sk->sk_uid.val;
}

/*
 * The transitions that happen in the context of the program that asked for
 * them: connect, shutdown and close. The others come out of softirq, where the
 * current task is whoever was interrupted.
 */
static __always_inline bool in_process_context(int newstate)
{
	return newstate == TCP_SYN_SENT || newstate == TCP_FIN_WAIT1 || newstate == TCP_LAST_ACK;
}

/* An identity that no later socket at this address has; made if need be. */
static __always_inline __u64 sock_cookie(struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	if (!cookie && core_cookie_helper())
		cookie = bpf_get_socket_cookie(sk);
	return cookie;
}

#endif
