"""Each example notebook runs from its first cell to its last, on any folder of candles."""

from __future__ import annotations

import csv
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.unit.modelkit.modelkit_candles import panel

NOTEBOOK = Path(__file__).resolve().parents[2] / "training-svc" / "notebooks" / "forecast.ipynb"


def folder_of_candles(folder: Path) -> Path:
    for coin, candles in list(panel(330).items())[:3]:
        with (folder / f"{coin}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["date", "open", "high", "low", "close", "volume_usd"])
            writer.writerows(
                zip(
                    candles.dates,
                    candles.open,
                    candles.high,
                    candles.low,
                    candles.close,
                    candles.volume,
                    strict=True,
                )
            )
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # those of the notebook machinery itself
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINCAST_DATA", str(folder_of_candles(tmp_path)))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    figures = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(figures) == 3
    tables = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert any("CRPS skill" in table for table in tables)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # those of the notebook machinery itself
def test_the_risk_notebook_asks_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINCAST_DATA", str(folder_of_candles(tmp_path)))
    path = NOTEBOOK.with_name("risk.ipynb")
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    tables = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    for column in ("change that came", "touched", "paths below it"):
        assert any(column in table for table in tables)
