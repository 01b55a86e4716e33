"""The files of the repository that the house tests read."""

from __future__ import annotations

import ast
import gc
import subprocess
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGES = {
    "coincast_chassis": "libs/chassis",
    "coincast_client": "libs/client",
    "coincast_modelkit": "libs/modelkit",
    "coincast_sandbox": "libs/sandbox",
    "coincast_stack": "libs/stack",
    "coincast_gateway": "gateway",
    "coincast_market_data": "market-data-svc",
    "coincast_forecast": "forecast-svc",
    "coincast_training": "training-svc",
}


@cache
def tracked(*patterns: str) -> tuple[Path, ...]:
    """Return the files that git tracks under the patterns, except generated stubs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return tuple(
        REPOSITORY / name for name in listed if name and "/gen/" not in name and (REPOSITORY / name).exists()
    )


@cache
def module_nodes(source: str) -> tuple[ast.AST, ...]:
    """Return all nodes of a module, the module first; the rules share one parse of each text."""
    # Each new node counts for the collector, which would search the nodes of all earlier modules in vain.
    collects = gc.isenabled()
    gc.disable()
    try:
        return tuple(ast.walk(ast.parse(source)))
    finally:
        if collects:
            gc.enable()


def sources() -> list[Path]:
    """Return the Python files of all packages."""
    return [path for path in tracked("*.py") if "src" in path.parts]


def package_root(package: str) -> Path:
    """Return the folder of a package's modules."""
    return REPOSITORY / PACKAGES[package] / "src" / package


def package_sources(package: str) -> list[Path]:
    """Return the Python files of one package."""
    return [path for path in sources() if package_root(package) in path.parents]
