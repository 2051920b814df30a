/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Everything that crosses between the kernel and Go, defined once; bpf2go turns
 * it into Go types. Padding is explicit: -Wpadded is an error.
 * Times are nanoseconds of CLOCK_BOOTTIME unless a name says otherwise; ports
 * are in host order; an IPv4 address is written as its IPv4-mapped IPv6 form.
 */
#ifndef TCPLIMBO_EVENT_H
#define TCPLIMBO_EVENT_H

#define COMM_LEN 16
#define NEVER 0xffffffffU
#define CALLERS 5
#define STACK_FRAMES 32

enum event_type {
	EVENT_NONE = 0,
	EVENT_PROMOTED = 1,   /* a socket outlived the young generation; no addresses, read them */
	EVENT_TRANSITION = 2, /* a promoted socket (under trace: any) changed its state */
	EVENT_RETRANSMIT = 3, /* the same for a retransmission */
};

enum sock_flag {
	SOCK_TIMEWAIT = 1 << 0,	  /* a timewait minisocket: few values */
	SOCK_ORPHAN = 1 << 1,	  /* SOCK_DEAD: closed by its process */
	SOCK_HAS_SOCKET = 1 << 2, /* has a struct socket, so may have descriptors */
	SOCK_KEEPALIVE = 1 << 3,  /* SO_KEEPALIVE */
	SOCK_CLIENT = 1 << 4,	  /* connect() chose or was given its port */
	SOCK_UNTRACKED = 1 << 5,  /* the old generation was full: no more events */
	SOCK_GONE = 1 << 6,	  /* not the socket that was asked for any more */
	SOCK_TIMER = 1 << 7,	  /* expires_jiffies is meant */
};

/* Why a segment was sent again, see retransmit.h. */
enum retransmit_kind {
	RETRANSMIT_NONE = 0,
	RETRANSMIT_SYN = 1,	   /* no answer to a SYN */
	RETRANSMIT_FAST = 2,	   /* ACKs tell of a loss */
	RETRANSMIT_RTO = 3,	   /* the first timeout of a row */
	RETRANSMIT_BACKOFF = 4,	   /* one more, after a longer wait */
	RETRANSMIT_SLOW_START = 5, /* after a timeout, at the pace of ACKs */
	RETRANSMIT_TLP = 6,	   /* a tail loss probe */
	RETRANSMIT_PROBE = 7,	   /* of a window that was closed over data in flight */
	RETRANSMIT_OTHER = 8,
	RETRANSMIT_KINDS = 9,
};

/* What a program was doing when the stack of a socket's opener was taken. */
enum stack_of {
	STACK_NONE = 0,
	STACK_CONNECT = 1,
	STACK_ACCEPT = 2,
};

/* Ids of stacks that are none. All others are made of what the stack is. */
#define STACK_ID_NONE 0	 /* not taken */
#define STACK_ID_EMPTY 1 /* the task has no frames in user space: a kernel thread */

/* The task a socket was connected, shut down or closed by. */
struct task_id {
	__u32 pid; /* thread group, in the agent's pid namespace */
	__u32 tid;
	__u32 uid; /* of the socket; of the process in struct holder */
	__u32 pad;
	__u8 comm[COMM_LEN];
};

struct event {
	__u64 time_ns;
	__u64 since_ns; /* when the state that is told (promoted) or left was entered; 0: not known */
	__u64 sk;
	__u64 cookie;
	__u64 successor; /* the timewait minisocket that takes over, if any */
	__u8 saddr[16];
	__u8 daddr[16];
	struct task_id task; /* pid 0: not known */
	__u32 netns;
	__s32 err;
	__s32 err_soft;
	__u16 sport;
	__u16 dport;
	__u8 type;
	__u8 old_state;
	__u8 new_state;
	__u8 flags;
	__u8 retransmits;
	__u8 retransmit_kind;
	__u8 pad[2];
};

/* What is read from a live socket at one moment. */
struct sock_values {
	__u64 sk; /* in: which socket; out: the same */
	__u64 cookie;
	__u64 cgroup_id;
	__u64 inode;
	__u8 saddr[16];
	__u8 daddr[16];
	__u32 netns;
	__u32 uid;
	__u16 sport;
	__u16 dport;
	__u8 state;
	__u8 flags;
	__u8 retransmits;
	__u8 backoff;
	__u8 probes_out;
	__u8 pending;
	__u8 shutdown;
	__u8 keepalive_timer; /* keepalive_expires is meant */
	__s32 err;
	__s32 err_soft;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 snd_wnd;
	__u32 srtt_us;
	__u32 rto_jiffies;
	__u32 received_jiffies; /* since the last data segment, ACK, sending; or NEVER */
	__u32 acked_jiffies;
	__u32 sent_jiffies;
	__s32 expires_jiffies; /* until the timer fires; may be past */
	__u32 accept_queue;
	__u32 accept_limit;
	__s32 waiting_ms; /* since the first unanswered sending; minisocket: in FIN_WAIT2; -1: none */
	/* When the kernel gives up. What neither socket nor namespace sets is 0. */
	__u32 jiffies;		 /* now, the low half: the timer wheel's clock */
	__u32 rto_max_jiffies;	 /* 0: the kernel's constant */
	__u32 user_timeout_ms;	 /* TCP_USER_TIMEOUT */
	__u32 keepalive_jiffies; /* TCP_KEEPIDLE and TCP_KEEPINTVL, else the namespace's */
	__u32 interval_jiffies;
	__s32 keepalive_expires; /* jiffies until the keepalive timer fires; may be past */
	__s32 probing_jiffies;	 /* since the first zero-window probe was due; -1: none */
	__s32 fin_timeout_jiffies; /* TCP_LINGER2, else the namespace's; -1: no FIN_WAIT2 for orphans */
	__u8 keepalive_probes;	   /* TCP_KEEPCNT, else the namespace's */
	__u8 syn_retries; /* TCP_SYNCNT, else the namespace's; the rest is the namespace's: */
	__u8 syn_linear_timeouts;
	__u8 retries2;
	__u8 orphan_retries;
	__u8 timer_pad[3];
	__u32 busy_jiffies;   /* since something has been queued for sending; or NEVER */
	__u32 receive_memory; /* what is queued for reading takes so much, of at most: */
	__u32 receive_buffer;
	__u32 min_rtt_us; /* the path's, lately; NEVER: not measured */
	__u32 hash;	  /* skc_hash: of namespace, addresses and ports */
	__u32 hash_pad;
};

/*
 * An ESTABLISHED socket. Together hash and ports tell it from what has its memory
 * later; most have no cookie.
 */
struct mover {
	__u64 sk; /* 0: nobody's place */
	__u32 hash;
	__u16 sport;
	__u16 dport;
};

#define MOVER_WAYS 8

/* Those whose addresses have the same hash, as many as there are places. */
struct mover_row {
	struct mover ways[MOVER_WAYS];
};

enum mover_is {
	MOVER_GONE = 0, /* it has left ESTABLISHED, or the memory serves another one */
	MOVER_STOPPED,	/* something that was seen to wait has not moved */
	MOVER_MOVED,	/* all of it has */
};

/* A look at a mover. Times are jiffies since then, NEVER where there is none. */
struct glance {
	struct mover mover; /* in */
	/* in: what the last look showed; out: what this one does, of one that moved */
	__u32 snd_una;
	__u32 rcv_nxt;
	__u32 copied_seq;
	/* out: */
	__u8 is;
	/* Of one that moved: */
	__u8 pending;
	__u8 pad[2];
	__u32 snd_nxt;
	__u32 write_seq;
	/* and if it has written what is not acknowledged: */
	__u32 received_jiffies;
	__u32 acked_jiffies;
	__u32 sent_jiffies;
	__u32 busy_jiffies;
	__u32 probing_jiffies;
	__u32 rto_jiffies;
};

/* The last SYN of a socket that this host dropped. */
struct syn_drop {
	__u64 cookie;
	__u64 time_ns;
	__u64 location;		/* who freed it: an address in the kernel's code */
	__u64 callers[CALLERS]; /* and who called that, the nearest first; 0: no more */
	__u32 reason;		/* a number of this kernel's; 0: it gives none */
	__u32 netns;		/* of the device it was at, or of the socket */
	__u32 hash;		/* skc_hash of the socket */
	__u8 retransmits;	/* icsk_retransmits then */
	__u8 pad[3];
};

/* Why a SYN stays unanswered, as far as this host can tell. */
struct syn_cause {
	__u64 sk;	      /* in */
	__u64 cookie;	      /* in; out: 0 if it is not that socket, or not in SYN_SENT */
	struct syn_drop drop; /* time_ns 0: none was seen */
	__u8 known;	      /* it is that socket, in SYN_SENT */
	__u8 retransmits;
	__u8 neighbour; /* NUD_* of the next hop; 0: not known */
	__u8 pad[5];
};

/* One descriptor of a socket, from iter/task_file. */
struct holder {
	__u64 sk;
	__u64 cookie;
	__u64 start_ns; /* when the process started, CLOCK_BOOTTIME */
	struct task_id task;
	__u32 fd;
	__u32 netns;
	__u32 accept_queue;
	__u32 accept_limit;
	__u8 addr[16];
	__u16 port;
	__u8 state;
	__u8 pad[5];
};

/* A user stack, the innermost address first. Its id is a hash of all of this. */
struct user_stack {
	__u64 start_ns;	   /* when the process started, CLOCK_BOOTTIME */
	__u64 start_stack; /* where its stack begins: exec moves that */
	__u32 pid;	   /* thread group, in the agent's pid namespace; 0: not in it */
	__u32 count;	   /* of addresses, those that calls return to */
	__u64 caller;	   /* where the first address returns to, if no frame says so; or 0 */
	__u64 frames[STACK_FRAMES];
};

/* A goroutine that connected, accepted or read; zeros where that is not known. */
struct goroutine {
	__u64 id;
	__u64 created; /* the go statement: the address that its call returns to */
	__u64 creator; /* what is called there: a go statement calls runtime.newproc */
};

/* The stacks of a socket, by its address; what names the socket beside them. */
struct sock_stacks {
	__u64 cookie; /* 0 where nobody had asked for it */
	__u64 opener; /* ids */
	__u64 reader; /* of who read the end of file */
	__u8 daddr[16];
	__u32 netns;
	__u16 sport; /* 0: not known, it was connecting */
	__u16 dport;
	__u8 of; /* the opener's */
	__u8 pad[7];
	struct goroutine goroutine; /* the reader if there is one, else the opener */
};

/* What taking stacks needs on a CPU. */
struct stack_cpu {
	struct user_stack stack; /* where one is put together */
	__u64 busy;		 /* one is */
};

/*
 * Failures and work done in the kernel since load. Only ever added to, so that
 * a reader compares and never resets.
 */
struct counters {
	__u64 ring_full;      /* an event found no room */
	__u64 promoted_full;  /* the old generation took no more */
	__u64 promoted;	      /* sockets promoted */
	__u64 promoted_stale; /* an entry of a socket that was gone unseen */
	__u64 young_overrun;  /* slots checked early because the ring came round */
	__u64 nested;	      /* transitions inside a transition, promoted at once */
	__u64 chain_cut;      /* hash chains longer than a walk follows */
	__u64 chain_moved;    /* walks that a concurrent change led astray */
	__u64 stall_unsaid;   /* stalled sockets not told of, to leave room for other events */
	__u64 syn_drop_lost;  /* a dropped SYN found no room, so its reason is not known */
	__u64 stacks;	      /* user stacks that were not known yet */
	__u64 stack_lost;     /* a stack, or whose it is, found no room */
};

/* Where a walk of the connection table stands, and what this kernel is. */
struct walk_state {
	__u64 hashinfo;	 /* the table of the namespaces that have none of their own */
	__u64 jiffies;	 /* when last asked */
	__u32 buckets;	 /* its size */
	__u32 next;	 /* in: first bucket; out: where to go on */
	__u32 count;	 /* sockets written to values */
	__u32 visited;	 /* sockets seen */
	__u32 hz;	 /* jiffies a second */
	__u32 pid_level; /* depth of the agent's pid namespace */
};

/* What waits to be sent or acknowledged in ESTABLISHED sockets, added up by a walk. */
struct write_queues {
	__u64 sockets;
	__u64 unsent; /* bytes */
	__u64 unacked;
	__u64 left_out;	     /* sockets whose service and peer found no room in write_pairs */
	__u32 quiet_jiffies; /* the longest time without an ACK while something waits */
	__u32 busy_jiffies;  /* the longest time that something has been waiting */
};

/* A service and a peer: the port of the end that connected is 0. */
struct write_pair_key {
	__u8 saddr[16];
	__u8 daddr[16];
	__u32 netns;
	__u16 sport;
	__u16 dport;
};

/* What waits between them. */
struct write_pair {
	__u64 unsent;
	__u64 unacked;
	__u64 sk; /* one of the sockets, each as likely */
	__u64 cookie;
	__u32 sockets;
	__u32 undrained_jiffies; /* the longest time that nothing of it was acknowledged */
};

/* A slot of the young generation: a cache line. */
struct young_slot {
	__u64 seq; /* position + 1, written last: the slot is whole */
	__u64 sk;
	__u64 cookie;
	__u64 jiffies; /* when it was written: a load, where a clock costs 25 ns */
	__u32 pid;     /* the rest of struct task_id; 0: not known */
	__u32 tid;
	__u8 state;
	__u8 pad[7];
	__u8 comm[COMM_LEN];
};

/* What finds a minisocket, beside the slot of the same index. */
struct young_tuple {
	__u64 net;
	__u64 addrpair; /* skc_addrpair, 0 for IPv6 */
	__u64 ehash;	/* the namespace's table, 0: to be looked up */
	__u32 mask;
	__u32 hash;
	__u32 portpair;
	__u32 uid; /* of the socket */
};

/*
 * Where a ring of the young generation stands; a cache line each. A CPU has two:
 * the second one is for what interrupts the writing of the first.
 */
struct young_cpu {
	__u64 head;  /* next position to write */
	__u64 tail;  /* next position to look at */
	__u32 base;  /* the ring's first slot */
	__u32 slots; /* and their number, a power of two */
	__u64 busy;  /* a slot is being written */
	/* Of the CPU's stacks, here because every connect looks at this line anyway. */
	__u32 stack_credit; /* how many may be taken; the agent gives some each tick */
	__u32 pad;
	__u64 stacks_refused; /* not taken for want of it */
	__u64 unused[2];
};

/* Transitions of a CPU that the first program saw, until the second has seen them. */
#define MARKS 256 /* a softirq makes dozens of transitions */
struct marks {
	__u64 top;
	struct {
		__u64 cookie;
		__u64 state;
	} mark[MARKS];
};

/* A socket of the old generation, by address. */
struct promoted {
	__u64 cookie;
	__u64 since_ns;
	struct task_id task;
	__u32 hash; /* skc_hash */
	__u8 state;
	__u8 flags;
	__u8 pad[2];
};

#endif
