#!/bin/bash
# Completes lines as bash would and compares.  usage: test_completion.bash SCRIPT
# shellcheck disable=SC2317,SC1090
set -u
# A weft that knows two shares, and says nothing without -q.
weft() { [[ $* == *-q* ]] && case "$*" in *shares*) printf '%s\n' photos 'two words' ;; *jobs*) echo 12 ;; esac; }
timeout() { shift; "$@"; }
compopt() { :; }
source "$1" || exit 1
bad=0

# expect WORDS... -- COMPLETIONS...: the last word is the one at the cursor
expect() {
	local got want
	COMP_WORDS=()
	while [[ $1 != -- ]]; do COMP_WORDS+=("$1"); shift; done
	shift
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_weft
	got=$(printf '%s\n' "${COMPREPLY[@]+"${COMPREPLY[@]}"}" | sort)
	want=$(printf '%s\n' "$@" | sort)
	[[ $got == "$want" ]] && return
	bad=1
	printf '%s\n  gives:  %s\n  not:    %s\n' "${COMP_WORDS[*]}" "${got//$'\n'/ }" "${want//$'\n'/ }"
}

expect weft pub -- publish
expect weft s -- server shares site snapshots status
expect weft site m -- map move
expect weft publish --sh -- --share
expect weft publish . --share '' -- photos 'two\ words'
expect weft publish . --share = pho -- photos
expect weft publish . --share = -- photos 'two\ words'
expect weft --home /x get p -- photos
expect weft get -- get
expect weft snapshots p -- photos
expect weft cancel '' -- 12
expect weft grant photos laptop '' -- read write
expect weft grant photos laptop w -- write
expect weft help vers -- version
expect weft agent --log-level d -- debug
expect weft shares --j -- --json
expect weft --h -- --home --help
expect weft invite --uses '' -- ''
expect weft status x -- ''
cd "$(mktemp -d)" && touch one two && mkdir three
expect weft publish t -- three two
expect weft get photos o -- one
expect weft --home t -- three two
rm -r one two three && rmdir "$PWD"
exit $bad
