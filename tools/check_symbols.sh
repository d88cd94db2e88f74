#!/bin/sh
# Read a name and know its file: every global symbol of src/m/foo_bar.c belongs there.  usage: check_symbols.sh ROOT BUILD_DIR
#
# The header src/m/foo.h owns the symbols foo and foo_*, unless one with a longer name does (foo_bar.h owns foo_bar_*).
# They are defined in foo.c, or in parts of it: foo_bar.c where there is no foo_bar.h.  A symbol that no header of its
# module owns begins with a word of its file's name.  Generated code and unit tests are left alone.
set -eu
root=$1 build=$2

objects=$(find "$build/src" -path '*/lib*.a.p/*.c.o' ! -name 'meson-generated_*' | sort)
[ -n "$objects" ] || { echo "$build has no objects: is it built?"; exit 1; }
headers=$(cd "$root/src" && find . -name '*.h' | sed 's|^\./||; s|\.h$||')
printf '%s\n' $objects | xargs nm -g --defined-only /dev/null 2>/dev/null | awk -v headers="$headers" '
	BEGIN {
		n = split(headers, list, "\n")
		for (i = 1; i <= n; i++)
			is_header[list[i]] = 1
	}
	function begins(symbol, stem) {
		return symbol == stem || index(symbol, stem "_") == 1
	}
	function owner(symbol, stem) {
		for (stem = symbol; ; sub(/_[^_]*$/, "", stem)) {
			if (module "/" stem in is_header)
				return stem
			if (stem !~ /_/)
				return ""
		}
	}
	function is_at_home(symbol, its, first) {
		its = owner(symbol)
		if (its != "")
			return file == its || (begins(file, its) && !(module "/" file in is_header))
		first = symbol
		sub(/_.*/, "", first)
		return index("_" file "_", "_" first "_") > 0
	}
	/\.c\.o:$/ {
		n = split($0, path, "/")
		module = path[n - 2]
		sub(/^lib/, "", path[n - 1])
		file = path[n]
		sub(/\.c\.o:$/, "", file)
		seen++
	}
	NF == 3 && $2 != "W" && $3 !~ /^__/ && !is_at_home($3) {
		print "src/" module "/" file ".c exports " $3
		bad = 1
	}
	END { exit bad || !seen }'
