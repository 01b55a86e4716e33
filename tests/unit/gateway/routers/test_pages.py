"""The pages' Content-Security-Policy, and that the page for people gets along with it."""

from __future__ import annotations

import re

import pytest

from coincast_gateway.routers.pages import POLICY, REDOC_POLICY, SWAGGER_POLICY, render_page
from coincast_gateway.web.assets import HERE, Assets


def policy_of(file: str, policy: bytes) -> str:
    headers = dict(render_page(Assets(), file, policy).own_headers)
    return headers[b"content-security-policy"].decode()


def test_the_page_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    policy = policy_of("index.html", POLICY)
    assert "unsafe" not in policy
    assert "style-src" not in policy, "default-src holds for styles and scripts"
    assert "default-src 'self'" in policy
    assert not re.search(r"https?:", policy)


@pytest.mark.parametrize(
    ("file", "sent", "styles"), [("docs.html", SWAGGER_POLICY, 0), ("redoc.html", REDOC_POLICY, 2)]
)
def test_the_references_allow_no_inline_code_and_inline_styles_by_hash_alone(
    file: str, sent: bytes, styles: int
) -> None:
    policy = policy_of(file, sent)
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == styles
    assert policy.count("img-src") == 1
    assert not re.search(r"https?:", policy)


@pytest.mark.parametrize("file", ["index.html", "docs.html", "redoc.html"])
def test_pages_have_no_inline_styles_scripts_or_handlers(file: str) -> None:
    page = (HERE / file).read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)


@pytest.mark.parametrize("file", sorted(each.name for each in HERE.glob("*.js")))
def test_scripts_set_no_style_attribute_and_evaluate_nothing(file: str) -> None:
    script = (HERE / file).read_text(encoding="utf-8")
    assert not re.search(
        r"""setAttribute\(\s*["']style|cssText|\beval\(|new Function|createElement\(["']style""", script
    )
    assert not re.search(r"""svg\([^)]*\bstyle:""", script)
