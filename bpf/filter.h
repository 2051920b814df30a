/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Counters that stand before a map, so that what is not in it, nearly everything, need
 * not be looked up. The near ones are so few that they stay in the cache, and tell
 * apart some dozens of keys; where more are kept, the far ones are asked, which are
 * rarely in the cache: measured, that costs as much as the rest of a transition.
 */
#ifndef TCPLIMBO_FILTER_H
#define TCPLIMBO_FILTER_H

#define FILTER_NEAR_BITS 7
#define FILTER_FAR_BITS 12

struct filter {
	__u32 near[1 << FILTER_NEAR_BITS];
	__u32 far[1 << FILTER_FAR_BITS];
};

/* Keys differ in their high bits. */
static __always_inline bool filter_passes(struct filter *f, __u64 key)
{
	return f->near[key >> (64 - FILTER_NEAR_BITS)] && f->far[key >> (64 - FILTER_FAR_BITS)];
}

/* n: 1 before a key is put into the map, -1 after it was taken out. */
static __always_inline void filter_count(struct filter *f, __u64 key, __u32 n)
{
	__sync_fetch_and_add(&f->near[key >> (64 - FILTER_NEAR_BITS)], n);
	__sync_fetch_and_add(&f->far[key >> (64 - FILTER_FAR_BITS)], n);
}

#endif
