#!/usr/bin/env bash
# `make test`: the linters, then every test, in two halves side by side. ARGS is handed to pytest,
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
    # Tests of running nodes mostly wait; the linters and what only computes take the time that they
    # leave. Where the kernel shares the processor between sessions (autogroup), niceness counts
    # within one alone.
    running=(test/{nodes,demo,launch,radio,watch,bench})
    computing=("${running[@]/#/--ignore=}" -p no:cacheprovider)
    log="$(mktemp)"
    # The whole group of the other half, which has a session of its own.
    trap '{ kill -TERM -- "-$computing_pid"; } 2>/dev/null || true; rm -f "$log" "$log".lint' EXIT
    setsid nice -n 15 bash -c '{ echo 15 >/proc/self/autogroup; } 2>/dev/null || true
        tools/lint.sh
        echo $? >"$1"
        shift
        "$@"' computing "$log.lint" python -m pytest -ra "${computing[@]}" >"$log" 2>&1 &
    computing_pid=$!
    nodes=0 numbers=0
    python -m pytest -ra --cache-clear "${running[@]}" || nodes=$?
    wait "$computing_pid" || numbers=$?
    cat "$log"
    lint="$(<"$log.lint")"
    if ((nodes == 1)); then
        # Real processes on a busy machine: what failed has to pass by itself, once.
        echo 'tests: once more, by themselves, those of running nodes that failed'
        nodes=0
        python -m pytest -ra --last-failed "${running[@]}" || nodes=$?
    fi
    tests=$((nodes ? nodes : numbers))
fi

if ((lint)); then
    echo 'make test: the linters found something, see above' >&2
fi
exit $((tests ? tests : lint))
