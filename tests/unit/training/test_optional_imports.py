"""Packages that a library imports merely because they are installed stay out until something uses them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from coincast_training.optional_imports import hidden

CODE = """
import sys
from coincast_training.optional_imports import import_lightgbm_alone, import_scoringrules
import_lightgbm_alone()
scoringrules = import_scoringrules()
import lightgbm, numpy
heavy = {"pandas", "sklearn", "dask", "distributed", "matplotlib", "numba", "pyarrow"} & set(sys.modules)
import pandas
table = numpy.arange(40.0).reshape(20, 2)
trained = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(table, label=table[:, 0]), num_boost_round=1)
print(sorted(heavy), pandas.__name__, len(trained.predict(table)), callable(scoringrules.crps_quantile))
"""


@pytest.mark.slow
def test_what_is_hidden_is_not_imported_and_is_there_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] pandas 20 True"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an installed package that is not imported yet."""
    name = f"optional_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "part.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_it_is_hidden_in_the_block_alone(package: str) -> None:
    with hidden([package]):
        for name in (package, f"{package}.part"):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
        assert find_spec(package) is None
    assert importlib.import_module(f"{package}.part")


def test_what_is_imported_already_stays_visible(package: str) -> None:
    imported = importlib.import_module(package)
    with hidden([package]):
        assert importlib.import_module(package) is imported
    assert importlib.import_module(package) is imported


def test_it_is_visible_again_after_an_import_that_failed(package: str) -> None:
    with pytest.raises(ModuleNotFoundError), hidden([package]):
        importlib.import_module(package)
    assert importlib.import_module(package)
