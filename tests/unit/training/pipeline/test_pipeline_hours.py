"""A training of the ensemble with hours: fetched as of the last close, written, and repeated bit for bit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coincast_chassis.errors import NotReady, Unavailable
from coincast_modelkit.artifact import read_artifact
from coincast_modelkit.artifact.golden import check_golden, golden_inputs
from coincast_modelkit.hourly.candles import HourlyCandles
from coincast_modelkit.models import EnsembleModel
from coincast_training.domain import TrainingSpec
from coincast_training.ports import HourlyHistory
from coincast_training.trainers.registry import find_fit
from tests.unit.modelkit.hourly.hourly_market import invented
from tests.unit.training.evaluation_candles import SMALL_TREES
from tests.unit.training.training_fakes import FakeHistory, pipeline_in

HOURS = {"bitcoin": invented("bitcoin", 400, seed=1), "ethereum": invented("ethereum", 400, seed=2)}
DAILY = {coin: hours.daily() for coin, hours in HOURS.items()}
RECIPE: dict[str, Any] = {
    "anchors": [1, 30],
    "trees": SMALL_TREES,
    "fold_days": 60,
    "lstm": "off",
    "hours": {"min_days": 90, "rounds": 5},
}
SPEC = TrainingSpec(model="ml_ensemble", ids=("bitcoin", "ethereum"), days=0)


@pytest.fixture(autouse=True)
def without_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the library of scenarios, whose record takes most of the time of a small training."""
    monkeypatch.setattr("coincast_training.pipeline.artifact.scenario_library", lambda *_: None)


class HourSource(FakeHistory):
    """Serves daily candles and the hours up to a close."""

    def __init__(self, hours: dict[str, HourlyCandles]) -> None:
        super().__init__(DAILY)
        self.hours, self.until, self.down = hours, [dt.date.min], False

    async def fetch_hours_until(self, ids: Sequence[str], days: int, day: dt.date) -> HourlyHistory:
        self.until.append(day)
        if self.down:
            raise Unavailable("The market-data service is away.")
        return HourlyHistory({c: self.hours[c] for c in ids if c in self.hours}, "archive")


def pipeline(folder: Path, source: FakeHistory, **recipe: Any) -> Any:
    made = pipeline_in(folder, source)
    return replace(made, find_fit=find_fit, parameters=lambda _model: {**RECIPE, **recipe})


async def run(made: Any, spec: TrainingSpec = SPEC) -> str:
    outcome = await made.run(spec, requested_by="test", run_id="r1", progress=lambda _fraction, _stage: None)
    return str(outcome.version)


@pytest.mark.slow
async def test_a_version_with_hours_is_written_read_and_repeated(tmp_path: Path) -> None:
    source = HourSource(HOURS)
    made = pipeline(tmp_path, source)
    version = await run(made)
    assert source.until[-1] == DAILY["bitcoin"].as_of
    read = read_artifact(made.registry.root, "ml_ensemble", version)
    assert isinstance(read.model, EnsembleModel) and read.model.reads_hours
    assert set(read.manifest.metrics["hours_data"]["spans"]) == {"bitcoin", "ethereum"}
    coins, _ = golden_inputs(read.golden)
    assert all(coin.hours is not None for coin in coins)
    assert check_golden(read.model, read.golden) < 1e-9
    again = await run(made, TrainingSpec(model="ml_ensemble", ids=(), from_version=version))
    files, repeated = (made.registry.versions.manifest("ml_ensemble", v)[0].files for v in (version, again))
    assert {n: d for n, d in files.items() if n.endswith((".json", ".txt"))} == {
        n: d for n, d in repeated.items() if n.endswith((".json", ".txt"))
    }
    changed = HOURS["bitcoin"].close.copy()
    changed[1000] *= 1.01
    source.hours = HOURS | {"bitcoin": replace(HOURS["bitcoin"], close=changed)}
    with pytest.raises(NotReady, match="hourly history differs"):
        await run(made, TrainingSpec(model="ml_ensemble", ids=(), from_version=version))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["no hours", "off", "market-data is away"])
async def test_without_hours_the_ensemble_is_what_it_was(tmp_path: Path, case: str) -> None:
    source = HourSource({} if case == "no hours" else HOURS)
    source.down = case == "market-data is away"
    made = pipeline(tmp_path, source, anchors=[1], **({"hours": "off"} if case == "off" else {}))
    version = await run(made)
    manifest = made.registry.versions.manifest("ml_ensemble", version)[0]
    assert "hours_data" not in manifest.metrics and "hours" not in manifest.metrics
    assert len(source.until) == (1 if case == "off" else 2)
