#!/usr/bin/env bash
# `make test`: the linters, then every test, in three parts side by side. ARGS is handed to pytest,
# which runs once then.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/env.sh

# One thread for each process: the tests start several, and a test machine may have two cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

# A ROS 2 domain that no other run uses: one that no process listens in (each domain has its own
# UDP ports), and that no other test run on this machine has locked. The lock lives as long as
# pytest does, which inherits the descriptor.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
unset ROS_LOCALHOST_ONLY ROS_STATIC_PEERS  # older and stronger than the line above

domain_is_free() {
    local port=$((7400 + 250 * $1 + 10))  # unicast discovery of the domain's first participant
    ! grep -qi ":$(printf '%04X' "$port") " /proc/net/udp 2>/dev/null || return 1
    command -v flock >/dev/null || return 0
    { exec 8>"${TMPDIR:-/tmp}/nf_isac_ros_domain_$1_$UID.lock"; } 2>/dev/null && flock --nonblock 8
}

for _ in {1..200}; do
    ROS_DOMAIN_ID=$((RANDOM % 100 + 1))
    if domain_is_free "$ROS_DOMAIN_ID"; then
        break
    fi
done
export ROS_DOMAIN_ID

echo "tests: ROS_DOMAIN_ID=$ROS_DOMAIN_ID"
lint=0 tests=0
if [[ -n ${ARGS:-} ]]; then
    tools/lint.sh || lint=$?
    # ARGS holds several words on purpose, quotes in it included: make test ARGS="-k 'a and b'"
    eval "python -m pytest -ra $ARGS" || tests=$?
else
    # Three at once. Tests of running nodes mostly wait, also those that start whole graphs; the
    # linters and what only computes take the time that they leave. Where the kernel shares the
    # processor between sessions (autogroup), niceness counts within one alone.
    nodes=(test/nodes)
    graphs=(test/{demo,launch,radio,watch,bench})
    running=("${nodes[@]}" "${graphs[@]}")
    work="$(mktemp -d)"
    pytest=(python -m pytest -ra)
    # What is in the background is deaf to Ctrl-C unless told otherwise, and so are its children.
    env --default-signal=INT nice -n 5 "${pytest[@]}" -o cache_dir="$work/graphs" \
        "${graphs[@]}" >"$work/graphs.log" 2>&1 &
    graphs_pid=$!
    setsid nice -n 15 bash -c '{ echo 15 >/proc/self/autogroup; } 2>/dev/null || true
        tools/lint.sh
        echo $? >"$1"
        shift
        "$@"' computing "$work/lint" "${pytest[@]}" -p no:cacheprovider \
        "${running[@]/#/--ignore=}" >"$work/computing.log" 2>&1 &
    computing_pid=$!
    end_all() {
        # Fixtures end what the graphs' tests have started.
        { kill -INT "$graphs_pid" && wait "$graphs_pid"; } 2>/dev/null || true
        { kill -TERM -- "-$computing_pid"; } 2>/dev/null || true
        rm -rf "$work"
    }
    trap end_all EXIT
    of_nodes=0 of_graphs=0 of_numbers=0
    "${pytest[@]}" -o cache_dir="$work/nodes" "${nodes[@]}" || of_nodes=$?
    wait "$graphs_pid" || of_graphs=$?
    graphs_pid=''
    cat "$work/graphs.log"
    wait "$computing_pid" || of_numbers=$?
    computing_pid=''
    cat "$work/computing.log"
    lint="$(<"$work/lint")"
    # Real processes on a busy machine: what failed has to pass by itself, once.
    if ((of_nodes == 1)); then
        echo 'tests: once more, by themselves, those of nodes that failed'
        of_nodes=0
        "${pytest[@]}" -o cache_dir="$work/nodes" --last-failed "${nodes[@]}" || of_nodes=$?
    fi
    if ((of_graphs == 1)); then
        echo 'tests: once more, by themselves, those of graphs that failed'
        of_graphs=0
        "${pytest[@]}" -o cache_dir="$work/graphs" --last-failed "${graphs[@]}" || of_graphs=$?
    fi
    tests=$((of_nodes ? of_nodes : of_graphs ? of_graphs : of_numbers))
fi

if ((lint)); then
    echo 'make test: the linters found something, see above' >&2
fi
exit $((tests ? tests : lint))
