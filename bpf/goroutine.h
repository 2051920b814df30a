/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which goroutine called the kernel, and where the go statement is that made it.
 * No version of Go is asked for: what the runtime's g is, is believed where several
 * of its fields say what they must while a goroutine is in a system call.
 */
#ifndef TCPLIMBO_GOROUTINE_H
#define TCPLIMBO_GOROUTINE_H

/*
 * The runtime's g on amd64 (runtime/runtime2.go), in words. In all versions its stack
 * is its first field. 1.23 put syscallbp before the status, and 1.25 took gobuf.ret
 * out: the status is word 18 up to 1.22 and from 1.25, between them word 19; the
 * goroutine's id follows it. gopc, where the goroutine was made, has moved about
 * within the second half; it is word 36 in 1.26.
 */
#define G_STATUS 18
#define G_CREATED 33
#define G_CREATED_WORDS 6

/* _Grunning or _Gsyscall, while the garbage collector scans it, or not. */
static __always_inline bool in_syscall(__u64 word)
{
	__u32 status = (__u32)word & ~0x1000U;

	return status == 2 || status == 3;
}

/* The id of the goroutine that runs on this stack; 0 if there is no such g. */
static __noinline __u64 goroutine_id(__u64 addr, __u64 sp)
{
	__u64 stack[2] = {}, words[3] = {}, id;

	if (!addr || addr & 7 || bpf_probe_read_user(stack, sizeof(stack), (void *)addr))
		return 0;
	if (sp < stack[0] || sp >= stack[1])
		return 0;
	if (bpf_probe_read_user(words, sizeof(words), (void *)(addr + 8 * G_STATUS)))
		return 0;
	/* Where the id is the first word, it must not be taken for a status. */
	if (in_syscall(words[0]))
		id = words[1];
	else if (in_syscall(words[1]))
		id = words[2];
	else
		return 0;
	return id >> 44 ? 0 : id; /* an address */
}

/*
 * Does a call near ip return to this address? Of the words of a g that is so of gopc,
 * and may be of what a signal left there: so what is called goes with it, which must
 * turn out to be runtime.newproc.
 */
static __noinline __u64 called_near(__u64 ret, __u64 ip)
{
	__u8 code[8] = {};

	if ((ret - ip + (1ULL << 31)) >> 32)
		return 0;
	if (bpf_probe_read_user(code, sizeof(code), (void *)(ret - 8)) || code[3] != 0xe8)
		return 0;
	return ret + (__s64) * (__s32 *)&code[4];
}

/* Which goroutine makes the system call; amd64, 5.15. */
static __noinline int read_goroutine(struct goroutine *g)
{
	__u64 words[G_CREATED_WORDS] = {}, addr, ip;
	struct pt_regs *regs = core_user_regs();

	if (!g || !regs)
		return 0;
	addr = BPF_CORE_READ(regs, r14);
	ip = BPF_CORE_READ(regs, ip);
	g->id = goroutine_id(addr, BPF_CORE_READ(regs, sp));
	if (!g->id || bpf_probe_read_user(words, sizeof(words), (void *)(addr + 8 * G_CREATED)))
		return 0;
	for (int i = 0; i < G_CREATED_WORDS && !g->creator; i++) {
		g->created = words[i];
		g->creator = called_near(words[i], ip);
	}
	return 0;
}

#endif
