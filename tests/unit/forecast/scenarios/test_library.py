"""The library of a simulation: the version's, another version's with a reason, or one of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from coincast_forecast.registry.deployment import Deployment
from coincast_forecast.scenarios.library import NO_LIBRARY, build_from_histories
from coincast_forecast.scenarios.service import ScenarioService
from coincast_modelkit.artifact import SCENARIOS, ArtifactError, read_artifact
from coincast_modelkit.scenarios import ScenarioLibrary
from tests.unit.forecast.forecast_artifacts import tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import COINS, walk
from tests.unit.forecast.forecast_kit import Kit, NoPast, live, make_kit


def library() -> ScenarioLibrary:
    built = build_from_histories({coin: walk(coin) for coin in COINS})
    assert built is not None
    return built


def with_library(kit: Kit, model: str) -> None:
    version = dataclasses.replace(live(kit.models[model]), scenarios=library())
    kit.lineups[model] = Deployment(production=version)


def service(kit: Kit) -> ScenarioService:
    return ScenarioService(kit.forecasting, NoPast(), cache_bytes=2**26, limit_seconds=60)


@pytest.mark.parametrize(
    ("owner", "requested", "reason"),
    [
        ("lightgbm", "lightgbm", ""),
        ("ml_ensemble", "lightgbm", "the scenarios are those of ml_ensemble v000001"),
        ("", "lightgbm", NO_LIBRARY),
    ],
)
async def test_the_library_of_the_version_or_a_reason(owner: str, requested: str, reason: str) -> None:
    kit = make_kit()
    if owner:
        with_library(kit, owner)
    simulation = await service(kit).simulate(["bitcoin", "dogecoin"], model=requested)
    assert simulation.basis.reason == reason
    assert simulation.basis.borrowed_ids == ()


async def test_a_coin_without_moves_of_its_own_is_marked() -> None:
    kit = make_kit()
    with_library(kit, "lightgbm")
    kit.source.coins["stranger"] = walk("stranger", 200)
    simulation = await service(kit).simulate(["bitcoin", "stranger"], model="lightgbm")
    assert simulation.basis.borrowed_ids == ("stranger",)


async def test_fallbacks_hold_and_say_so() -> None:
    kit = make_kit()
    with_library(kit, "lightgbm")
    kit.models["lightgbm"].raises = RuntimeError("broken")
    simulation = await service(kit).simulate(["bitcoin"], model="lightgbm")
    assert simulation.basis.served_by == "technical"
    assert "lightgbm failed" in simulation.basis.reason


async def test_a_simulation_is_cached_until_a_forecast_changes() -> None:
    kit = make_kit()
    with_library(kit, "lightgbm")
    scenarios = service(kit)
    first = await scenarios.simulate(["bitcoin", "dogecoin"], model="lightgbm")
    again = await scenarios.simulate(["bitcoin", "dogecoin"], model="lightgbm")
    assert again.paths is first.paths
    kit.source.next_day()
    kit.clock.advance(61)
    await kit.histories.check_days()
    later = await scenarios.simulate(["bitcoin", "dogecoin"], model="lightgbm")
    assert later.paths is not first.paths
    assert later.basis.day > first.basis.day


def test_a_library_of_its_own_looks_at_no_later_day() -> None:
    panel = {coin: walk(coin) for coin in COINS}
    cut = {coin: candles.rows(0, len(candles) - 50) for coin, candles in panel.items()}
    whole, early = build_from_histories(panel), build_from_histories(cut)
    assert whole is not None
    assert early is not None
    day = early.last_origin
    assert day is not None
    at = list(early.moves.origins).index(np.datetime64(day))
    same = list(whole.moves.origins).index(np.datetime64(day))
    assert early.moves.closes[at] == pytest.approx(whole.moves.closes[same])


def test_a_library_is_read_with_its_version_and_digest_checked(tmp_path: Path) -> None:
    content = library().to_bytes()

    def add_library(folder: Path) -> None:
        (folder / SCENARIOS).write_bytes(content)

    version = write_version(tmp_path, tiny_lightgbm(), corrupt=add_library)
    artifact = read_artifact(tmp_path, "lightgbm", version)
    assert ScenarioLibrary.from_bytes(artifact.scenarios).digest == library().digest
    file = tmp_path / "lightgbm" / version / SCENARIOS
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    file.write_bytes(bytes(changed))
    with pytest.raises(ArtifactError, match="digest"):
        read_artifact(tmp_path, "lightgbm", version)
