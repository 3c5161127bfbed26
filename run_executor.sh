#!/usr/bin/env bash
# Keeps one executor alive: starts it again when it dies, after 1, 2, 4 ... at most 60 seconds.
# Arguments go to job_executor.py. SIGTERM and SIGINT go on to the executor, which hands its job back; then both end.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly LONGEST_WAIT=60
readonly CALM_AFTER=60 # an executor that lived this long is started again at once
readonly MISUSED=2     # the exit status that starting again would not mend
readonly TERMINATED=143

# A virtual environment on the path wins over the one that set_up_env.sh made here.
python=python
if [[ -x .venv/bin/python ]] && ! python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; then
    python=.venv/bin/python
fi

child='' stopping=no
stop() {
    stopping=yes
    [[ -z $child ]] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT

wait_for_child() {
    [[ $stopping == no ]] || stop # the signal may have come before the child
    wait "$child"
    status=$?
    while kill -0 "$child" 2>/dev/null; do # a signal interrupted the waiting
        wait "$child"
        status=$?
    done
    child=''
}

pause=1
while [[ $stopping == no ]]; do
    started=$SECONDS
    "$python" job_executor.py "$@" &
    child=$!
    wait_for_child
    if [[ $stopping == yes && $status == "$TERMINATED" ]]; then
        exit 0 # the signal came before it had begun
    fi
    if [[ $stopping == yes || $status == 0 || $status == "$MISUSED" ]]; then
        exit "$status"
    fi
    ((SECONDS - started < CALM_AFTER)) || pause=1
    echo "The executor ended with status $status; starting it again in $pause s." >&2
    sleep "$pause" &
    child=$!
    wait_for_child
    pause=$((pause * 2 < LONGEST_WAIT ? pause * 2 : LONGEST_WAIT))
done
