#!/bin/sh
# Install through apt what is missing, saying so first.  usage: deps.sh build|test|bench...
#
# A package counts as there when what we want of it is there, wherever it came from.
set -eu

has_command() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }
has_library() { has_command pkg-config && pkg-config --exists "$1"; }
has_pytest() { /usr/bin/python3 -c 'import pytest' 2>/dev/null; }
has_fuzzer() { ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1; }

missing=
want() {
	package=$1
	shift
	"$@" || missing="$missing $package"
}

for purpose in "$@"; do
	case $purpose in
	build)
		want gcc has_command cc
		want pkg-config has_command pkg-config
		want meson has_command meson
		want ninja-build has_command ninja
		want libuv1-dev has_library libuv
		want libssl-dev has_library libssl
		want libsqlite3-dev has_library sqlite3
		want libzstd-dev has_library libzstd
		want libinih-dev has_library inih
		want libcmocka-dev has_library cmocka
		want python3 test -x /usr/bin/python3
		want python3-pytest has_pytest
		;;
	test)
		want clang has_command clang
		want libclang-rt-14-dev has_fuzzer
		want clang-format has_command clang-format
		want iproute2 has_command ip
		;;
	bench)
		want rsync has_command rsync
		want nginx-light has_command nginx
		want curl has_command curl
		;;
	*)
		echo "usage: deps.sh build|test|bench..." >&2
		exit 2
		;;
	esac
done

[ -n "$missing" ] || exit 0
if ! has_command apt-get; then
	echo "Missing, and there is no apt-get to install it (these are Debian's names):$missing" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
	has_command sudo || { echo "Missing:$missing.  Installing it needs root: apt-get install$missing" >&2; exit 1; }
	as_root=sudo
fi
echo "Missing, to be installed with apt-get:$missing"
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
