/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps and variables that the programs share with each other and with Go. */
#ifndef TCPLIMBO_MAPS_H
#define TCPLIMBO_MAPS_H

#define VALUES 512

/* Sizes marked "set" are set before loading. */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set */
} events SEC(".maps");

/* The young generation: the slots of all rings, one ring after the other. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set */
	__type(key, __u32);
	__type(value, struct young_slot);
} young_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set */
	__type(key, __u32);
	__type(value, struct young_tuple);
} young_tuples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set */
	__type(key, __u32);
	__type(value, struct young_cpu);
} young_cpus SEC(".maps");

/* For limbo_set_state_nested, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set */
	__type(key, __u32);
	__type(value, struct marks);
} marks SEC(".maps");

/*
 * The old generation, by socket address. Preallocated: elements are wanted in
 * bursts and in any context, where the kernel's allocator for BPF keeps only some
 * dozens at hand (6.1 and later) or warns (before).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set */
	__type(key, __u64);
	__type(value, struct promoted);
} old_generation SEC(".maps");

/* Where read and walk leave what they read; Go maps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VALUES);
	__type(key, __u32);
	__type(value, struct sock_values);
} values SEC(".maps");

/* Sockets by address, and listeners by port, whose holders are asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u8);
} wanted SEC(".maps");

/* Failures are rare: plain shared counters, added to atomically. */
struct counters counts = {};
struct walk_state walk = {};
/* limbo_set_state_nested runs, or is about to: it goes by marks. */
bool nested_attached = false;
/* Elements of the old generation. */
__u64 promoted_count = 0;
/* Of the old generation, by skc_hash: most transitions are of sockets not in it. */
struct filter promoted_filter = {};
/* iter/task_file: every TCP socket in these states, wanted or not. */
__u32 holder_states = 0;

#define COUNT(name) __sync_fetch_and_add(&counts.name, 1)

#endif
