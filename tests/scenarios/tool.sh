#!/bin/sh
# The program that builds of the seeds call, under any name (make, python, python2.2, ...). Its first argument is its job
# (of a file: its name).
# SCENE/meet/WORKER.JOB (or any.JOB) holds a number: it waits until so many of that job run. SCENE/alone/WORKER.JOB (or
# any.JOB) holds names of things that one alone may use: it complains in SCENE/faults if another one has them.
worker=$(basename "$(dirname "$(dirname "$PWD")")")
job=$(basename "$1" .py)
for key in "$worker.$job" "any.$job"; do
    if [ -e "$SCENE/alone/$key" ]; then
        mine="$mine $(cat "$SCENE/alone/$key")"
    fi
done
for thing in $mine; do
    mkdir "$SCENE/$thing" 2>/dev/null || echo "$PWD $job: $thing is in use" >> "$SCENE/faults"
done
echo "$(basename "$0") $* in $PWD"
for key in "$worker.$job" "any.$job"; do
    if [ -e "$SCENE/meet/$key" ]; then
        mkdir -p "$SCENE/arrived/$key"
        mktemp "$SCENE/arrived/$key/XXXXXX" > /dev/null
        tries=0
        while [ "$(ls "$SCENE/arrived/$key" | wc -l)" -lt "$(cat "$SCENE/meet/$key")" ]; do
            tries=$((tries + 1))
            if [ "$tries" -gt 3600 ]; then
                echo "$PWD: nobody else came to $key" >> "$SCENE/faults"
                exit 1
            fi
            sleep 0.05
        done
    fi
done
sleep 0.1
for thing in $mine; do
    rmdir "$SCENE/$thing"
done
case "$job" in *trial) echo "Ran 3 tests in 0.1s"; echo; echo "PASSED (successes=3)" ;; esac
