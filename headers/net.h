/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * As kernel.h: the kernel types of packets and of where they go, and of each only
 * the fields that are read.
 */
#ifndef TCPLIMBO_NET_H
#define TCPLIMBO_NET_H

struct neigh_hash_table;

struct neigh_table {
	struct neigh_hash_table *nht;
} KERNEL_TYPE;

struct neigh_parms {
	struct neigh_table *tbl;
} KERNEL_TYPE;

struct in_ifaddr {
	struct in_ifaddr *ifa_next;
	__be32 ifa_local;
} KERNEL_TYPE;

struct in_device {
	struct in_ifaddr *ifa_list;
	struct neigh_parms *arp_parms;
} KERNEL_TYPE;

struct inet6_ifaddr {
	struct in6_addr addr;
	struct list_head if_list;
} KERNEL_TYPE;

struct inet6_dev {
	struct list_head addr_list; /* inet6_ifaddr.if_list */
	struct neigh_parms *nd_parms;
} KERNEL_TYPE;

struct net_device {
	struct list_head dev_list;
	possible_net_t nd_net;
	struct in_device *ip_ptr;
	struct inet6_dev *ip6_ptr;
} KERNEL_TYPE;

/* include/net/neighbour.h: who has which link-layer address */
struct neighbour {
	struct neighbour *next; /* up to 6.12 */
	struct hlist_node hash; /* from 6.13 on */
	struct net_device *dev;
	__u8 nud_state;
	__u8 primary_key[16]; /* as long as the address */
} KERNEL_TYPE;

struct hlist_head {
	struct hlist_node *first;
} KERNEL_TYPE;

struct neigh_hash_table {
	struct neighbour **hash_buckets; /* up to 6.12 */
	struct hlist_head *hash_heads;	 /* from 6.13 on */
	unsigned int hash_shift;
	__u32 hash_rnd[4];
} KERNEL_TYPE;

struct dst_ops {
	unsigned short family;
} KERNEL_TYPE;

struct dst_entry {
	struct net_device *dev;
	struct dst_ops *ops;
} KERNEL_TYPE;

/* include/net/route.h */
struct rtable {
	__u8 rt_gw_family;
	__be32 rt_gw4;
	struct in6_addr rt_gw6;
} KERNEL_TYPE;

/* include/net/ip6_fib.h */
struct rt6_info {
	struct in6_addr rt6i_gateway;
	__u32 rt6i_flags;
} KERNEL_TYPE;

struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	unsigned long _skb_refdst; /* a struct dst_entry, and a flag in the lowest bit */
} KERNEL_TYPE;

/* net/core/skbuff.c: a segment, and what was sent of it, made at once */
struct sk_buff_fclones {
	struct sk_buff skb2;
	refcount_t fclone_ref;
} KERNEL_TYPE;

/* net/mptcp/protocol.h */
struct mptcp_sock {
	struct sock *first; /* the TCP socket behind it */
} KERNEL_TYPE;

/* include/net/dropreason-core.h; only whether it is there is asked */
enum skb_drop_reason {
	SKB_DROP_REASON_NOT_SPECIFIED = 2,
};

#endif
