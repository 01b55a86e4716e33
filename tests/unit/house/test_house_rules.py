"""The house keeps its own rules: small rooms, no pickles, locks without addresses."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git tracks under the patterns, generated stubs left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [
        REPOSITORY / name for name in listed if name and "/gen/" not in name and (REPOSITORY / name).exists()
    ]


def sources() -> list[Path]:
    """Return the product's own Python files."""
    return [path for path in tracked("*.py") if "src" in path.parts]


def functions(path: Path) -> list[tuple[str, int]]:
    """Return each function of a file as its name and its length; a table that is returned is data."""
    return [
        (
            f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}",
            (node.end_lineno or node.lineno) - node.lineno + 1,
        )
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not returns_a_table(node)
    ]


def returns_a_table(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether the function is a docstring and one returned list: a declaration, however long."""
    return (
        len(node.body) == 2
        and isinstance(node.body[1], ast.Return)
        and isinstance(node.body[1].value, ast.List)
    )


def test_files_are_small_rooms() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    assert statistics.median(lengths.values()) < 100
    assert [str(path) for path, length in lengths.items() if length > 400] == []


def test_functions_are_short() -> None:
    lengths = [row for path in sources() for row in functions(path)]
    assert statistics.median(length for _, length in lengths) <= 10
    assert [name for name, length in lengths if length > 50] == []


def test_every_module_says_its_job() -> None:
    assert [str(p) for p in sources() if ast.get_docstring(ast.parse(p.read_text())) is None] == []


@pytest.mark.parametrize("lock", sorted(p.name for p in tracked("requirements/*.txt")))
def test_locks_hold_hashes_and_no_address(lock: str) -> None:
    text = (REPOSITORY / "requirements" / lock).read_text()
    assert not re.search(r"(https?|file)://", text)
    pinned = re.findall(r"^[A-Za-z0-9][^\s=]*==\S+", text, flags=re.MULTILINE)
    assert pinned
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pinned)


def test_nothing_is_pickled() -> None:
    found = [
        str(path.relative_to(REPOSITORY))
        for path in sources()
        if re.search(
            r"^\s*(import|from) (pickle|joblib\.dump|cloudpickle|dill)\b",
            path.read_text(),
            flags=re.MULTILINE,
        )
    ]
    assert found == []


def test_no_path_of_a_machine_is_committed() -> None:
    pattern = re.compile(r"(?<![\w.])/(root|home|Users)/[a-z]")
    texts = tracked("*.py", "*.md", "*.toml", "*.yml", "*.yaml", "*.txt", "*.sh", "Makefile")
    assert [str(p) for p in texts if pattern.search(p.read_text()) and p.name != Path(__file__).name] == []
