#!/bin/sh
# Fuzz the targets of a build made with -Dfuzzers=true, each for a bounded time, and say what came of it.
#
#   CC=clang meson setup build-fuzz -Dfuzzers=true -Db_sanitize=address,undefined -Db_lundef=false
#   ninja -C build-fuzz && fuzz/run.sh [-j N] [-s SECONDS] [-p SECONDS] build-fuzz [TARGET...]
#
# -j  targets at once (1)      -s  seconds a target (120)      -p  ... if a stranger can reach it (600)
#
# New inputs go to BUILD/fuzz/found/TARGET, inputs that broke something to BUILD/fuzz/broken/TARGET-*; what is worth
# keeping is moved to fuzz/corpus by hand.  Exit status 1 when something broke.
set -eu

# reachable before the other side has proved who it is
strangers=" public_key certificate tls_server tls_client frame message session "

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }

jobs=1 seconds=120 stranger_seconds=600
while getopts j:s:p: opt; do
	case $opt in
	j) jobs=$OPTARG ;;
	s) seconds=$OPTARG ;;
	p) stranger_seconds=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
build=$(cd "$1" && pwd)
shift
here=$(cd "$(dirname "$0")" && pwd)

# One target: called by ourselves through xargs, so that -j can run several.
if [ "${FUZZ_ONE:-}" = 1 ]; then
	name=$1
	found=$build/fuzz/found/$name
	mkdir -p "$found" "$build/fuzz/broken"
	case $strangers in *" $name "*) t=$stranger_seconds ;; *) t=$seconds ;; esac
	status=0
	timeout -k 10 $((t + 120)) "$build/fuzz/fuzz_$name" -max_total_time="$t" -timeout=20 -rss_limit_mb=1024 \
		-print_final_stats=1 -artifact_prefix="$build/fuzz/broken/$name-" \
		"$found" "$here/corpus/$name" >"$build/fuzz/$name.log" 2>&1 || status=$?
	echo "$status" >"$build/fuzz/$name.status"
	exit 0
fi

[ $# -gt 0 ] || set -- $(cd "$build/fuzz" && find . -maxdepth 1 -type f -perm -u+x -name 'fuzz_*' ! -name '*_replay' |
	sed 's|^\./fuzz_||' | sort)
[ $# -gt 0 ] || { echo "$build holds no fuzz targets: configure it with -Dfuzzers=true" >&2; exit 2; }
printf '%s\n' "$@" |
	FUZZ_ONE=1 xargs -P "$jobs" -I{} "$here/run.sh" -s "$seconds" -p "$stranger_seconds" "$build" {}

bad=0
printf '%-20s %12s %10s %8s %8s  %s\n' target executions per_second coverage inputs result
for name in "$@"; do
	log=$build/fuzz/$name.log
	field() { sed -n "s/^stat::$1: *//p" "$log" | tail -n 1; }
	cov=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	inputs=$(find "$build/fuzz/found/$name" -type f | wc -l)
	result=clean
	if [ "$(cat "$build/fuzz/$name.status")" != 0 ]; then
		result="BROKEN, see $log"
		bad=1
	fi
	printf '%-20s %12s %10s %8s %8s  %s\n' "$name" "$(field number_of_executed_units)" "$(field average_exec_per_sec)" \
		"${cov:-?}" "$inputs" "$result"
done
exit $bad
