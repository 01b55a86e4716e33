#!/usr/bin/env bash
# Check the dashboards against Grafana's own types: deploy/grafana/typecheck.sh [FOLDER]. Needs npm and its registry.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:-$(mktemp -d)}"
cd "$folder"
[[ -x node_modules/.bin/tsc ]] || npm install --silent --no-audit --no-fund --ignore-scripts @grafana/schema@11.4.0 typescript@5
{
    echo "import type * as schema from '@grafana/schema';"
    for file in "$here"/dashboards/*.json; do
        name="$(basename "$file" .json)"
        echo "export const ${name//-/_}: schema.Dashboard = $(cat "$file");"
    done
} > dashboards.ts
node_modules/.bin/tsc --strict --noEmit --skipLibCheck --moduleResolution node --target es2022 --module es2022 dashboards.ts
echo "the dashboards have Grafana's types"
