/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What ESTABLISHED sockets have written and not got acknowledged, added up while
 * a walk passes by: for the host, and for each service and peer.
 */
#ifndef TCPLIMBO_QUEUE_H
#define TCPLIMBO_QUEUE_H

/* Taken out by Go when a walk is done. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct write_pair_key);
	__type(value, struct write_pair);
} write_pairs SEC(".maps");

/* Set to 0 by Go where a walk begins. */
struct write_queues write_queues = {};

/*
 * The same service has many ports at the end that connected to it. Where nothing
 * says that this end did, it is taken for the service.
 */
static __always_inline void read_pair(struct write_pair_key *key, struct sock *sk)
{
	struct sock_common *c = (struct sock_common *)node_copy;

	copied_addresses(key->saddr, key->daddr, c);
	key->netns = read_netns(c);
	if (read_client(sk))
		key->dport = bpf_ntohs(c->skc_dport);
	else
		key->sport = c->skc_num;
}

/* Since when nothing drained: an ACK that answers a window probe drains nothing. */
static __always_inline __u32 undrained_for(struct inet_connection_sock *icsk, bool in_flight,
					   __u32 now, __u32 quiet, __u32 busy)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	__u32 probing, sent;

	if (in_flight || BPF_CORE_READ(icsk, icsk_pending) != ICSK_TIME_PROBE0)
		return quiet;
	probing = core_probes_tstamp(icsk);
	if (!probing)
		return quiet;
	probing = now - probing;
	sent = now - tp->lsndtime;
	if (probing > sent)
		probing = sent;
	if (probing > busy)
		probing = busy;
	return probing > quiet ? probing : quiet;
}

static __always_inline void add_to_pair(struct sock *sk, __u32 unsent, __u32 unacked,
					__u32 undrained)
{
	struct write_pair_key key = {};
	struct write_pair fresh = {}, *pair;

	read_pair(&key, sk);
	pair = bpf_map_lookup_elem(&write_pairs, &key);
	if (!pair) {
		if (bpf_map_update_elem(&write_pairs, &key, &fresh, BPF_ANY)) {
			write_queues.left_out++;
			return;
		}
		pair = bpf_map_lookup_elem(&write_pairs, &key);
		if (!pair)
			return;
	}
	pair->sockets++;
	pair->unsent += unsent;
	pair->unacked += unacked;
	if (undrained > pair->undrained_jiffies)
		pair->undrained_jiffies = undrained;
	/* The n-th takes the place with a chance of 1/n: in the end all had the same. */
	if (bpf_get_prandom_u32() % pair->sockets == 0) {
		pair->sk = (__u64)sk;
		pair->cookie = ((struct sock_common *)node_copy)->skc_cookie.counter;
	}
}

/*
 * Of the socket at sk, whose beginning and whose progress are copied. A walk that runs
 * while data moves counts some sockets twice or not at all, as any walk does; only walks
 * add here, one at a time.
 */
__noinline int add_queue(__u64 sk, __u32 now)
{
	struct tcp_sock *tp = (struct tcp_sock *)sock_copy;
	__u32 write_seq = tp->write_seq, snd_una = tp->snd_una, snd_nxt = tp->snd_nxt;
	__u32 quiet = now - tp->rcv_tstamp, unsent = 0, unacked = 0, busy = 0;

	if (BPF_CORE_READ_BITFIELD(tp, chrono_type))
		busy = now - tp->chrono_start;
	if (quiet > busy)
		quiet = busy;
	if ((__s32)(write_seq - snd_nxt) > 0)
		unsent = write_seq - snd_nxt;
	if ((__s32)(snd_nxt - snd_una) > 0)
		unacked = snd_nxt - snd_una;
	write_queues.sockets++;
	write_queues.unsent += unsent;
	write_queues.unacked += unacked;
	if (quiet > write_queues.quiet_jiffies)
		write_queues.quiet_jiffies = quiet;
	if (busy > write_queues.busy_jiffies)
		write_queues.busy_jiffies = busy;
	add_to_pair((struct sock *)sk, unsent, unacked,
		    undrained_for((struct inet_connection_sock *)sk, unacked != 0, now, quiet,
				  busy));
	return 0;
}

#endif
