#!/bin/sh
# Install through apt what is missing, saying so first.  usage: deps.sh build|test|bench|lab...
#
# A package counts as there when what we want of it is there, wherever it came from.  The tools that the lab measures beside
# Weft are optional: one that apt does not have is named, and left out of the table.
set -eu

has_command() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }
has_library() { has_command pkg-config && pkg-config --exists "$1"; }
has_pytest() { /usr/bin/python3 -c 'import pytest' 2>/dev/null; }
has_libtorrent() { /usr/bin/python3 -c 'import libtorrent' 2>/dev/null; }
has_fuzzer() { ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1; }

missing= optional=
want() {
	package=$1
	shift
	"$@" || missing="$missing $package"
}
would_like() {
	package=$1
	shift
	"$@" || optional="$optional $package"
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
	lab)
		want iproute2 has_command ip
		want python3 test -x /usr/bin/python3
		would_like nginx-light has_command nginx
		would_like curl has_command curl
		would_like openssl has_command openssl
		would_like rsync has_command rsync
		would_like aria2 has_command aria2c
		would_like python3-libtorrent has_libtorrent
		would_like transmission-daemon has_command transmission-daemon
		would_like syncthing has_command syncthing
		would_like uftp has_command uftpd
		would_like iperf3 has_command iperf3
		;;
	*)
		echo "usage: deps.sh build|test|bench|lab..." >&2
		exit 2
		;;
	esac
done

[ -n "$missing$optional" ] || exit 0
if ! has_command apt-get; then
	[ -z "$optional" ] || echo "Left out, as there is no apt-get to install it (these are Debian's names):$optional" >&2
	[ -n "$missing" ] || exit 0
	echo "Missing, and there is no apt-get to install it (these are Debian's names):$missing" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
	has_command sudo || { echo "Missing:$missing$optional.  Installing it needs root: apt-get install$missing$optional" >&2; exit 1; }
	as_root=sudo
fi
install() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }

echo "Missing, to be installed with apt-get:$missing$optional"
$as_root apt-get update -q
# shellcheck disable=SC2086  # words
[ -z "$missing" ] || install $missing
for package in $optional; do
	install "$package" || echo "$package: not to be had here, left out"
done
