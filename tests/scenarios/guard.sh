#!/bin/sh
# guard.sh FOLDER LINES: an outside guard of something that one alone may use. It notes in FOLDER/faults if somebody
# else is alive inside, or if it has seen this fence or a later one before (L62); inside, it says numbered lines.
inside=$1/inside
folder=$1
alive() { # a process that was killed and that nobody has reaped yet has no command line any more
    tr '\0' ' ' 2>/dev/null < "/proc/${1:-none}/cmdline" | grep -qF "guard.sh $folder " # or its id is another's now
}
if ! mkdir "$inside" 2>/dev/null && alive "$(cat "$inside/pid" 2>/dev/null)" 2>/dev/null; then
    echo "$LOCKSTEP_COMMAND came in beside $(cat "$inside/who")" >> "$1/faults"
fi
echo "$$" > "$inside/pid"
echo "$LOCKSTEP_COMMAND" > "$inside/who"
# Whoever was killed while it wrote there has left nothing.
last=$(cat "$1/last" 2>/dev/null || echo 0)
[ "$LOCKSTEP_FENCE_DATABASE" -gt "${last:-0}" ] || echo "fence $LOCKSTEP_FENCE_DATABASE after $last" >> "$1/faults"
echo "$LOCKSTEP_FENCE_DATABASE" > "$1/last"
line=0
while [ "$line" -lt "$2" ]; do
    line=$((line + 1))
    echo "line $line"
    sleep 0.02
done
rm -r "$inside"
