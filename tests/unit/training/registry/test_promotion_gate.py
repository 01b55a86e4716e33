"""The promotion gate against production: on the forecasts that both made where there are such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from coincast_chassis.errors import NotReady
from coincast_modelkit.artifact import Record
from coincast_training.domain import TrainingSpec
from coincast_training.pipeline.artifact import write_version
from coincast_training.pipeline.dataset import training_data_of
from coincast_training.pipeline.metrics import measure
from coincast_training.ports import History
from coincast_training.registry.registry import AliasChange, Registry
from coincast_training.trainers.base import FittedModel, WalkForward
from tests.unit.training.training_fakes import SpokenModel, panel_of, registry_in, walk_forward_of

MODEL = "lightgbm"
PANEL = panel_of(("bitcoin", "ethereum"), days=500)
BITCOIN, ETHEREUM = ({coin: PANEL[coin]} for coin in PANEL)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_in(tmp_path)


def write(registry: Registry, walk: WalkForward, record: Record) -> str:
    """A version with these forecasts and this record."""
    return write_version(
        registry,
        spec=TrainingSpec(model=MODEL, ids=tuple(PANEL)),
        fitted=FittedModel(model=SpokenModel("words"), walk_forward=walk, parameters={}),
        data=training_data_of(History(panel=PANEL, source="archive"), tuple(PANEL), 90),
        record=record,
        seed=7,
        parent=None,
        created_at=1.0,
    )


def measured(walk: WalkForward, *, easier_by: float = 0.0) -> Record:
    """The record of these forecasts, as it would be on days that flatter by so many points."""
    record = measure(walk, PANEL, measured_at=1.0)
    flattered = [
        replace(h, crps_skill_percent=cast(float, h.crps_skill_percent) + easier_by, skill_percent=easier_by)
        for h in record.horizons
    ]
    return replace(record, horizons=tuple(flattered))


def serving(registry: Registry, walk: WalkForward, **flattered: float) -> None:
    version = write(registry, walk, measured(walk, **flattered))
    registry.promote(MODEL, version, force=True, reason="serves", requested_by="t")


def requested(registry: Registry, walk: WalkForward, record: Record, **options: Any) -> AliasChange:
    return registry.promote(MODEL, write(registry, walk, record), requested_by="t", **options)


def test_days_that_flatter_do_not_hide_that_the_same_forecasts_were_worse(registry: Registry) -> None:
    serving(registry, walk_forward_of(PANEL))
    worse = walk_forward_of(PANEL, width=1.3)
    record = measured(worse, easier_by=20.0)
    with pytest.raises(
        NotReady, match=r"CRPS is .* worse than that of production, .* forecasts that both made"
    ):
        requested(registry, worse, record)
    with pytest.raises(NotReady, match="production is better by CRPS at 1, 7 days"):
        registry.promote_if_better(MODEL, "v000002", requested_by="t")


def test_days_that_were_hard_do_not_refuse_what_is_better_on_the_same_ones(registry: Registry) -> None:
    serving(registry, walk_forward_of(PANEL, width=1.3), easier_by=20.0)
    version = write(registry, good := walk_forward_of(BITCOIN, test_days=120), measured(good))
    moved = registry.promote_if_better(MODEL, version, requested_by="t")
    assert moved.table.production == version
    assert f"on the {len(good)} forecasts that both made" in moved.verdict
    assert "this version is better by CRPS" in moved.verdict
    (last,) = list(registry.audit.entries(MODEL))[1:]
    assert last.reason == moved.verdict


def test_what_is_as_good_may_be_promoted_by_hand_and_not_by_itself(registry: Registry) -> None:
    serving(registry, same := walk_forward_of(PANEL))
    version = write(registry, same, measured(same, easier_by=5.0))
    with pytest.raises(NotReady, match="v000002 is not better than v000001, which is in production"):
        registry.promote_if_better(MODEL, version, requested_by="t")
    assert registry.promote(MODEL, version, requested_by="t").table.production == version


@pytest.mark.parametrize("days", [0, 8], ids=["other coins", "eight days in common"])
def test_without_forecasts_in_common_the_means_decide_and_it_is_said(registry: Registry, days: int) -> None:
    serving(registry, walk_forward_of(BITCOIN, test_days=8 + days), easier_by=60.0)
    walk = walk_forward_of(BITCOIN if days else ETHEREUM, horizons=(1,), test_days=9)
    worse, same = measured(walk, easier_by=40.0), measured(walk, easier_by=80.0)
    with pytest.raises(
        NotReady, match=r"worse than that of production, .* by the mean scores of each record"
    ):
        requested(registry, walk, worse)
    moved = requested(registry, walk, same)
    assert "by the mean scores of each record, since they share too few forecasts" in moved.verdict


def test_no_horizon_in_common_is_refused_unless_forced(registry: Registry) -> None:
    serving(registry, walk_forward_of(PANEL, horizons=(1, 7)))
    walk = walk_forward_of(PANEL, horizons=(3,))
    with pytest.raises(
        NotReady, match=r"share no horizon .its record has 3 days, that of production has 1, 7 days"
    ):
        requested(registry, walk, measured(walk))
    moved = requested(registry, walk, measured(walk), force=True, reason="three days are required now")
    assert moved.table.production == "v000003"
    assert [entry.forced for entry in registry.audit.entries(MODEL)] == [False, True]


def test_an_incomplete_row_is_not_compared(registry: Registry) -> None:
    serving(registry, walk_forward_of(PANEL))
    torn = walk_forward_of(PANEL, width=1.3)
    torn.log_return_quantiles[::7] = float("nan")
    with pytest.raises(NotReady, match="worse than that of production"):
        requested(registry, torn, measured(torn, easier_by=20.0))
