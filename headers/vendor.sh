#!/usr/bin/env bash
# Copies libbpf's BPF-side helper headers (LGPL-2.1 OR BSD-2-Clause) out of
# Debian's libbpf-dev into headers/bpf. Run by hand when they are to be renewed;
# the copies are committed so that generating needs clang only.
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download -qq libbpf-dev && dpkg -x libbpf-dev_*.deb .)
for h in bpf_helpers.h bpf_helper_defs.h bpf_core_read.h bpf_tracing.h bpf_endian.h; do
	cp "$tmp/usr/include/bpf/$h" bpf/
done
dpkg-deb -f "$tmp"/libbpf-dev_*.deb Version >bpf/VERSION
