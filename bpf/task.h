/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is it that the kernel works for at this moment? */
#ifndef TCPLIMBO_TASK_H
#define TCPLIMBO_TASK_H

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

#endif
