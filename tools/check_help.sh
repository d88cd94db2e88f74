#!/bin/sh -eu
# Every help is on standard output, at most 80 columns wide, with status 0.  usage: check_help.sh WEFT
weft=$1
bad=0

check() {
	out=$("$weft" "$@" 2>&1 >/dev/null) || { echo "weft $*: status $?"; bad=1; }
	[ -z "$out" ] || { echo "weft $*: says on standard error: $out"; bad=1; }
	"$weft" "$@" | awk -v line="weft $*" '
		length > 80 { print line ": " length " columns: " $0; bad = 1 }
		/[ \t]$/ { print line ": a line ends in a blank"; bad = 1 }
		END { if (NR < 5) { print line ": says next to nothing"; bad = 1 } exit bad }' || bad=1
}

check --help
check help
verbs=$("$weft" help | awk '/^  [a-z]/ { print $1 }')
for verb in $verbs; do
	check help "$verb"
	check "$verb" --help
	[ "$("$weft" help "$verb")" = "$("$weft" "$verb" --help)" ] || { echo "weft $verb --help is not weft help $verb"; bad=1; }
done
[ "$(echo "$verbs" | wc -w)" -ge 20 ] || { echo "only these commands are listed: $verbs"; bad=1; }
exit $bad
