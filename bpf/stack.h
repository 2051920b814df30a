/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which code opened a socket, and which read its end of file: user stacks, taken
 * where the kernel is in the context of the program that does so. Each stack is
 * kept once, under a hash of all that it is, so an id that outlives its stack
 * cannot come to name another one.
 */
#ifndef TCPLIMBO_STACK_H
#define TCPLIMBO_STACK_H

/* Of the stacks and sockets that were used least recently room is made for others. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set */
	__type(key, __u64);
	__type(value, struct user_stack);
} user_stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set */
	__type(key, __u64);
	__type(value, struct sock_stacks);
} socket_stacks SEC(".maps");

/* Of socket_stacks, by place: where stacks are samples, most sockets have none. */
struct filter stacks_filter = {};
__u64 stacks_filter_at = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set */
	__type(key, __u32);
	__type(value, struct stack_cpu);
} stack_cpus SEC(".maps");

/* Processes whose stacks are always taken, by pid in the agent's namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u8);
} leaky_processes SEC(".maps");

/* There are some. */
bool leaky_known = false;

static __always_inline __u32 current_pid(void)
{
	__u32 pid = 0, tid;

	if (walk.pid_level)
		ids_in_namespace(&pid, &tid);
	else
		pid = bpf_get_current_pid_tgid() >> 32;
	return pid;
}

static __always_inline bool leaks(void)
{
	__u32 pid;

	if (!leaky_known)
		return false;
	pid = current_pid();
	return bpf_map_lookup_elem(&leaky_processes, &pid);
}

static __always_inline struct young_cpu *stack_budget(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&young_cpus, &cpu);
}

/* May this CPU take one more stack? Says nothing of whether it does. */
static __always_inline bool affordable(void)
{
	struct young_cpu *y;

	if (stacks_always)
		return true;
	y = stack_budget();
	if (!y)
		return false;
	if (y->stack_credit || leaks())
		return true;
	y->stacks_refused++;
	return false;
}

/* FNV's idea with the golden ratio's multiplier; the shift brings high bits down. */
static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

static __always_inline __u64 stack_id(const struct user_stack *s)
{
	__u64 hash = mix(mix(mix(s->pid, s->start_ns), s->start_stack), s->caller);

	for (int i = 0; i < STACK_FRAMES; i++)
		hash = mix(hash, s->frames[i]);
	return hash | 2;
}

static __always_inline bool same_stack(const struct user_stack *a, const struct user_stack *b)
{
	__u64 differ = a->start_ns ^ b->start_ns;

	differ |= (a->start_stack ^ b->start_stack) | (a->caller ^ b->caller);
	differ |= a->pid ^ b->pid;
	for (int i = 0; i < STACK_FRAMES; i++)
		differ |= a->frames[i] ^ b->frames[i];
	return !differ;
}

/* Returns the stack's id, STACK_ID_NONE if there is no room for it. */
static __always_inline __u64 keep_stack(struct user_stack *s, __u32 count)
{
	__u64 id = stack_id(s);
	struct user_stack *known = bpf_map_lookup_elem(&user_stacks, &id);

	if (known) {
		if (same_stack(known, s))
			return id;
		COUNT(stack_lost);
		return STACK_ID_NONE;
	}
	s->count = believed(s, count);
	/* Two CPUs may come with the same one: the second finds it there. */
	if (bpf_map_update_elem(&user_stacks, &id, s, BPF_ANY)) {
		COUNT(stack_lost);
		return STACK_ID_NONE;
	}
	COUNT(stacks);
	return id;
}

/* The stack of the current task, which must be the one that called the kernel. */
static __noinline __u64 take_stack(void *ctx, struct stack_cpu *c)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct young_cpu *y = stack_budget();
	struct user_stack *s = &c->stack;
	__u64 id;
	long size;

	if (!y)
		return STACK_ID_NONE;
	/* Somebody is in the middle of one here, if programs may be preempted. */
	if (c->busy) {
		y->stacks_refused++;
		return STACK_ID_NONE;
	}
	c->busy = 1;
	if (y->stack_credit)
		y->stack_credit--;
	/* Clears what it does not fill (kernel/bpf/stackmap.c, __bpf_get_stack). */
	size = bpf_get_stack(ctx, s->frames, sizeof(s->frames), BPF_F_USER_STACK);
	/* Kernel threads have none; io_uring's workers stand at address 0. */
	if (size <= 0 || !s->frames[0]) {
		id = STACK_ID_EMPTY;
	} else {
		s->caller = hidden_caller(s->frames[0], s->frames[1]);
		s->pid = pid_in_namespace(BPF_CORE_READ(task, group_leader));
		s->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
		s->start_stack = BPF_CORE_READ(task, mm, start_stack);
		id = keep_stack(s, size / sizeof(s->frames[0]));
	}
	c->busy = 0;
	return id;
}

static __always_inline struct stack_cpu *stack_cpu_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&stack_cpus, &cpu);
}

static __always_inline void name_socket(struct sock_stacks *s, struct sock *sk)
{
	struct sock_common *c = &sk->__sk_common;
	__u8 saddr[16];

	s->cookie = BPF_CORE_READ(c, skc_cookie.counter);
	s->netns = read_netns(c);
	s->sport = BPF_CORE_READ(c, skc_num);
	s->dport = bpf_ntohs(BPF_CORE_READ(c, skc_dport));
	read_addresses(saddr, s->daddr, c);
}

/*
 * Where a socket is, counted from the filter: with a tracepoint's pointer the verifier
 * lets nothing be calculated but its distance from another one. The multiplication
 * brings what differs between addresses into the high bits.
 */
static __always_inline __u64 place_of(struct sock *sk)
{
	__u64 place = (__u64)sk;

	asm volatile("%0 -= %1" : "+r"(place) : "r"(&stacks_filter));
	return place * 0x9e3779b97f4a7c15ULL;
}

/* The same of an address that was read, which is a number, where the filter is none. */
static __always_inline __u64 place_of_number(__u64 addr)
{
	*(volatile __u64 *)&stacks_filter_at = (__u64)&stacks_filter;
	return (addr - *(volatile __u64 *)&stacks_filter_at) * 0x9e3779b97f4a7c15ULL;
}

/* May anything be known of what is at this address? */
static __always_inline bool maybe_stacks(struct sock *sk)
{
	return filter_passes(&stacks_filter, place_of(sk));
}

/* What the map leaves out to make room stays in the filter: it errs to that side. */
static __always_inline void put_stacks(__u64 addr, struct sock_stacks *s, __u64 place)
{
	bool old = bpf_map_lookup_elem(&socket_stacks, &addr);

	/* Before it is there: its end may be seen on another CPU at once. */
	if (!old)
		filter_count(&stacks_filter, place, 1);
	if (bpf_map_update_elem(&socket_stacks, &addr, s, BPF_ANY))
		COUNT(stack_lost);
}

static __noinline int forget_stacks(__u64 addr, __u64 place)
{
	if (!bpf_map_delete_elem(&socket_stacks, &addr))
		filter_count(&stacks_filter, place, -1);
	return 0;
}

/* CLOSE to SYN_SENT: the port is chosen later, the peer is known. */
static __noinline int note_connect(void *ctx, struct sock *sk)
{
	struct stack_cpu *c = stack_cpu_here();
	struct sock_stacks s = { .of = STACK_CONNECT };

	if (!c)
		return 0;
	s.opener = take_stack(ctx, c);
	if (s.opener == STACK_ID_NONE)
		return 0;
	read_goroutine(&s.goroutine);
	sock_cookie(sk); /* made now, it tells this socket from the next one there */
	name_socket(&s, sk);
	put_stacks((__u64)sk, &s, place_of(sk));
	return 0;
}

/* What accept() just gave the current task. */
static __always_inline struct sock *accepted(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **fds = BPF_CORE_READ(task, files, fdt, fd);
	struct file *file = NULL;
	struct socket *sock;

	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	sock = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(sock, sk);
}

static __noinline int note_accept(void *ctx, __u32 fd)
{
	struct stack_cpu *c = stack_cpu_here();
	struct sock_stacks s = { .of = STACK_ACCEPT };
	struct sock *sk;

	if (!c)
		return 0;
	sk = accepted(fd);
	if (!sk || !is_tcp(sk, BPF_CORE_READ(sk, __sk_common.skc_state)))
		return 0;
	/* Another thread may have closed the descriptor and connected in its place. */
	if (read_client(sk))
		return 0;
	s.opener = take_stack(ctx, c);
	if (s.opener == STACK_ID_NONE)
		return 0;
	read_goroutine(&s.goroutine);
	name_socket(&s, sk);
	put_stacks((__u64)sk, &s, place_of_number((__u64)sk));
	/* Closed by the peer meanwhile: nobody would take it out again. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		forget_stacks((__u64)sk, place_of_number((__u64)sk));
	return 0;
}

/* Is what is known about this socket, and not one that had its address before? */
static __always_inline bool names(const struct sock_stacks *known, const struct sock_stacks *s)
{
	const __u64 *a = (const __u64 *)known->daddr, *b = (const __u64 *)s->daddr;

	return (!known->cookie || known->cookie == s->cookie) && known->netns == s->netns &&
	       known->dport == s->dport && (!known->sport || known->sport == s->sport) &&
	       a[0] == b[0] && a[1] == b[1];
}

/*
 * What is known of a socket is copied: to make room, the map may give its memory to
 * another socket.
 */
static __always_inline void known_stacks(struct sock_stacks *s, struct sock *sk)
{
	__u64 addr = (__u64)sk;
	struct sock_stacks *known;

	if (!maybe_stacks(sk))
		return;
	known = bpf_map_lookup_elem(&socket_stacks, &addr);
	if (!known)
		return;
	name_socket(s, sk);
	if (!names(known, s))
		return;
	s->opener = known->opener;
	s->reader = known->reader;
	s->of = known->of;
}

/*
 * The program was told that there is nothing more to read, for the first time. Most
 * of those who are told so close a moment later, so the budget is asked before the
 * socket is.
 */
static __always_inline int note_eof(void *ctx, struct sock *sk)
{
	struct stack_cpu *c = stack_cpu_here();
	struct sock_stacks s = {};

	known_stacks(&s, sk);
	if (!c || s.reader || !affordable())
		return 0;
	s.reader = take_stack(ctx, c);
	if (s.reader == STACK_ID_NONE)
		return 0;
	read_goroutine(&s.goroutine);
	name_socket(&s, sk);
	put_stacks((__u64)sk, &s, place_of(sk));
	return 0;
}

#endif
