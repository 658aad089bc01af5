#!/usr/bin/env bash
# `make test`: the linters, then every test, in four parts side by side. ARGS is handed to pytest,
# which runs once then.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/env.sh

# One thread for each process: the tests start several, and a test machine may have two cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

# ROS 2 domains that no other run uses: each one that no process listens in (a domain has its own
# UDP ports), and that no other test run on this machine has locked. A lock lives as long as pytest
# does, which inherits the descriptor.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
unset ROS_LOCALHOST_ONLY ROS_STATIC_PEERS  # older and stronger than the line above

domain_is_free() {  # DOMAIN
    local port=$((7400 + 250 * $1 + 10))  # unicast discovery of the domain's first participant
    ! grep -qi ":$(printf '%04X' "$port") " /proc/net/udp 2>/dev/null || return 1
    command -v flock >/dev/null || return 0
    # A descriptor of its own for each lock.
    { exec {lock}>"${TMPDIR:-/tmp}/nf_isac_ros_domain_$1_$UID.lock"; } 2>/dev/null || return 1
    flock --nonblock "$lock" || { exec {lock}>&-; return 1; }
}

free_domain() {  # leaves the number in $domain
    for _ in {1..200}; do
        domain=$((RANDOM % 100 + 1))
        if domain_is_free "$domain"; then
            break
        fi
    done
}

free_domain
export ROS_DOMAIN_ID=$domain

echo "tests: ROS_DOMAIN_ID=$ROS_DOMAIN_ID"
lint=0 tests=0
if [[ -n ${ARGS:-} ]]; then
    tools/lint.sh || lint=$?
    # ARGS holds several words on purpose, quotes in it included: make test ARGS="-k 'a and b'"
    eval "python -m pytest -ra $ARGS" || tests=$?
else
    # Four at once. Tests of running nodes mostly wait; those of what nodes consist of, and after
    # these the linters and what only computes, take the time that they leave. Where the kernel
    # shares the processor between sessions (autogroup), niceness counts within one alone.
    # Those of the beamformer and of whole graphs are one part, those of the nodes around it another.
    around=(test/nodes/test_{bag_player,bag_recorder,watch,radio_driver,radio_signal}.py
            test/nodes/test_{markers,scenario,loop_faults,start_paused}.py test/launch)
    nodes=(test/nodes test/demo/test_real_graph.py "${around[@]/#/--ignore=}")
    parts=(test/{demo,radio,watch,bench} --ignore=test/demo/test_real_graph.py)
    elsewhere=(--ignore=test/{nodes,launch,demo,radio,watch,bench})
    work="$(mktemp -d)"
    pytest=(python -m pytest -ra)
    # Nodes of two runs must not hear each other.
    free_domain

    # What is in the background is deaf to Ctrl-C unless told otherwise, and so are its children.
    ROS_DOMAIN_ID=$domain env --default-signal=INT \
        "${pytest[@]}" -o cache_dir="$work/around" "${around[@]}" >"$work/around.log" 2>&1 &
    around_pid=$!
    env --default-signal=INT nice -n 5 \
        "${pytest[@]}" -o cache_dir="$work/parts" "${parts[@]}" >"$work/parts.log" 2>&1 &
    parts_pid=$!
    setsid nice -n 15 bash -c '{ echo 15 >/proc/self/autogroup; } 2>/dev/null || true
        tools/lint.sh
        echo $? >"$1"
        shift
        "$@"' computing "$work/lint" "${pytest[@]}" -p no:cacheprovider \
        "${elsewhere[@]}" >"$work/computing.log" 2>&1 &
    computing_pid=$!
    end_all() {
        # Fixtures end what the tests have started.
        { kill -INT "$around_pid" && wait "$around_pid"; } 2>/dev/null || true
        { kill -INT "$parts_pid" && wait "$parts_pid"; } 2>/dev/null || true
        { kill -TERM -- "-$computing_pid"; } 2>/dev/null || true
        rm -rf "$work"
    }
    trap end_all EXIT

    of_nodes=0 of_around=0 of_parts=0 of_numbers=0
    "${pytest[@]}" -o cache_dir="$work/nodes" "${nodes[@]}" || of_nodes=$?
    wait "$around_pid" || of_around=$?
    around_pid=''
    cat "$work/around.log"
    wait "$parts_pid" || of_parts=$?
    parts_pid=''
    cat "$work/parts.log"
    wait "$computing_pid" || of_numbers=$?
    computing_pid=''
    cat "$work/computing.log"
    lint="$(<"$work/lint")"

    # Real processes on a busy machine: what failed has to pass by itself, once.
    once_more() {  # NAME RESULT TESTS..; returns the new result
        local name=$1 result=$2
        shift 2
        ((result == 1)) || return "$result"
        echo "tests: once more, by themselves, those of $name that failed"
        "${pytest[@]}" -o cache_dir="$work/$name" --last-failed "$@"
    }
    once_more nodes "$of_nodes" "${nodes[@]}" && of_nodes=0 || of_nodes=$?
    once_more around "$of_around" "${around[@]}" && of_around=0 || of_around=$?
    once_more parts "$of_parts" "${parts[@]}" && of_parts=0 || of_parts=$?
    tests=$((of_nodes ? of_nodes : of_around ? of_around : of_parts ? of_parts : of_numbers))
fi

if ((lint)); then
    echo 'make test: the linters found something, see above' >&2
fi
exit $((tests ? tests : lint))
