"""Generate docs/features.md: `python -m coincast_modelkit.features.docs_page > docs/features.md`."""

from __future__ import annotations

import sys
from itertools import groupby

from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS

HEAD = """# Features

Generated from the code by `python -m coincast_modelkit.features.docs_page`; a test checks that it is current.

{count} features in {groups} groups. Each row depends on the days up to its own, at most the last {memory}. A
feature is NaN during its warm-up and where an input is absent: the group `ranges` needs high and low, the
group `volume` needs volume; absent inputs are not replaced by guesses. The reference coins of the
cross-sections are {reference}. The default spec's hash is `{hash}`; an artifact that was trained with another
one is refused.
"""


def page() -> str:
    """Return the page in Markdown."""
    spec = DEFAULT_SPEC
    groups = [(name, list(found)) for name, found in groupby(spec.definitions, key=lambda f: f.group)]
    head = HEAD.format(
        count=len(spec.names),
        groups=len(groups),
        memory=spec.memory_days,
        reference=", ".join(REFERENCE_COINS),
        hash=spec.hash[:16],
    )
    lines = [head]
    for name, features in groups:
        lines += [
            f"\n## {name}\n",
            "| feature | parameters | warm-up, days | description |",
            "|---|---|---|---|",
        ]
        for f in features:
            params = ", ".join(f"{k} {v:g}" for k, v in f.params.items())
            lines.append(f"| `{f.name}` | {params} | {f.warmup_days} | {f.doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
