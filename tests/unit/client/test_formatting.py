"""Numbers for people: the terminal's formatter and the page's follow one table of cases."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from coincast_client import formatting

HERE = Path(__file__).parent
# By the name of the function in the page; one with several arguments has a list of them.
CASES: dict[str, list[tuple[Any, str]]] = json.loads((HERE / "formatting_cases.json").read_text())
FLAT = [(name, value, expected) for name, cases in CASES.items() for value, expected in cases]
SCRIPT = HERE.parents[2] / "gateway/src/coincast_gateway/web/static/format.js"
PROGRAM = """
globalThis.window = globalThis;
require(process.argv[1]);
const cases = JSON.parse(require("fs").readFileSync(process.argv[2]));
const found = {};
for (const [name, rows] of Object.entries(cases)) {
  found[name] = rows.map(([value]) => window.Coincast.format[name](...[value].flat()));
}
console.log(JSON.stringify(found));
"""


@pytest.mark.parametrize(("name", "value", "expected"), FLAT)
def test_terminal_formats_each_case(name: str, value: Any, expected: str) -> None:
    arguments = value if isinstance(value, list) else [value]
    function = re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)
    assert getattr(formatting, function)(*arguments) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_shown_as_missing(value: float) -> None:
    for name in ("price", "compact", "money", "compact_money", "percent", "share", "age"):
        assert getattr(formatting, name)(value) == formatting.MISSING


@pytest.mark.skipif(shutil.which("node") is None, reason="no node: apt-get install nodejs")
def test_page_formats_the_same_cases_alike() -> None:
    run = subprocess.run(
        ["node", "-e", PROGRAM, str(SCRIPT), str(HERE / "formatting_cases.json")],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    assert found == {name: [expected for _, expected in cases] for name, cases in CASES.items()}


@pytest.mark.skipif(shutil.which("node") is None, reason="no node: apt-get install nodejs")
@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([-500, 0, 500, 1000], ["−500", "0", "500", "1,000"]),
        ([100_000, 110_000], ["100,000", "110,000"]),
        ([200, 202.5], ["200.00", "202.50"]),
        ([-0.5, -0.0, 0.5], ["−0.5", "0", "0.5"]),
        ([0.00001, 0.000015], ["0.00001", "0.000015"]),
        ([2e-8, 4e-8], ["2e-8", "4e-8"]),
    ],
)
def test_axes_are_labelled_alike_and_without_needless_decimals(values: list[float], texts: list[str]) -> None:
    program = """
    globalThis.window = {};
    require(process.argv[1]);
    process.stdout.write(JSON.stringify(window.Coincast.format.axis(JSON.parse(process.argv[2]))));
    """
    done = subprocess.run(
        ["node", "-e", program, str(SCRIPT), json.dumps(values)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == texts
