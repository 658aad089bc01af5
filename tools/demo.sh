#!/usr/bin/env bash
# `make demo`: the make variables as options of `nf-isac demo`.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
options=(--duration "${DURATION:-20}" --out "${OUT:-out/demo}")

if [[ -n ${BAG:-} ]]; then
    folder="$BAG"
    if [[ -f $folder ]]; then  # a file of the recording stands for its folder
        folder="$(dirname "$folder")"
    fi
    if [[ ! -d $folder ]]; then
        echo "make demo: there is no recording $BAG" >&2
        exit 1
    fi
    folder="$(cd "$folder" && pwd)"
    if [[ -z ${CONFIG:-} ]]; then
        CONFIG="$root/config/recordings/$(basename "$folder").yaml"
        if [[ ! -f $CONFIG ]]; then
            echo "make demo: no configuration ${CONFIG#"$root/"} for this recording: name one with CONFIG=file.yaml" >&2
            exit 1
        fi
    fi
    options+=(--bag "$folder")
fi
if [[ -n ${CONFIG:-} ]]; then options+=(--config "$CONFIG"); fi
if [[ -n ${SCENARIO:-} ]]; then options+=(--scenario "$SCENARIO"); fi
if [[ -n ${LOOP:-} ]]; then options+=(--loop "$LOOP"); fi
case "${REPEAT:-}" in
    '' | 0 | false | no) ;;
    *) options+=(--repeat) ;;
esac

exec "$root/.venv/bin/nf-isac" demo "${options[@]}"
