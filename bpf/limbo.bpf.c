// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * tcplimbo's kernel side: tracepoints, one iterator, and programs that are never
 * attached but run by the agent when it wants them.
 */
#include "kernel.h"
#include "net.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "core_fixes.h"

#include "config.h"
#include "event.h"
#include "filter.h"
#include "maps.h"
#include "sock.h"
#include "task.h"
#include "timewait.h"
#include "promote.h"
#include "young.h"
#include "transition.h"
#include "nested.h"
#include "limits.h"
#include "reading.h"
#include "movers.h"
#include "queue.h"
#include "stall.h"
#include "retransmit.h"
#include "peer.h"
#include "census.h"
#include "walk.h"
#include "holders.h"
#include "goroutine.h"
#include "unwind.h"
#include "stack.h"
#include "syn.h"
#include "local.h"

/* Runs of an unattached program are kept short: nothing else runs meanwhile. */
#define AGE_RUN 256
#define WALK_RUN 256
#define WALK_VISITS 4096

#define AGE_MORE 1
#define AGE_PROMOTED 2

static __always_inline void handle(void *ctx, struct sock *sk, int oldstate, int newstate)
{
	/*
	 * close() sets the state that close() leads to, also where that is the same
	 * (net/ipv4/tcp.c, tcp_close_state): a half-closed socket, or a closed one.
	 */
	if (oldstate == newstate)
		return;
	if (trace_all) {
		if (sk->sk_protocol == IPPROTO_TCP)
			trace(sk, EVENT_TRANSITION, oldstate, newstate);
		return;
	}
	if (stacks_wanted && newstate == TCP_SYN_SENT && affordable())
		note_connect(ctx, sk);
	if (stacks_wanted && newstate == TCP_CLOSE && maybe_stacks(sk))
		forget_stacks((__u64)sk, place_of(sk));
	if (follow(sk, oldstate, newstate))
		return;
	if (WATCHED(oldstate))
		forget(sk, oldstate, newstate);
	if (WATCHED(newstate) && !after_fin_wait1(oldstate, newstate))
		remember(sk, newstate);
}

/* net/ipv4/af_inet.c, inet_sk_set_state(): before the new state is stored */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(limbo_set_state, struct sock *sk, int oldstate, int newstate)
{
	if (nested_attached)
		mark(sk, newstate);
	handle(ctx, sk, oldstate, newstate);
	return 0;
}

/*
 * The same tracepoint: takes what the kernel did not show to the first program.
 * Attached under trace and while there are open findings.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(limbo_set_state_nested, struct sock *sk, int oldstate, int newstate)
{
	if (seen(sk, newstate))
		return 0;
	COUNT(nested);
	handle(ctx, sk, oldstate, newstate);
	return 0;
}

/* net/ipv4/tcp_output.c; later arguments differ between kernels and are not used */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(limbo_retransmit, struct sock *sk)
{
	if (trace_all) {
		trace_retransmit(sk);
		return 0;
	}
	count_retransmit(sk);
	retransmitted(sk);
	if (watch_established)
		suspect(sk);
	return 0;
}

/*
 * args: ring, jiffies after which a slot is old enough. Returns AGE_MORE if there
 * are more of those, AGE_PROMOTED if there are events to read. Where stores are
 * seen in their order (amd64), it may run on any CPU; elsewhere, on the ring's.
 */
SEC("raw_tp/tcplimbo_age")
int limbo_age(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 number = ctx->args[0], result = 0;
	__u64 before = bpf_jiffies64() - ctx->args[1];
	struct young_cpu *y = bpf_map_lookup_elem(&young_cpus, &number);
	__u64 position;
	int i, seen;

	if (!y)
		return 0;
	position = y->tail;
	/* Slots that were given back meanwhile may leave head behind. */
	if ((__s64)(y->head - position) < 0)
		position = y->head;
	if (y->head - position > y->slots)
		position = y->head - y->slots;
	for (i = 0; i < AGE_RUN && position < y->head; i++) {
		seen = look(y->base + (__u32)(position & (y->slots - 1)), position, before);
		if (seen == LOOK_TOO_YOUNG)
			break;
		if (seen == LOOK_PROMOTED)
			result = AGE_PROMOTED;
		position++;
	}
	y->tail = position;
	return i == AGE_RUN ? result | AGE_MORE : result;
}

/* args: how many of values to read, by their sk; whether to track them */
SEC("raw_tp/tcplimbo_read")
int limbo_read(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 count = ctx->args[0], tracking = ctx->args[1];

	forget_net_limits();
	for (__u32 i = 0; i < VALUES; i++) {
		if (i >= count)
			break;
		read_value(i, tracking);
	}
	return 0;
}

/* args: how many of glances to take */
SEC("raw_tp/tcplimbo_glance")
int limbo_glance(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 count = ctx->args[0];

	for (__u32 i = 0; i < VALUES; i++) {
		if (i >= count)
			break;
		glance_at(i);
	}
	return 0;
}

/* walk.next: where to begin, and afterwards where to go on */
SEC("raw_tp/tcplimbo_walk")
int limbo_walk(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 bucket = walk.next;

	forget_net_limits();
	walk.count = 0;
	walk.visited = 0;
	for (int i = 0; i < WALK_RUN && bucket < walk.buckets; i++) {
		__u32 done = walk_block(bucket);

		bucket += done;
		if (done != BLOCK || walk.visited >= WALK_VISITS)
			break;
	}
	walk.next = bucket;
	return 0;
}

/* args: first bucket. Adds to census; returns where to go on, 0 for nowhere. */
SEC("raw_tp/tcplimbo_listeners")
int limbo_listeners(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 bucket = ctx->args[0];

	for (int i = 0; i < WALK_RUN; i++) {
		__u32 done = count_listeners(bucket);

		bucket += done;
		if (done != BLOCK)
			return 0;
	}
	return bucket;
}

/* The namespace of the first process: its table of connections is everybody's. */
static __always_inline struct net *initial_net(struct task_struct *task)
{
	for (int i = 0; i < 64; i++) {
		if (BPF_CORE_READ(task, tgid) <= 1)
			break;
		task = BPF_CORE_READ(task, real_parent);
	}
	return BPF_CORE_READ(task, nsproxy, net_ns);
}

/*
 * args: descriptor of a TCP socket of the caller that was never connected. Its
 * time-out is one second (TCP_TIMEOUT_INIT, net/ipv4/tcp.c, tcp_init_sock), which
 * tells the kernel's HZ; its protocol may tell where the connections are kept.
 */
SEC("raw_tp/tcplimbo_learn")
int limbo_learn(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **fds = BPF_CORE_READ(task, files, fdt, fd);
	struct inet_hashinfo *hashinfo;
	struct file *file = NULL;
	struct socket *sock;
	struct sock *sk;

	walk.jiffies = bpf_jiffies64();
	walk.pid_level = BPF_CORE_READ(task, thread_pid, level);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[(__u32)ctx->args[0]]);
	if (!file)
		return 1;
	sock = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(sock, sk);
	hashinfo = core_hashinfo(initial_net(task),
				 BPF_CORE_READ(sk, __sk_common.skc_prot, h.hashinfo));
	if (!hashinfo)
		return 2;
	walk.hz = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_rto);
	walk.buckets = BPF_CORE_READ(hashinfo, ehash_mask) + 1;
	walk.hashinfo = (__u64)hashinfo;
	return 0;
}

SEC("iter/task_file")
int limbo_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct holder h = {};
	struct socket *sock;
	struct sock *sk;
	__u8 state;

	if (!task || !file || (file->f_inode->i_mode & S_IFMT) != S_IFSOCK)
		return 0;
	sock = file->private_data;
	sk = BPF_CORE_READ(sock, sk);
	if (!sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (!is_tcp(sk, state) || !holder_wanted(sk, state))
		return 0;
	describe_holder(&h, task, ctx->fd, sk);
	h.cookie = file_cookie(file, sk);
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}

/*
 * net/core/skbuff.c: a packet is thrown away. Attached only while a socket waits
 * in SYN_SENT. The reason is read from ctx, because older kernels have none.
 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(limbo_syn_dropped, struct sk_buff *skb, void *location)
{
	struct sock *sk = skb->sk;

	if (!sk || sk->__sk_common.skc_state != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	note_syn_drop(ctx, sk, skb, (__u64)location, core_drop_reason(ctx));
	return 0;
}

/* args: how many of syn_causes to fill in, by their sk and cookie */
SEC("raw_tp/tcplimbo_syn")
int limbo_syn(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 count = ctx->args[0];

	for (__u32 i = 0; i < VALUES; i++) {
		if (i >= count)
			break;
		read_cause(i);
	}
	return 0;
}

/* args: a socket. Whether asked_address is an address of its network namespace. */
SEC("raw_tp/tcplimbo_local")
int limbo_local(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock_common *c = (struct sock_common *)ctx->args[0];

	return has_address(BPF_CORE_READ(c, skc_net.net));
}

/* The record of syscalls/sys_exit_*, as /sys/kernel/tracing shows its format. */
struct sys_exit {
	__u64 common;
	__s64 nr;
	__s64 ret;
};

/* Attached to the ends of accept and accept4, where the descriptor is known. */
SEC("tracepoint/syscalls/sys_exit_accept4")
int limbo_accept(struct sys_exit *ctx)
{
	if (ctx->ret >= 0 && affordable())
		note_accept(ctx, ctx->ret);
	return 0;
}

/*
 * net/socket.c, sock_recvmsg_nosec(), 6.3: what a receive returned. Attached only
 * while leaks in CLOSE_WAIT are known.
 */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(limbo_eof, struct sock *sk, int ret, int flags)
{
	if (ret || (flags & MSG_PEEK))
		return 0;
	if (sk->__sk_common.skc_state == TCP_CLOSE_WAIT && sk->sk_protocol == IPPROTO_TCP)
		note_eof(ctx, sk);
	return 0;
}

/* BTF keeps only types that something names: these are for bpf2go alone. */
const struct event *keep_event __attribute__((unused));
const struct syn_cause *keep_syn_cause __attribute__((unused));
const struct holder *keep_holder __attribute__((unused));
const struct sock_stacks *keep_sock_stacks __attribute__((unused));
const struct user_stack *keep_user_stack __attribute__((unused));
const enum stack_of *keep_stack_of __attribute__((unused));
const enum event_type *keep_event_type __attribute__((unused));
const enum mover_is *keep_mover_is __attribute__((unused));
const enum sock_flag *keep_sock_flag __attribute__((unused));
const enum retransmit_kind *keep_retransmit_kind __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
