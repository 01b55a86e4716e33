"""The links of the documentation lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
