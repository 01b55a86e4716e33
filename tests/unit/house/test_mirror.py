"""Given a module, its test is found by its path, or by the table of `mirror_table.py`.

The test of `edge/cors.py` is `edge/test_cors.py` below `tests/unit/gateway`; that of a whole package is
`test_<package>.py` beside the package. What can only be seen from outside is tested through a running server,
as the table says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.house.mirror_table import ELSEWHERE
from tests.unit.house.sources import REPOSITORY

SOURCES = {
    "gateway": REPOSITORY / "gateway/src/coincast_gateway",
    "chassis": REPOSITORY / "libs/chassis/src/coincast_chassis",
    "market": REPOSITORY / "market-data-svc/src/coincast_market_data",
    "forecast": REPOSITORY / "forecast-svc/src/coincast_forecast",
    "training": REPOSITORY / "training-svc/src/coincast_training",
    "modelkit": REPOSITORY / "libs/modelkit/src/coincast_modelkit",
    "sandbox": REPOSITORY / "libs/sandbox/src/coincast_sandbox",
    "stack": REPOSITORY / "libs/stack/src/coincast_stack",
    "client": REPOSITORY / "libs/client/src/coincast_client",
}
# Tests of what several modules do together.
ACROSS = {
    "gateway": {"test_clock_jumps.py", "routers/test_new_endpoint.py"},
    "market": {"test_priorities.py", "archive/test_strays.py"},
    "forecast": {
        "history/test_partial_history.py",
        "prediction_log/test_spool_strays.py",
        "scenarios/test_past.py",
        "scenarios/test_within_day.py",
    },
    "training": {
        "pipeline/test_odd_coin_influence.py",
        "pipeline/test_pipeline_hours.py",
        "scoring/test_hourly_scoring.py",
        "scoring/test_store_strays.py",
        "test_volatility_agreement.py",
    },
}


def modules(name: str) -> list[Path]:
    """Return the modules of a package, relative to it."""
    found = sorted(SOURCES[name].rglob("*.py"))
    return [each.relative_to(SOURCES[name]) for each in found if each.name != "__init__.py"]


def by_path(module: Path) -> list[Path]:
    """Return where the unit test of a module may be: beside its name, or beside that of its package."""
    candidates = [module.parent / f"test_{module.name}"]
    if module.parent.name:
        candidates.append(module.parent.parent / f"test_{module.parent.name}.py")
    return candidates


@pytest.mark.parametrize(
    ("name", "module"), [(name, module) for name in SOURCES for module in modules(name)], ids=str
)
def test_a_module_has_a_test_by_its_path_or_in_the_table(name: str, module: Path) -> None:
    tests = REPOSITORY / "tests/unit" / name
    own = any((tests / each).exists() for each in by_path(module))
    listed = {str(module), str(module.parent)} & ELSEWHERE[name].keys()
    assert own or listed, f"write tests/unit/{name}/{by_path(module)[0]}"
    assert not (own and str(module) in listed), f"{module} has a test by its path: remove it from the table"


@pytest.mark.parametrize("name", SOURCES)
def test_every_unit_test_is_where_its_module_is(name: str) -> None:
    tests = REPOSITORY / "tests/unit" / name
    homes = {each for module in modules(name) for each in by_path(module)}
    found = {each.relative_to(tests) for each in tests.rglob("test_*.py")}
    assert {str(each) for each in found - homes} == ACROSS.get(name, set())


@pytest.mark.parametrize(
    ("name", "module", "test"),
    [(name, module, test) for name, rows in ELSEWHERE.items() for module, test in rows.items()],
    ids=str,
)
def test_the_table_names_modules_and_tests_that_exist(name: str, module: str, test: str) -> None:
    assert (SOURCES[name] / module).exists(), f"there is no {module} any more: remove it from the table"
    assert (REPOSITORY / test).exists(), f"there is no {test}"
