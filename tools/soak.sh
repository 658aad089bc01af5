#!/usr/bin/env bash
# `make soak`: the closed loop for ten minutes, memory watched, with a verdict.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
options=(--duration "${DURATION:-600}" --out "${OUT:-out/soak}")
if [[ -n ${SCENARIO:-} ]]; then options+=(--scenario "$SCENARIO"); fi

exec "$root/.venv/bin/nf-isac" demo --loop closed --soak "${options[@]}"
