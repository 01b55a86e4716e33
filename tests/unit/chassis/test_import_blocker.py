"""Packages that a service never uses are not imported, even where they are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from coincast_chassis.import_blocker import block_imports
block_imports(["pandas"])
block_imports(["pandas"])
import {app}, pyarrow
print(len(pyarrow.array([1, 2])), len(pyarrow.table({{"a": [1]}})), "pandas" in sys.modules, len(
    [each for each in sys.meta_path if type(each).__module__ == "coincast_chassis.import_blocker"]))
try:
    import pandas
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("app", ["coincast_market_data.app", "coincast_training.app"])
def test_services_that_use_pyarrow_do_without_pandas(app: str) -> None:
    code = CODE.format(app=app)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2 1 False 1", "pandas is blocked in this service"]
