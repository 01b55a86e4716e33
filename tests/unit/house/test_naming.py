"""Names and calls: words of the field, packages that fit on a screen, arguments that are named."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.unit.house.sources import PACKAGES, REPOSITORY, module_nodes, package_root, package_sources

# Packages that still hold names of the kind that is banned. Remove a line when its package is done.
PENDING_NAMES: set[str] = set()
PENDING_LAYOUT: set[str] = set()
PENDING_CALLS: set[str] = set()

MODULES_AT_TOP_LEVEL = 12
POSITIONAL_ARGUMENTS = 5
# Functions that take any number of like arguments: there are no parameters to name.
VARIADIC = {"add_row", "table"}

# Private names that a reader has to decode. Each has a standard word: see docs/decisions for the vocabulary.
BANNED_CLASSES = {
    "Admission", "Answered", "AskMany", "AskOne", "BeyondPlan", "Climber", "Edges", "Front", "Gate",
    "GoodFigure", "Ground", "GuardedProtocol", "HidingProxy", "Housekeeper", "Judge", "JumpGuard",
    "KeyRing", "Ladder", "Learnt", "Lineup", "Mirrored", "Moved", "Own", "OwnTerms", "Purse", "QualityBook",
    "Question", "ReadyCandles", "RedisGate", "SetAside", "Shape", "Share", "Sides", "Sightings", "Standing",
    "Taken", "Together", "Untold", "Verdict", "Voice", "Waiting", "WarmAnswers", "Warmer", "Watch",
    "Windows",
}  # fmt: skip
BANNED_FUNCTIONS = {
    "alone", "as_they_come", "aside", "beat", "calm_collector", "descend", "give_back", "goes_on", "hear",
    "hears", "held_back", "islands", "kept", "many", "obey", "oddness", "off", "permitted", "piled",
    "plainly", "pointed_at", "put_aside", "put_together", "say_death", "shape_of", "standing_in",
    "standing_of", "surely_known", "surely_unknown", "talk", "walked", "why_not", "word",
}  # fmt: skip
BANNED_MODULES = {
    "alone", "asking", "callers", "climb", "edges", "fellows", "front", "gate", "guardian",
    "keeper", "leased", "mangle", "memory", "observe", "patience", "purse", "quarantine", "refuse",
    "redis_gate", "seam", "shadows", "sides", "standby", "standing", "together", "turns", "voice",
    "warm", "wiring",
}  # fmt: skip
# Parts of a snake_case name, wherever it stands: a variable, an attribute, a parameter, a function.
BANNED_PARTS = {
    "anew", "asked", "believed", "doubted", "doubtful", "heard", "nobody", "purse", "seam", "spoiled", "told",
    "untold", "whoever",
}  # fmt: skip
# Words of prose: they hide who does what.
BANNED_PROSE = re.compile(
    r"\b(anew|whoever|nobody|somebody|at hand|unawares|fellows|put aside|set aside|asked for|told|what came"
    r"|this very|to be had)\b",
    re.IGNORECASE,
)


def names(source: str) -> Iterator[tuple[int, str]]:
    """Yield each name that a module defines or uses, with its line."""
    for node in module_nodes(source):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.Name(id=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Attribute(attr=name):
                yield node.lineno, name


@cache
def has_banned_part(name: str) -> bool:
    """Return whether a part of a name is banned."""
    return not BANNED_PARTS.isdisjoint(name.lower().split("_"))


def banned_names(source: str) -> list[str]:
    """Return the banned names of a module, each with its line."""
    found = []
    for node in module_nodes(source):
        if isinstance(node, ast.ClassDef) and node.name.lstrip("_") in BANNED_CLASSES:
            found.append(f"{node.lineno} class {node.name}")
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.lstrip("_") in BANNED_FUNCTIONS
        ):
            found.append(f"{node.lineno} def {node.name}")
    found += [f"{line} {name}" for line, name in names(source) if has_banned_part(name)]
    return sorted(set(found))


def banned_prose(source: str) -> list[str]:
    """Return the banned words of a module's text, each with its line."""
    return [
        f"{number} '{match.group()}'"
        for number, line in enumerate(source.splitlines(), 1)
        for match in BANNED_PROSE.finditer(line)
    ]


def positional_calls(source: str) -> list[str]:
    """Return the calls with more positional arguments than a reader can match to their parameters."""
    return [
        f"{node.lineno} {ast.unparse(node.func)}({len(node.args)})"
        for node in module_nodes(source)
        if isinstance(node, ast.Call)
        and len([argument for argument in node.args if not isinstance(argument, ast.Starred)])
        > POSITIONAL_ARGUMENTS
        and ast.unparse(node.func).rsplit(".", 1)[-1] not in VARIADIC
    ]


def report(package: str, check: Callable[[str], list[str]]) -> list[str]:
    """Return what a check finds in a package, with the file of each finding."""
    return [
        f"{path.relative_to(REPOSITORY)}:{finding}"
        for path in package_sources(package)
        for finding in check(path.read_text())
    ]


def held(pending: set[str]) -> list[str]:
    """Return the packages that are held to a rule."""
    return sorted(set(PACKAGES) - pending)


@pytest.mark.parametrize("package", held(PENDING_NAMES))
def test_names_are_words_of_the_field(package: str) -> None:
    modules = [
        str(path.relative_to(REPOSITORY))
        for path in package_sources(package)
        if path.stem in BANNED_MODULES or path.parent.name in BANNED_MODULES
    ]
    assert modules + report(package, banned_names) + report(package, banned_prose) == []


@pytest.mark.parametrize("package", held(PENDING_CALLS))
def test_calls_name_their_arguments(package: str) -> None:
    assert report(package, positional_calls) == []


@pytest.mark.parametrize("package", held(PENDING_LAYOUT))
def test_a_package_fits_on_a_screen(package: str) -> None:
    root = package_root(package)
    modules = [path.stem for path in root.glob("*.py") if path.stem not in ("__init__", "__main__")]
    deep = [
        str(path.relative_to(root)) for path in root.rglob("*.py") if len(path.relative_to(root).parts) > 3
    ]
    assert len(modules) <= MODULES_AT_TOP_LEVEL, sorted(modules)
    assert deep == []


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("class Voice: ...", "1 class Voice"),
        ("class _Gate: ...", "1 class _Gate"),
        ("def descend(): ...", "1 def descend"),
        ("def _walked(): ...", "1 def _walked"),
        ("x = 1\ntold = 2", "2 told"),
        ("a.was_asked", "1 was_asked"),
        ("def f(nobody): ...", "1 nobody"),
    ],
)
def test_a_banned_name_is_found(source: str, finding: str) -> None:
    assert banned_names(source) == [finding]


def test_calls_and_prose_are_found() -> None:
    assert positional_calls("f(1, 2, 3, 4, 5)\nf(1, 2, 3, 4, 5, 6)\nf(*a, 1, b=2)") == ["2 f(6)"]
    assert banned_prose("# as usual\n# made Anew at hand") == ["2 'Anew'", "2 'at hand'"]


def test_standard_names_pass() -> None:
    source = "class Gateway:\n    def fetch_history(self, verdicts): return self.asking\n"
    assert banned_names(source) == []
