#!/bin/sh
# Every C file is as clang-format and .clang-format make it, and no line is longer than 100 columns.
# usage: check_format.sh ROOT [DIR...]      77 (skipped) without clang-format 14: each version formats otherwise
set -eu
cd "$1"
shift
[ $# -gt 0 ] || set -- src tests fuzz bench
for name in clang-format-14 clang-format; do
	if command -v "$name" >/dev/null && "$name" --version | grep -q 'version 14\.'; then
		formatter=$name
		break
	fi
done
[ -n "${formatter:-}" ] || { echo "clang-format 14 is not installed"; exit 77; }

files=$(find "$@" -name '*.[ch]' ! -path '*/gen/*' | sort)
bad=0
crooked=$("$formatter" --dry-run -Werror $files 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: error: .*/\1/p' | uniq)
[ -z "$crooked" ] || { echo "run $formatter -i" $crooked; bad=1; }
long=$(awk '{
	width = 0
	n = split($0, part, "\t")
	for (i = 1; i <= n; i++) {
		width += length(part[i])
		if (i < n)
			width += 8 - width % 8
	}
	if (width > 100)
		print FILENAME ":" FNR ": " width " columns"
}' $files)
if [ -n "$long" ]; then
	echo "$long" | head -n 20
	[ "$(echo "$long" | wc -l)" -le 20 ] || echo "... $(echo "$long" | wc -l) lines in all"
	bad=1
fi
exit $bad
