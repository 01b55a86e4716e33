#!/usr/bin/env bash
# Write every lock file: names, versions and hashes, no index addresses. Run through `make lock`.
# dev.in is resolved first; its versions constrain all the others.
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
generators=../tests/contract/gateway/generators
if command -v npm >/dev/null; then
    echo "locking generators of TypeScript clients"
    (cd "$generators" && npm install --package-lock-only --omit-lockfile-registry-resolved --silent --no-fund)
    python3 - "$generators/package-lock.json" <<'PYTHON'
import json, pathlib, sys

path = pathlib.Path(sys.argv[1])
document = json.loads(path.read_text())
for package in document["packages"].values():
    package.pop("funding", None)  # addresses of donation pages
path.write_text(json.dumps(document, indent=2) + "\n")
PYTHON
fi
if grep -nE '(https?|file)://' ./*.txt "$generators/package-lock.json"; then
    echo "a lock file names an address: remove the index settings of this machine and lock again" >&2
    exit 1
fi
