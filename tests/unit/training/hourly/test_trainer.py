"""Training the hourly model: one run gives a version that is promoted, read back whole and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from coincast_chassis.clock import ManualClock
from coincast_chassis.errors import InvalidInput, NotReady
from coincast_modelkit.artifact import ArtifactCorrupt, ArtifactError, ArtifactRefused
from coincast_modelkit.artifact.hourly import check_hourly_golden, hourly_data_window, read_hourly_artifact
from coincast_modelkit.hourly import IntradayModel
from coincast_modelkit.hourly.candles import HourlyPanel
from coincast_training.domain import TrainingSpec
from coincast_training.hourly.trainer import IntradayPipeline
from coincast_training.ports import HourlyHistory
from coincast_training.registry.registry import Registry
from tests.unit.modelkit.hourly.hourly_market import invented

PANEL = {"bitcoin": invented("bitcoin", 300, seed=1), "ethereum": invented("ethereum", 300, seed=2)}
SPEC = TrainingSpec(model="intraday", ids=("bitcoin", "ethereum"), promote_if_better=True)


class Given:
    """An hourly history that is given."""

    def __init__(self, panel: HourlyPanel) -> None:
        self._panel = panel

    async def fetch_hourly(self, ids: Sequence[str], days: int) -> HourlyHistory:
        """Return the coins that are there."""
        found = {c: self._panel[c] for c in ids if c in self._panel}
        return HourlyHistory(found, "sandbox", {c: "unknown coin" for c in ids if c not in self._panel})


def pipeline(root: Path, panel: HourlyPanel = PANEL) -> IntradayPipeline:
    """Return a pipeline over a registry in a folder."""
    clock = ManualClock(1_700_000_000.0)
    return IntradayPipeline(Given(panel), Registry(root, clock=clock), clock)


async def run(line: IntradayPipeline, spec: TrainingSpec = SPEC) -> tuple[str, bool]:
    """Run a training; its version and whether it was promoted."""
    outcome = await line.run(spec, requested_by="test", run_id="r", progress=lambda _f, _s: None)
    return outcome.version, outcome.promoted


async def test_one_run_gives_a_promoted_version_that_reads_back(tmp_path: Path) -> None:
    line = pipeline(tmp_path)
    version, promoted = await run(line)
    assert (version, promoted) == ("v000001", True)
    loaded = read_hourly_artifact(tmp_path, version)
    assert loaded.manifest.model == "intraday"
    assert loaded.model.version == version
    assert [h.horizon_hours for h in loaded.manifest.record.horizons] == [1, 3, 6, 12, 24, 48]
    coverage = [h.coverage_80_percent for h in loaded.manifest.record.horizons]
    assert all(c is not None and 60 < c < 95 for c in coverage)
    found = loaded.model.predict(list(PANEL.values()), [1, 7, 48], reference=PANEL)
    assert found.usable().all()


async def test_second_run_on_the_same_hours_is_not_better(tmp_path: Path) -> None:
    line = pipeline(tmp_path)
    await run(line)
    second = await line.run(SPEC, requested_by="test", run_id="r", progress=lambda _f, _s: None)
    assert not second.promoted
    assert "not better" in second.promotion
    files = [(tmp_path / "intraday" / v / "intraday.json").read_bytes() for v in ("v000001", "v000002")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("spec", "error", "named"),
    [
        (TrainingSpec("intraday", ("nocoin",)), NotReady, "nocoin: unknown coin"),
        (TrainingSpec("intraday", ("bitcoin",), tune_trials=3), InvalidInput, "tune_trials"),
        (TrainingSpec("intraday", (), from_version="v000001"), InvalidInput, "from_version"),
    ],
)
async def test_run_that_cannot_be_done_says_why(
    tmp_path: Path, spec: TrainingSpec, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        await run(pipeline(tmp_path), spec)
    assert not Registry(tmp_path, clock=ManualClock()).versions.names("intraday")


async def test_short_history_is_refused(tmp_path: Path) -> None:
    young = {"bitcoin": invented("bitcoin", 100)}
    with pytest.raises(NotReady, match="days of hourly candles"):
        await run(pipeline(tmp_path, young))


async def test_changed_file_is_not_loaded(tmp_path: Path) -> None:
    version, _ = await run(pipeline(tmp_path))
    file = tmp_path / "intraday" / version / "intraday.json"
    file.write_text(file.read_text().replace("0.", "0.1", 1))
    with pytest.raises(ArtifactError):
        read_hourly_artifact(tmp_path, version)


async def test_golden_forecasts_refuse_another_model(tmp_path: Path) -> None:
    version, _ = await run(pipeline(tmp_path))
    loaded = read_hourly_artifact(tmp_path, version)
    assert check_hourly_golden(loaded.model, loaded.golden) < 1e-9
    wide = {
        name: type(c)(c.line, c.sizes * 1.01, c.spread, c.hour_widths)
        for name, c in loaded.model.calibrations.items()
    }
    other = IntradayModel(wide, panel_profile=loaded.model.panel_profile, profiles=loaded.model.profiles)
    with pytest.raises(ArtifactRefused, match="differ"):
        check_hourly_golden(other, loaded.golden)
    with pytest.raises(ArtifactCorrupt, match="golden"):
        check_hourly_golden(loaded.model, b"no golden file")


def test_data_window_depends_on_every_hour_and_not_on_the_order() -> None:
    window = hourly_data_window(PANEL)
    assert hourly_data_window(dict(reversed(PANEL.items()))) == window
    assert window.rows == {"bitcoin": 7200, "ethereum": 7200}
    changed = {**PANEL, "bitcoin": invented("bitcoin", 300, seed=9)}
    assert hourly_data_window(changed).sha256 != window.sha256
    assert np.datetime64(window.to_date) == PANEL["bitcoin"].starts[-1].astype("datetime64[D]")
