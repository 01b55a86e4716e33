"""The README's questions get the README's answers: same status, same fields, whatever the figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

Get = Callable[..., httpx2.Response]
README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
LEFT_OUT = "..."
# The first test of a session waits for the stack and its first model.
pytestmark = pytest.mark.timeout(600)


def examples() -> dict[str, str]:
    """What the README's blocks show as the output of each curl, by its path and query."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    shown = re.findall(
        r"^\$ curl 'http://127\.0\.0\.1:8000([^']+)'\n((?:(?!\$ ).*\n)*)", "\n".join(blocks), re.MULTILINE
    )
    return {requested: output.strip() for requested, output in shown}


def read(output: str) -> Any:
    """The output as JSON values, with what was left out as a field or a value of that name."""
    marked = re.sub(r", \.\.\.(?=[}\]])", f', "{LEFT_OUT}": null', output)
    return json.loads(re.sub(r": \.\.\.(?=[,}])", f': "{LEFT_OUT}"', marked))


def differences(shown: Any, found: Any, where: str = "") -> list[str]:
    """Where the reply has other fields than the README shows; of a list the first entry speaks for all."""
    if shown == LEFT_OUT:
        return []
    if isinstance(shown, dict) and isinstance(found, dict):
        return _fields(shown, found, where)
    if isinstance(shown, list) and isinstance(found, list):
        if bool(shown) != bool(found):
            return [f"{where}: {len(found)} entries, the README shows {len(shown)}"]
        return differences(shown[0], found[0], f"{where}[0]") if shown else []
    nested = isinstance(shown, dict | list) or isinstance(found, dict | list)
    return [f"{where}: {found!r}, the README shows {shown!r}"] if nested else []


def _fields(shown: dict[str, Any], found: dict[str, Any], where: str) -> list[str]:
    wanted = shown.keys() - {LEFT_OUT}
    more = set() if LEFT_OUT in shown else found.keys() - wanted
    reported = [f"{where}.{name}: not in the reply" for name in wanted - found.keys()]
    reported += [f"{where}.{name}: not in the README" for name in more]
    for name in wanted & found.keys():
        reported += differences(shown[name], found[name], f"{where}.{name}")
    return reported


def test_every_curl_of_the_readme_is_requested() -> None:
    assert len(examples()) >= 6
    assert len(examples()) == README.count("$ curl ")


@pytest.mark.parametrize(("requested", "output"), examples().items(), ids=examples())
def test_the_reply_has_the_fields_that_the_readme_shows(get: Get, requested: str, output: str) -> None:
    shown, reply = read(output), get(requested)
    status = shown.get("status")
    assert reply.status_code == (status if isinstance(status, int) else 200)
    assert differences(shown, reply.json()) == []
