#!/usr/bin/env bash
# Runs the unit tests on every other supported Python that is installed here, each in its own environment: later Pythons get
# later versions of some libraries (numpy from 3.12 on), whose warnings fail the tests. The first failure ends it.
#
#   PYTHON_SECONDS=200  a time limit for each Python. A run that exceeds it is named, and proves nothing about the tests that
#                       it did not reach.
set -euo pipefail
cd "$(dirname "$0")/.."

# Print the path of an interpreter of that version, or nothing. pyenv has a command on the path for each of its versions,
# which fails unless that version is selected, so a command counts only if it runs.
find_python() {
    local version="$1" python newest
    python="$(command -v "python$version" || true)"
    if [[ -n $python ]] && "$python" -c 'import venv' 2>/dev/null; then
        echo "$python"
    elif command -v pyenv >/dev/null; then
        newest="$(pyenv versions --bare | grep -E "^${version/./\\.}\." | sort -V | tail -n 1 || true)"
        if [[ -n $newest ]]; then PYENV_VERSION=$newest pyenv which python3; fi
    fi
}

limit=()
if [[ -n ${PYTHON_SECONDS:-} ]]; then limit=(timeout --kill-after=30 "$PYTHON_SECONDS"); fi
for version in 3.12 3.13; do
    python="$(find_python "$version")"
    if [[ -z $python ]]; then
        echo "Python $version: SKIPPED, it is not installed here"
        continue
    fi
    echo "Python $version: unit tests"
    code=0
    PYTEST_ADDOPTS=--maxfail=1 "${limit[@]}" \
        make --no-print-directory test-unit PYTHON="$python" VENV=".venv-$version" COMPILE= || code=$?
    if [[ -n ${PYTHON_SECONDS:-} ]] && ((code == 124 || code == 137)); then
        echo "Python $version: STOPPED after $PYTHON_SECONDS s without a failure; run make test-pythons for all of its tests"
    elif ((code != 0)); then
        exit "$code"
    fi
done
