#!/usr/bin/env bash
# `make figures`: the make variables as options of `nf-isac figures`.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
# Several names, several options: split at blanks.
# shellcheck disable=SC2086
exec "$root/.venv/bin/nf-isac" figures ${FIGURES:-all} --out "$OUT" ${ARGS:-}
