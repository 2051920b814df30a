/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Of the ESTABLISHED sockets where data waits nearly all move it. As long as they go
 * on doing so, walks do not hand them out, and the look at them that is due is a
 * glance, at a few of their cache lines. Go says when to look, decides what is too
 * long, and alone puts them into the table and takes them out.
 */
#ifndef TCPLIMBO_MOVERS_H
#define TCPLIMBO_MOVERS_H

/* Go maps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set */
	__type(key, __u32);
	__type(value, struct mover_row);
} movers SEC(".maps");

/* Where limbo_glance is told which, and leaves what it saw; Go maps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VALUES);
	__type(key, __u32);
	__type(value, struct glance);
} glances SEC(".maps");

/* A power of two less one: all that is asked of movers is by row & mover_mask. */
volatile const __u32 mover_mask = 0;
/* There are any. */
__u32 movers_count = 0;

/* The same as in tracer/movers.go. Slabs give each socket its own 64 bytes at least. */
static __always_inline __u32 mover_row_of(__u64 sk)
{
	return (__u32)((sk >> 6) * 0x9e3779b97f4a7c15ULL >> 32) & mover_mask;
}

static __always_inline bool same_socket(const struct mover *m, const struct sock_common *c)
{
	return m->hash == c->skc_hash && m->sport == c->skc_num &&
	       m->dport == bpf_ntohs(c->skc_dport);
}

/* c is a copy of what is at sk. */
static __always_inline bool is_mover(__u64 sk, const struct sock_common *c)
{
	__u32 number = mover_row_of(sk);
	struct mover_row *row;

	if (!movers_count)
		return false;
	row = bpf_map_lookup_elem(&movers, &number);
	if (!row)
		return false;
	for (int i = 0; i < MOVER_WAYS; i++)
		if (row->ways[i].sk == sk)
			return same_socket(&row->ways[i], c);
	return false;
}

static __always_inline bool copy_part(__u64 addr, __u32 from, __u32 to)
{
	if (from >= to || to > sizeof(sock_copy))
		return false;
	return !bpf_probe_read_kernel((void *)sock_copy + from, to - from, (void *)addr + from);
}

/* The part of a socket that tells who it is. */
static __always_inline bool copy_identity(__u64 addr)
{
	struct sock_common *c = (struct sock_common *)sock_copy;
	__u32 from = sizeof(sock_copy), to = 0;

	SPAN(c, skc_hash);
	SPAN(c, skc_portpair);
	SPAN(c, skc_state);
	return copy_part(addr, from, to);
}

/* The part that tells whether its data moves, a tenth of it. */
static __always_inline bool copy_progress(__u64 addr)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	__u32 from = sizeof(sock_copy), to = 0;

	SPAN(tp, chrono_type);
	SPAN(tp, chrono_start);
	SPAN(tp, lsndtime);
	SPAN(tp, write_seq);
	SPAN(tp, snd_una);
	SPAN(tp, snd_nxt);
	SPAN(tp, rcv_nxt);
	SPAN(tp, copied_seq);
	SPAN(tp, rcv_tstamp);
	return copy_part(addr, from, to);
}

/* What else tells since when written data waits. */
static __always_inline bool copy_timer(__u64 addr)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sock_copy;
	__u32 from = sizeof(sock_copy), to = 0;

	SPAN(icsk, icsk_rto);
	SPAN(icsk, icsk_pending);
	SPAN(icsk, icsk_ack.lrcvtime);
	if (bpf_core_field_exists(icsk->icsk_probes_tstamp))
		SPAN(icsk, icsk_probes_tstamp);
	return copy_part(addr, from, to);
}

/* All that was seen to wait, and may still, has moved. */
static __always_inline bool has_moved(const struct glance *g, const struct tcp_sock *tp)
{
	if (tp->write_seq != tp->snd_una && tp->snd_una == g->snd_una && tp->rcv_nxt == g->rcv_nxt)
		return false;
	return tp->rcv_nxt == tp->copied_seq || tp->copied_seq != g->copied_seq;
}

static __always_inline void fill_timer(struct glance *g, struct tcp_sock *tp)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)tp;
	__u32 now = (__u32)bpf_jiffies64();

	g->pending = icsk->icsk_pending;
	g->received_jiffies = jiffies_since(now, icsk->icsk_ack.lrcvtime);
	g->acked_jiffies = jiffies_since(now, tp->rcv_tstamp);
	g->sent_jiffies = jiffies_since(now, tp->lsndtime);
	g->busy_jiffies = copied_busy(now, tp);
	g->probing_jiffies = jiffies_since(now, core_probes_tstamp(icsk));
	g->rto_jiffies = icsk->icsk_rto;
}

/* Takes one of glances. */
__noinline int glance_at(__u32 index)
{
	struct glance *g = bpf_map_lookup_elem(&glances, &index);
	struct sock_common *c = (struct sock_common *)sock_copy;
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	__u64 addr;

	if (!g)
		return 0;
	addr = g->mover.sk;
	g->is = MOVER_GONE;
	if (!copy_identity(addr) || !same_socket(&g->mover, c) || c->skc_state != TCP_ESTABLISHED)
		return 0;
	g->is = MOVER_STOPPED;
	if (!copy_progress(addr) || !has_moved(g, tp))
		return 0;
	if (tp->write_seq != tp->snd_una) {
		if (!copy_timer(addr))
			return 0;
		fill_timer(g, tp);
	}
	g->is = MOVER_MOVED;
	g->snd_una = tp->snd_una;
	g->snd_nxt = tp->snd_nxt;
	g->write_seq = tp->write_seq;
	g->rcv_nxt = tp->rcv_nxt;
	g->copied_seq = tp->copied_seq;
	return 0;
}

#endif
