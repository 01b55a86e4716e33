"""The modules, files and names of the code that prose mentions exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.unit.house.sources import PACKAGES, REPOSITORY, module_nodes, package_root, tracked

PAGES = [
    path.relative_to(REPOSITORY).as_posix()
    for path in tracked("*.md", "*.toml", "*.yml", "*.yaml", "Makefile", "bench/*.py", "deploy/*.py")
    if path.name != "CHANGELOG.md"
]
DOTTED = re.compile(r"(?<![\w./-])(coincast_[a-z]+(?:\.\w+)+)")
# Files of other programs that a page tells the reader to write.
FOREIGN = {"user_data/sitecustomize.py", "sitecustomize.py"}
FILE = re.compile(r"`([\w./-]*\w\.(?:py|lua|js|proto|yml|yaml|toml|ipynb|sh))(?::[^`]*)?`")


@cache
def files() -> list[str]:
    """Return the paths of all tracked files, each with a slash in front."""
    return ["/" + path.relative_to(REPOSITORY).as_posix() for path in tracked("*")]


@cache
def names_of(module: Path) -> set[str]:
    """Return the names that a module defines or imports at its top level."""
    names: set[str] = set()
    tree = module_nodes(module.read_text())[0]
    assert isinstance(tree, ast.Module)
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name for alias in node.names}
    return names


def is_known(dotted: str) -> bool:
    """Return whether a dotted name leads to a module, or to a name at the top level of one."""
    package, *parts = dotted.split(".")
    if package not in PACKAGES:
        return True
    here = package_root(package)
    for index, part in enumerate(parts):
        if (here / part).is_dir():
            here = here / part
            continue
        module = here / f"{part}.py"
        if module.is_file():
            rest = parts[index + 1 :]
            return not rest or rest[0] in names_of(module)
        return part in names_of(here / "__init__.py") or (here / part).exists()
    return True


def unknown_names(text: str) -> list[str]:
    """Return the dotted names and file names of a text that lead nowhere."""
    dotted = [name for name in DOTTED.findall(text) if not is_known(name)]
    paths = [
        path
        for path in FILE.findall(text)
        if path not in FOREIGN
        and not any(file.endswith("/" + path.removeprefix("./").removeprefix("../")) for file in files())
    ]
    return sorted({*dotted, *paths})


@pytest.mark.parametrize("page", PAGES)
def test_names_in_prose_exist(page: str) -> None:
    assert unknown_names((REPOSITORY / page).read_text()) == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("coincast_training.app.build", []),
        ("python -m coincast_training.evaluation.model_card", []),
        ("from coincast_modelkit.models import base", []),
        ("coincast_forecast.lean_imports", ["coincast_forecast.lean_imports"]),
        ("coincast_training.app.built", ["coincast_training.app.built"]),
        ("`scoring/store.py` and `store.py`", []),
        ("`quota/grant.lua`", ["quota/grant.lua"]),
        ("`test_docs.py::test_links`", []),
    ],
)
def test_an_unknown_name_is_found(text: str, unknown: list[str]) -> None:
    assert unknown_names(text) == unknown
