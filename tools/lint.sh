#!/usr/bin/env bash
# `make lint`: style, types of the core, arrows between the rooms. Runs all three, fails if one does.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
. tools/env.sh || exit

failed=()

check() {  # title, command...
    local title="$1" output
    shift
    if output="$("$@" 2>&1)"; then
        printf 'lint: %-42s ok\n' "$title"
    else
        printf '%s\n' "$output"
        printf 'lint: %-42s FAILED\n' "$title"
        failed+=("$title")
    fi
}

check 'ruff (style)' ruff check .
check 'mypy (types of nf_isac_ros/core)' mypy
check 'import-linter (arrows between the rooms)' lint-imports
((${#failed[@]} == 0))
