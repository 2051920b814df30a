/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a walk along frame pointers leaves out of a user stack, or makes up: read
 * from the program's memory, which may change meanwhile and lie.
 */
#ifndef TCPLIMBO_UNWIND_H
#define TCPLIMBO_UNWIND_H

/* How much of the stack is looked at for who called, and of a function's code. */
#define CALLER_SLOTS 8
#define CALLED_SIZE 512

static __always_inline __u64 read_user(__u64 addr)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)addr);
	return word;
}

/* Is this address in the function, a short one, that begins there? */
static __always_inline bool begins(__u64 function, __u64 addr)
{
	return function && addr - function < CALLED_SIZE;
}

/* Where an entry of the procedure linkage table jumps to: [endbr64] [bnd] jmp *slot */
static __always_inline __u64 linked(__u64 entry)
{
	__u64 code = read_user(entry);

	if ((__u32)code == 0xfa1e0ff3)
		code = read_user(entry += 4);
	if ((__u8)code == 0xf2)
		code = read_user(entry += 1);
	if ((__u16)code != 0x25ff)
		return 0;
	return read_user(entry + 6 + (__s64)(__s32)(code >> 16));
}

/* Is there, before this address, a call of the function that ip is in? amd64. */
static __noinline bool called_from(__u64 ret, __u64 ip)
{
	__u8 code[8] = {};
	__u64 to;

	if (!ret || ret >> 47 || bpf_probe_read_user(code, sizeof(code), (void *)(ret - 8)))
		return false;
	to = ret + (__s64) * (__s32 *)&code[4];
	if (code[2] == 0xff && code[3] == 0x15) /* call *slot, -fno-plt */
		return begins(read_user(to), ip);
	return code[3] == 0xe8 && (begins(to, ip) || begins(linked(to), ip));
}

/* Is the operand of an instruction 0xff that of a call? Intel SDM, CALL: FF /2. */
static __always_inline bool indirect(__u8 opcode, __u8 operand)
{
	return opcode == 0xff && (operand & 0x38) == 0x10;
}

/*
 * May a call have put this address there? Without frame pointers the walk takes for
 * a frame whatever the register points to. What cannot be read is left to the
 * reader, who knows what is mapped.
 */
static __noinline bool after_call(__u64 ret)
{
	__u8 code[8] = {};

	if (bpf_probe_read_user(code, sizeof(code), (void *)(ret - 8)))
		return true;
	return code[3] == 0xe8 || indirect(code[6], code[7]) || indirect(code[5], code[6]) ||
	       indirect(code[4], code[5]) || indirect(code[2], code[3]) ||
	       indirect(code[1], code[2]);
}

/* How many of the stack's addresses are to be believed. */
static __always_inline __u32 believed(const struct user_stack *s, __u32 count)
{
	if (!core_amd64())
		return count;
	for (__u32 i = 1; i < STACK_FRAMES && i < count; i++)
		if (!after_call(s->frames[i]))
			return i;
	return count;
}

/*
 * The C library's system calls make no frame, so a walk along frame pointers goes
 * from them to their caller's caller. The caller is what they will return to, near
 * the top of the stack; the code before it proves which word that is.
 */
static __always_inline __u64 hidden_caller(__u64 ip, __u64 next)
{
	__u64 words[CALLER_SLOTS] = {}, sp = core_user_sp();

	if (!sp || bpf_probe_read_user(words, sizeof(words), (void *)sp))
		return 0;
	for (int i = 0; i < CALLER_SLOTS; i++) {
		if (words[i] == next)
			return 0;
		if (called_from(words[i], ip))
			return words[i];
	}
	return 0;
}

#endif
