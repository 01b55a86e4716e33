"""Write Prometheus' rules as a manifest of its operator.

The rules are copied, because kustomize does not read files from a parent folder.
"""

from __future__ import annotations

from pathlib import Path

import yaml

RULES = Path(__file__).resolve().parent / "prometheus" / "rules"
MANIFEST = Path(__file__).resolve().parent / "kubernetes" / "base" / "rules.yaml"
HEAD = "# Generated from deploy/prometheus/rules by deploy/kubernetes_rules.py; a test checks it.\n"


def manifest() -> str:
    """Return the manifest as text."""
    files = sorted(RULES.glob("*.yml"))
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "coincast", "labels": {"app.kubernetes.io/part-of": "coincast"}},
        "spec": {"groups": [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]},
    }
    return HEAD + yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)


if __name__ == "__main__":
    MANIFEST.write_text(manifest())
