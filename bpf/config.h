/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Knobs, set before loading: the verifier sees constants and drops what a mode
 * does not need.
 */
#ifndef TCPLIMBO_CONFIG_H
#define TCPLIMBO_CONFIG_H

/* States whose entry is remembered, one bit each; 0 under trace. */
volatile const __u32 watch_states = 0;
/* ESTABLISHED sockets that stall are wanted. Their entry is never remembered. */
volatile const bool watch_established = false;
/* Possible CPUs; each has two rings in young_cpus, see young.h. */
volatile const __u32 cpus = 1;

/* trace: every transition becomes a record. */
volatile const bool trace_all = false;
/* trace: which; 0 means any. Ports in host order, addresses as in events. */
volatile const __u32 trace_old_states = 0;
volatile const __u32 trace_new_states = 0;
volatile const __u32 trace_states = 0; /* the old or the new one */
volatile const __u32 trace_pid = 0;    /* the task that connects, shuts down or closes */
volatile const __u16 trace_local_port = 0;
volatile const __u16 trace_peer_port = 0;
volatile const __u16 trace_port = 0;
volatile const __u16 trace_family = 0;
volatile const __u8 trace_net[16] = {};
volatile const __u8 trace_mask[16] = {};
/*
 * trace: remember when each socket entered its state. Without a filter the reader
 * sees every transition and can do that itself, for less.
 */
volatile const bool trace_ages = false;
/* Take user stacks; all of them, without a budget. */
volatile const bool stacks_wanted = false;
volatile const bool stacks_always = false;
/* The kernel may preempt programs of tracepoints, and go on elsewhere with the next one. */
volatile const bool preemptible = false;
/* Wake the reader when so many bytes wait; else it looks by itself. */
volatile const __u32 wake_bytes = 0xffffffff;

#endif
