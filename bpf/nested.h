/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A transition inside a transition: a softirq comes while the program handles a
 * connect or a close on the same CPU. From 6.1 on the kernel does not run a
 * program inside itself (05b24ff9b2cf "bpf: Prevent bpf program recursion for raw
 * tracepoint probes"); measured, that hides one transition in 1,000 under full
 * load. A second program on the same tracepoint is run: it handles what the first
 * one did not see. Before 6.1 it never finds anything to do.
 *
 * From 7.0 on it is also preemption (a46023d5616e "tracing: Guard __DECLARE_TRACE()
 * use of __DO_TRACE_CALL() with SRCU-fast"): as long as a task waits in the middle of
 * a program, that is not run for anybody else on this CPU.
 *
 * They run in the order they were attached. Transitions of a softirq that comes
 * between the two, or inside the second, leave marks over that of the outer one;
 * the second program is shown those or, if it was running, is not. So marks lie on
 * a stack: who finds his own takes away what lies over it, too. What is left on it
 * is nobody's, harms nobody, because a cookie and a state name one transition, and
 * is overwritten when the stack has grown round.
 */
#ifndef TCPLIMBO_NESTED_H
#define TCPLIMBO_NESTED_H

static __always_inline struct marks *marks_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&marks, &cpu);
}

static __always_inline void mark(struct sock *sk, __u32 newstate)
{
	struct marks *m = marks_here();
	__u64 i;

	if (!m)
		return;
	i = m->top & (MARKS - 1);
	m->mark[i].cookie = sock_cookie(sk);
	m->mark[i].state = newstate;
	m->top++;
}

#define MARKS_NEAR 8
#define CPUS_NEAR 128 /* through 250 the verifier does not follow a loop */

/*
 * Where a task was moved to another CPU between the two programs, its mark is still
 * where it was, and nearly the last one there.
 */
static __noinline int marked_elsewhere(__u64 cookie, __u32 newstate)
{
	for (__u64 cpu = 0; cpu < cpus && cpu < CPUS_NEAR; cpu++) {
		__u32 key = cpu; /* what is on the stack the verifier does not count with */
		struct marks *m = bpf_map_lookup_elem(&marks, &key);

		if (!m)
			break;
		for (__u32 n = 1; n <= 2 * MARKS_NEAR; n++) {
			__u64 i = (m->top + MARKS_NEAR - n) & (MARKS - 1);

			if (m->mark[i].cookie == cookie && m->mark[i].state == newstate)
				return true;
		}
	}
	return false;
}

/* Was this transition marked by the first program? Takes the mark away. */
static __always_inline bool seen(struct sock *sk, __u32 newstate)
{
	__u64 cookie = sock_cookie(sk), top;
	struct marks *m = marks_here();

	if (!m)
		return true;
	top = m->top;
	for (int n = 0; n < MARKS; n++) {
		__u64 i;

		top--;
		i = top & (MARKS - 1);
		if (m->mark[i].cookie == cookie && m->mark[i].state == newstate) {
			m->top = top;
			return true;
		}
	}
	return preemptible && marked_elsewhere(cookie, newstate);
}

#endif
