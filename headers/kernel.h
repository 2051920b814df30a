/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel types that are read, and of each only the fields that are read.
 * preserve_access_index makes every access a CO-RE relocation: the order and
 * the offsets here mean nothing, names and types do. Written by hand instead
 * of a vmlinux.h so that each kernel field this program depends on can be
 * reviewed in one place; tracer/core_test.go relocates the objects against the
 * BTF of several kernels.
 */
#ifndef TCPLIMBO_KERNEL_H
#define TCPLIMBO_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

/* What the headers of libbpf want to be declared. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_MMAPABLE = 1024,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
	BPF_F_USER_STACK = 256,
};

/* include/uapi/linux/bpf.h; the values are relocated, see core_fixes.h */
enum bpf_func_id {
	BPF_FUNC_get_socket_cookie = 46,
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_sock_from_file = 162,
	BPF_FUNC_task_pt_regs = 175,
};

#define KERNEL_TYPE __attribute__((preserve_access_index))

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262
#define SOCK_STREAM 1
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define EEXIST 17
#define MSG_PEEK 2

/* include/net/tcp_states.h */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
	TCP_NEW_SYN_RECV = 12,
};

/* include/uapi/linux/ipv6_route.h: the route leads to a router */
#define RTF_GATEWAY 2

/* include/net/sock.h, enum sock_flags: bit numbers, unchanged since 2.6 */
#define SOCK_DEAD 0
#define SOCK_KEEPOPEN 3
/* include/net/sock.h */
#define SOCK_BINDPORT_LOCK 8

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
} KERNEL_TYPE;

struct ns_common {
	unsigned int inum;
} KERNEL_TYPE;

struct list_head {
	struct list_head *next;
} KERNEL_TYPE;

struct inet_hashinfo;

struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
} KERNEL_TYPE;

struct netns_ipv4 {
	/* embedded up to 5.17 and from 6.1, where inet_hashinfo.pernet is */
	struct inet_timewait_death_row tcp_death_row;
	int sysctl_tcp_fin_timeout; /* jiffies, as the next two */
	int sysctl_tcp_keepalive_time;
	int sysctl_tcp_keepalive_intvl;
	/* int up to 5.12, see core_fixes.h */
	__u8 sysctl_tcp_keepalive_probes;
	__u8 sysctl_tcp_syn_retries;
	__u8 sysctl_tcp_retries2;
	__u8 sysctl_tcp_orphan_retries;
	__u8 sysctl_tcp_syn_linear_timeouts; /* 6.5 */
} KERNEL_TYPE;

struct net {
	struct ns_common ns;
	struct list_head dev_base_head; /* net_device.dev_list */
	struct netns_ipv4 ipv4;
} KERNEL_TYPE;

typedef struct {
	struct net *net;
} possible_net_t;

struct hlist_nulls_node {
	struct hlist_nulls_node *next;
} KERNEL_TYPE;

struct hlist_nulls_head {
	struct hlist_nulls_node *first;
} KERNEL_TYPE;

struct inet_ehash_bucket {
	struct hlist_nulls_head chain;
} KERNEL_TYPE;

/* include/net/inet_hashtables.h: the table of all connections */
struct inet_listen_hashbucket {
	struct hlist_nulls_head nulls_head;
} KERNEL_TYPE;

struct inet_hashinfo {
	struct inet_ehash_bucket *ehash;
	unsigned int ehash_mask;
	unsigned int lhash2_mask;
	struct inet_listen_hashbucket *lhash2;
	bool pernet; /* 6.1: a namespace may have a table of its own */
} KERNEL_TYPE;

struct proto {
	union {
		struct inet_hashinfo *hashinfo;
	} h;
} KERNEL_TYPE;

/* signed in the kernel; only ever read as a cookie */
typedef struct {
	__u64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct sock_common {
	union {
		__u64 skc_addrpair;
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	unsigned int skc_hash;
	union {
		__u32 skc_portpair;
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct proto *skc_prot;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
	struct hlist_nulls_node skc_nulls_node;
	refcount_t skc_refcnt;
	__u32 skc_tw_rcv_nxt; /* of a minisocket, as the next */
	__u32 skc_tw_snd_nxt;
} KERNEL_TYPE;

struct hlist_node {
	struct hlist_node *next;
	struct hlist_node **pprev; /* not NULL: in a list */
} KERNEL_TYPE;

struct timer_list {
	struct hlist_node entry;
	unsigned long expires;
} KERNEL_TYPE;

typedef struct {
	unsigned int val;
} kuid_t;

struct kernfs_node {
	__u64 id;
} KERNEL_TYPE;

struct cgroup {
	struct kernfs_node *kn;
} KERNEL_TYPE;

struct sock_cgroup_data {
	struct cgroup *cgroup; /* 5.15; a tagged word before */
} KERNEL_TYPE;

struct socket;
struct dst_entry;
struct rb_node;

struct rb_root {
	struct rb_node *rb_node;
} KERNEL_TYPE;

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	int sk_err_soft;
	struct socket *sk_socket;
	struct dst_entry *sk_dst_cache; /* the route it uses, NULL: none at the moment */
	struct rb_root tcp_rtx_queue;	/* sk_buff.rbnode: what is not acknowledged */
	kuid_t sk_uid;
	__u16 sk_protocol;
	__u16 sk_type;
	__u8 sk_shutdown;
	unsigned char sk_userlocks : 4; /* a whole byte in 6.12 */
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_wmem_queued;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	struct sock_cgroup_data sk_cgrp_data;
	struct timer_list sk_timer;		/* keepalive's, up to 6.18 */
	struct timer_list tcp_retransmit_timer; /* from 6.19 on */
} KERNEL_TYPE;

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
} KERNEL_TYPE;

/* include/net/inet_hashtables.h; fastreuse is -1 where connect chose the port */
struct inet_bind_bucket {
	signed char fastreuse;
} KERNEL_TYPE;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct inet_bind_bucket *icsk_bind_hash;
	unsigned long icsk_timeout;		 /* up to 6.17 */
	struct timer_list icsk_retransmit_timer; /* up to 6.18 */
	struct timer_list icsk_keepalive_timer;	 /* from 6.19 on */
	__u32 icsk_rto;
	__u8 icsk_ca_state : 5;
	__u8 icsk_retransmits;
	__u8 icsk_pending;
	__u8 icsk_backoff;
	__u8 icsk_probes_out;
	__u8 icsk_syn_retries;
	__u32 icsk_rto_max;	  /* 6.15, jiffies */
	__u32 icsk_probes_tstamp; /* 5.11, jiffies */
	__u32 icsk_user_timeout;  /* milliseconds */
	struct {
		__u32 lrcvtime;
	} icsk_ack;
} KERNEL_TYPE;

/* include/linux/win_minmax.h */
struct minmax_sample {
	__u32 t;
	__u32 v;
} KERNEL_TYPE;

struct minmax {
	struct minmax_sample s[3];
} KERNEL_TYPE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 snd_wnd;
	__u32 srtt_us;
	struct minmax rtt_min; /* microseconds */
	__u32 lsndtime;
	__u32 rcv_tstamp;
	__u32 retrans_stamp;
	__u32 chrono_start;   /* jiffies: when chrono_type became what it is */
	__u8 chrono_type : 2; /* enum tcp_chrono; 0: nothing is queued for sending */
	__u8 tcp_usec_ts : 1; /* 6.7 */
	__u8 keepalive_probes;
	unsigned int keepalive_time; /* jiffies, as the next two */
	unsigned int keepalive_intvl;
	int linger2;
} KERNEL_TYPE;

/* include/net/inet_timewait_sock.h: what is left of a closed socket */
struct inet_timewait_sock {
	struct sock_common __tw_common;
	volatile unsigned char tw_substate;
	__be16 tw_sport;
	__u32 tw_entry_stamp; /* 6.14: when it was made, ms of ktime_get_ns() */
	struct timer_list tw_timer;
} KERNEL_TYPE;

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
} KERNEL_TYPE;

struct file {
	struct inode *f_inode;
	void *private_data;
} KERNEL_TYPE;

struct socket {
	struct sock *sk;
	struct file *file;
} KERNEL_TYPE;

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
} KERNEL_TYPE;

struct upid {
	int nr;
} KERNEL_TYPE;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} KERNEL_TYPE;

struct cred {
	kuid_t uid;
} KERNEL_TYPE;

struct fdtable {
	struct file **fd;
} KERNEL_TYPE;

struct files_struct {
	struct fdtable *fdt;
} KERNEL_TYPE;

struct nsproxy {
	struct net *net_ns;
} KERNEL_TYPE;

/* arch/x86/include/asm/ptrace.h; other machines' have no ax */
struct pt_regs {
	unsigned long r14;
	unsigned long ax;
	unsigned long ip;
	unsigned long sp;
} KERNEL_TYPE;

struct mm_struct {
	unsigned long start_stack;
} KERNEL_TYPE;

struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	const struct cred *cred;
	struct files_struct *files;
	struct task_struct *real_parent;
	struct nsproxy *nsproxy;
	struct mm_struct *mm;
	char comm[16];
} KERNEL_TYPE;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL_TYPE;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
} KERNEL_TYPE;

#endif
