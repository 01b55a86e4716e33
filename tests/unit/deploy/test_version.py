"""One version for all packages, and every package in the bundle."""

from __future__ import annotations

import re

import pytest

from deploy import version


def test_all_packages_state_the_same_version() -> None:
    assert version.differing() == []
    assert re.fullmatch(version.FORM, version.current())


def test_the_bundle_brings_every_package() -> None:
    text = (version.REPOSITORY / version.SOURCE).read_text()
    pinned = {name for name, *_ in re.findall(r'"(coincast-[a-z-]+)==([^"]+)"', text)}
    names = {re.findall(r'^name = "(.+)"$', path.read_text(), re.MULTILINE)[0] for path in version.projects()}
    assert names - {"coincast"} == pinned


@pytest.mark.parametrize("text", ["1.2", "v1.2.3", "1.2.3.4", "", "1.2.3; rm"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"give for example VERSION=1\.2\.3"):
        version.write(text)
