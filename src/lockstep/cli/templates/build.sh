#!/bin/sh
# What the demo's builds run: it takes its time and says what it does.
say() { echo "$1"; sleep "$2"; }
case "$1" in
    all)
        for part in parser planner executor server; do say "compiling $part" 1; done ;;
    db-test)
        say "creating tables" 2
        for number in 1 2 3 4; do say "database test $number: ok" 2; done ;;
    unit-test)
        for number in 1 2 3 4 5 6; do say "test $number on $2: ok" 2; done
        if [ "$2" = 3.13 ]; then echo "test 7 on $2: FAILED (this one always does)"; exit 1; fi ;;
esac
