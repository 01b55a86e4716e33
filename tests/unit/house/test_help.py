"""`--help` of every command names the values of options in words, not by the types of Python.

The one line of an argument ends with its type, which Typer adds whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from coincast_client.cli import app as client
from coincast_market_data.cli.main import cli as market
from coincast_sandbox.__main__ import app as sandbox
from coincast_stack.__main__ import app as stack
from coincast_training.cli.main import app as training

APPS = {"client": client, "market": market, "sandbox": sandbox, "stack": stack, "training": training}
# Commands that hand `--help` on to another package.
PASSED_ON = {"import", "up", "demo"}
ARGUMENT_TYPE = re.compile(r"(?<=^  )([A-Z.]+) <[a-z\[\]]+>", re.MULTILINE)
ODD = re.compile(r"<(bool|str|int|float|path|list|int range|float range)\b|%Y| \.(\s|$)|\[\]")


def commands(app: typer.Typer) -> Iterator[list[str]]:
    """The arguments that lead to each command of an application."""
    yield []
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from ([str(group.name), *rest] for rest in commands(group.typer_instance))
    if len(app.registered_commands) > 1:
        for command in app.registered_commands:
            name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
            yield [name]


CASES = [
    (name, arguments)
    for name, app in APPS.items()
    for arguments in commands(app)
    if not (name == "client" and PASSED_ON & set(arguments))
]


@pytest.mark.parametrize(
    ("name", "arguments"), CASES, ids=lambda part: part if isinstance(part, str) else "-".join(part) or "-"
)
def test_help_names_values_in_words(name: str, arguments: list[str]) -> None:
    result = CliRunner().invoke(APPS[name], [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    text = ARGUMENT_TYPE.sub("", result.output)
    assert [match.group() for match in ODD.finditer(text)] == []
