#!/usr/bin/env bash
# Write the Python stubs of every contract to a folder (default: proto/gen). Run through `make proto`.
set -euo pipefail
cd "$(dirname "$0")"
out="${1:-gen}"
python="${PYTHON:-../.venv/bin/python}"
# The plug-ins for type stubs are installed beside the interpreter.
PATH="$(cd "$(dirname "$python")" && pwd):$PATH"
rm -rf "$out/coincast"
mkdir -p "$out"
mapfile -t contracts < <(find coincast -name '*.proto' | sort)
"$python" -m grpc_tools.protoc -I . --python_out="$out" --grpc_python_out="$out" \
    --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" "${contracts[@]}"
find "$out/coincast" -type d -exec touch {}/__init__.py \;
touch "$out/coincast/py.typed"
