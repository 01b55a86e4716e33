"""The README tells the truth about the verbs, the pages are current, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text()


def test_every_verb_is_listed_as_make_prints_it() -> None:
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    verbs = {
        tuple(re.split(r"\s{2,}|(?<=\S) ", line.strip(), maxsplit=2)[1:2]) for line in printed.splitlines()
    }
    listed = set(re.findall(r"^\| `make ([a-z-]+)` \|", README, flags=re.MULTILINE))
    assert {name for (name,) in verbs} == listed


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/operations.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("script", ["settings_page.py", "metrics_page.py"])
def test_generated_pages_are_current(script: str) -> None:
    run = subprocess.run(
        [sys.executable, str(REPOSITORY / "deploy" / script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_every_setting_says_what_it_is_for() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \|[^|]*\|([^|]*)\|", (REPOSITORY / "docs/settings.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 80
    assert [name for name, what in rows if not what.strip()] == []
