/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether an address is one of a network namespace's own, without entering it. */
#ifndef TCPLIMBO_LOCAL_H
#define TCPLIMBO_LOCAL_H

/* What is beyond these is not found, and the answer then is no. */
#define DEVICES_MAX 256
#define ADDRESSES_MAX 64

/* In: the address, an IPv4 one as its IPv4-mapped IPv6 form. */
__u32 asked_address[4] __attribute__((aligned(8))) = {};

static __always_inline bool asked_v4(void)
{
	return !asked_address[0] && !asked_address[1] && asked_address[2] == bpf_htonl(0xffff);
}

__noinline int device_has_v4(__u64 device)
{
	struct in_ifaddr *ifa = BPF_CORE_READ((struct net_device *)device, ip_ptr, ifa_list);

	for (int i = 0; ifa && i < ADDRESSES_MAX; i++) {
		if (BPF_CORE_READ(ifa, ifa_local) == asked_address[3])
			return 1;
		ifa = BPF_CORE_READ(ifa, ifa_next);
	}
	return 0;
}

/* A function of its own, as all bodies of long loops: see is_successor(). */
__noinline int is_asked_v6(__u64 addr)
{
	__u64 words[2] = {}, *asked = (__u64 *)asked_address;

	bpf_probe_read_kernel(words, sizeof(words), &((struct inet6_ifaddr *)addr)->addr);
	return words[0] == asked[0] && words[1] == asked[1];
}

__noinline int device_has_v6(__u64 device)
{
	struct inet6_dev *idev = BPF_CORE_READ((struct net_device *)device, ip6_ptr);
	struct list_head *node;

	if (!idev)
		return 0;
	node = BPF_CORE_READ(idev, addr_list.next);
	for (int i = 0; node && i < ADDRESSES_MAX; i++) {
		if (node == __builtin_preserve_access_index(&idev->addr_list))
			return 0;
		if (is_asked_v6((__u64)node - bpf_core_field_offset(struct inet6_ifaddr, if_list)))
			return 1;
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

__noinline int device_has(__u64 device)
{
	return asked_v4() ? device_has_v4(device) : device_has_v6(device);
}

static __always_inline int has_address(struct net *net)
{
	struct list_head *node = BPF_CORE_READ(net, dev_base_head.next);

	for (int i = 0; node && i < DEVICES_MAX; i++) {
		__u64 device = (__u64)node - bpf_core_field_offset(struct net_device, dev_list);

		if (node == __builtin_preserve_access_index(&net->dev_base_head))
			return 0;
		if (device_has(device))
			return 1;
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

#endif
