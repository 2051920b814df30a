# shellcheck shell=bash
# What fetch, btf and run share. Sourced, never run.
set -euo pipefail

kernels_cache=${TCPLIMBO_KERNELS:-${XDG_CACHE_HOME:-$HOME/.cache}/tcplimbo/kernels}

say() { printf 'kernels/%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	say "$1"
	exit "${2:-1}"
}

# need COMMAND=PACKAGE... installs the packages of the commands that are missing.
need() {
	local pair missing=() sudo=()
	PATH=$PATH:/usr/sbin:/sbin
	for pair in "$@"; do
		type -P "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	((${#missing[@]})) || return 0
	((EUID == 0)) || sudo=(sudo -n)
	say "installing ${missing[*]}"
	if ! apt_install >/dev/null 2>&1; then
		"${sudo[@]}" apt-get update -q >&2 || say "apt-get update failed, trying to install all the same"
		apt_install >&2 || die "cannot install ${missing[*]}"
	fi
}

# apt_install is a part of need and uses its variables.
apt_install() {
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
		-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "${missing[@]}"
}

# labels prints the cached kernels, oldest first: 5.10, 6.1, …
labels() {
	local dir
	for dir in "$kernels_cache"/[0-9]*.[0-9]*/; do
		[[ -e $dir/SHA256SUMS ]] && basename "$dir"
	done | sort -V
}

# find_label NAME prints the label of a cached kernel named by label (6.12) or by suite (trixie).
find_label() {
	local label
	while read -r label; do
		if [[ $1 == "$label" || $1 == "$(<"$kernels_cache/$label/suite")" ]]; then
			printf '%s\n' "$label"
			return 0
		fi
	done < <(labels)
	return 1
}

# intact LABEL tells whether a cached kernel is whole and what was unpacked.
intact() {
	(cd "$kernels_cache/$1" && sha256sum --quiet --strict -c SHA256SUMS) >/dev/null 2>&1
}
