#!/usr/bin/env bash
# `make bench`: the make variables as options of `nf-isac bench`; the results go into the repository.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
recordings="${RECORDINGS:-$root/../shared/data/recordings}"
options=(--recordings "$recordings")

if [[ -n ${RECORDINGS:-} && ! -d $RECORDINGS ]]; then
    echo "make bench: there is no folder $RECORDINGS" >&2
    exit 1
fi
case "${QUICK:-}" in
    '' | 0 | false | no) ;;
    *) options+=(--quick) ;;
esac
case "${LONG:-}" in
    '' | 0 | false | no) ;;
    *) options+=(--long) ;;
esac
if [[ -n ${PEERS:-} ]]; then options+=(--peers "$PEERS"); fi

cd "$root"
exec "$root/.venv/bin/nf-isac" bench --out benchmarks --table docs/benchmarks.md "${options[@]}"
