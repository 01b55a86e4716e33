"""The shipped version of the hourly model: whole, verified, installed at the first start."""

from __future__ import annotations

from pathlib import Path

import pytest

from coincast_chassis.clock import ManualClock
from coincast_modelkit.artifact import read_aliases, read_manifest
from coincast_modelkit.artifact.hourly import check_hourly_golden, read_hourly_artifact
from coincast_training.domain import HOURLY_MODELS
from coincast_training.registry.registry import Registry
from coincast_training.starter.hourly import simulated_hours
from coincast_training.starter.install import STARTER_DIR, STARTER_VERSION, install_starters


def test_shipped_version_is_whole_and_repeats_its_golden_forecasts() -> None:
    loaded = read_hourly_artifact(STARTER_DIR, STARTER_VERSION)
    assert check_hourly_golden(loaded.model, loaded.golden) < 1e-6
    assert set(loaded.manifest.metrics["starter"]["coins"]) >= {"bitcoin", "ethereum"}
    names = {path.name for path in (STARTER_DIR / "intraday" / STARTER_VERSION).iterdir()}
    assert names == {"intraday.json", "golden.npz", "manifest.json", "manifest.seal"}


def test_record_of_the_shipped_version_is_that_of_hours() -> None:
    manifest, _ = read_manifest(STARTER_DIR, "intraday", STARTER_VERSION)
    found = {h.horizon_hours: h for h in manifest.record.horizons}
    assert list(found) == [1, 3, 6, 12, 24, 48]
    assert all(h.crps_skill_percent is not None and h.crps_skill_percent > 1 for h in found.values())


def test_first_start_puts_it_into_production_and_it_reads_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path, clock=ManualClock(), key=b"k")
    assert install_starters(registry, HOURLY_MODELS) == ["intraday"]
    version = read_aliases(tmp_path, "intraday").production
    assert read_hourly_artifact(tmp_path, version, key=b"k", require_signature=True).signed
    assert install_starters(registry, HOURLY_MODELS) == []


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "closes alone"])
def test_coin_that_was_never_seen_is_forecast(ranges: bool) -> None:
    coin = simulated_hours("a-new-coin", seed=9)
    if not ranges:
        coin = type(coin).of("a-new-coin", coin.starts, coin.close)
    model = read_hourly_artifact(STARTER_DIR, STARTER_VERSION).model
    found = model.predict([coin], [1, 24, 48])
    assert found.usable().all()
    assert (found.volatility > 0.005).all()
    assert (found.volatility < 0.2).all()
