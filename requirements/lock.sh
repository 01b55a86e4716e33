#!/usr/bin/env bash
# Writes every lock file anew: names, versions and hashes, no index addresses. Run through `make lock`.
# dev.in is resolved first and holds all the others to one set of versions.
set -euo pipefail
cd "$(dirname "$0")"
uv="${UV:-../.venv/bin/uv}"
lock() {
    echo "locking $1"
    env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS -u PIP_FIND_LINKS \
        UV_CUSTOM_COMPILE_COMMAND="make lock" "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-config "${@:2}" "$1.in" --output-file "$1.txt"
}
lock dev "$@"
for name in build chassis gateway client market-data forecast training training-dask training-lstm sandbox run; do
    lock "$name" --constraint dev.txt
done
lock generators "$@"
lock uv "$@"
if grep -nE '(https?|file)://' ./*.txt; then
    echo "a lock file names an address: remove the index settings of this machine and lock again" >&2
    exit 1
fi
