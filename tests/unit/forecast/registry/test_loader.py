"""Versions on the volume: picked up without a restart, refused with a reason, swapped without a trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceStub
from coincast_chassis.grpc.channel import open_channel
from coincast_chassis.run import serve
from coincast_forecast.app import FULL_NAME, build
from coincast_forecast.registry.fallback_versions import list_fallback_versions
from coincast_forecast.settings import Settings
from tests.unit.forecast.forecast_artifacts import move, tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import FakeMarket, market_server

if TYPE_CHECKING:
    from coincast.forecast.v1.forecast_pb2_grpc import ForecastServiceAsyncStub

Start = Callable[..., "AbstractAsyncContextManager[ForecastServiceAsyncStub]"]
ASK = pb.GetForecastsRequest(ids=["bitcoin"], days=7, model="lightgbm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def start(root: Path, tmp_path: Path) -> Start:
    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[ForecastServiceAsyncStub]:
        async with market_server(FakeMarket()) as target:
            settings = Settings(
                port=0,
                metrics_port=0,
                market_target=target,
                artifacts_dir=root,
                spool_dir=tmp_path / "spool",
                redis_url="redis://127.0.0.1:1/0",
                watch_seconds=0.05,
                warm_seconds=20,
                not_serving_seconds=0,
                **changes,
            )
            async with (
                serve("forecast", settings, build) as address,
                open_channel(address, service=FULL_NAME) as channel,
            ):
                yield ForecastServiceStub(channel)

    return start


async def until(check: Callable[[], Any], what: str) -> Any:
    """Wait for a coroutine function to give something true."""
    for _ in range(600):
        if found := await check():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come")


async def refusal(stub: ForecastServiceAsyncStub) -> str:
    """The reason of the first refused version."""

    async def look() -> str:
        status = await stub.GetStatus(pb.GetStatusRequest())
        return status.refused[0].reason if status.refused else ""

    return str(await until(look, "a refusal"))


@pytest.mark.slow
async def test_a_new_version_is_picked_up_and_swapped_in(root: Path, start: Start) -> None:
    async with start() as stub:
        assert (await stub.GetForecasts(ASK)).forecasts[0].served_by == "technical"
        move(root, production=write_version(root, tiny_lightgbm(1)))

        async def served() -> Any:
            [forecast] = (await stub.GetForecasts(ASK)).forecasts
            return forecast if forecast.served_by == "lightgbm" else None

        first = await until(served, "the first version")
        assert (first.version, first.degraded, first.variant) == ("v000001", False, "production")
        assert first.record.test_from_date == "2025-01-01"
        assert first.record.horizons[0].mase == pytest.approx(0.99)
        assert first.record.horizons[0].random_walk_mase == pytest.approx(1.02)

        move(root, production=write_version(root, tiny_lightgbm(2)))

        async def second() -> Any:
            [forecast] = (await stub.GetForecasts(ASK)).forecasts
            return forecast if forecast.version == "v000002" else None

        after = await until(second, "the second version")
        assert after.points[6].intervals[0].upper != first.points[6].intervals[0].upper
        models = {m.name: m for m in (await stub.ListModels(pb.ListModelsRequest())).models}
        assert models["lightgbm"].version == "v000002"
        assert list(models["lightgbm"].trained_coins) == ["bitcoin"]


@pytest.mark.slow
async def test_it_starts_with_its_production_version_loaded(root: Path, start: Start) -> None:
    move(root, production=write_version(root, tiny_lightgbm(1)))
    async with start() as stub:
        [forecast] = (await stub.GetForecasts(ASK)).forecasts
        assert (forecast.served_by, forecast.version) == ("lightgbm", "v000001")
        [auto] = (await stub.GetForecasts(pb.GetForecastsRequest(ids=["ethereum"]))).forecasts
        assert (auto.model, auto.degraded) == ("lightgbm", False)


@pytest.mark.slow
async def test_attribution_names_features(root: Path, start: Start) -> None:
    move(root, production=write_version(root, tiny_lightgbm(1)))
    async with start() as stub:
        ask = pb.GetForecastsRequest(ids=["bitcoin"], days=7, model="lightgbm", attribution_features=5)
        [forecast] = (await stub.GetForecasts(ask)).forecasts
        assert len(forecast.attributions) == 5
        sizes = [abs(a.contribution) for a in forecast.attributions]
        assert sizes == sorted(sizes, reverse=True)
        assert {a.output for a in forecast.attributions} <= {"volatility", "mean"}


def truncate(name: str) -> Callable[[Path], None]:
    """Cut a file in half; as `spoil` this comes before the digests, so only the trial run detects it."""

    def corrupt(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return corrupt


async def good_then(root: Path, bad: Callable[[], str], start: Start, **settings: Any) -> str:
    """A good version serves, a bad one is named: the reason it is refused, the good one going on."""
    key = settings.get("signing_key", "").encode() or None
    move(root, production=write_version(root, tiny_lightgbm(1), key=key))
    async with start(**settings) as stub:
        move(root, production=bad())
        reason = await refusal(stub)
        await says_that_v1_stands_in(stub)
        return reason


async def says_that_v1_stands_in(stub: ForecastServiceAsyncStub) -> None:
    """Version 1 answers for version 2, and everything says so."""

    async def answer() -> Any:
        [forecast] = (await stub.GetForecasts(ASK)).forecasts
        return forecast if forecast.version == "v000001" and forecast.reason else None

    forecast = await until(answer, "an answer of the earlier version")
    assert (forecast.served_by, forecast.degraded) == ("lightgbm", True)
    assert "v000002 was refused" in forecast.reason
    assert "lightgbm v000001 answered instead" in forecast.reason
    models = {m.name: m for m in (await stub.ListModels(pb.ListModelsRequest())).models}
    assert models["lightgbm"].ready
    assert "v000002 was refused" in models["lightgbm"].reason
    assert models["lightgbm"].version == "v000001"


@pytest.mark.slow
async def test_a_flipped_bit_is_refused_by_its_digest(root: Path, start: Start) -> None:
    def bad() -> str:
        version = write_version(root, tiny_lightgbm(2))
        file = root / "lightgbm" / version / "volatility_7.txt"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        return version

    assert "digest" in await good_then(root, bad, start)


@pytest.mark.slow
async def test_a_parse_that_ends_the_process_ends_only_the_child(root: Path, start: Start) -> None:
    def bad() -> str:
        return write_version(root, tiny_lightgbm(2), corrupt=truncate("volatility_7.txt"))

    assert await good_then(root, bad, start)


@pytest.mark.slow
async def test_other_golden_forecasts_are_refused(root: Path, start: Start) -> None:
    def bad() -> str:
        return write_version(root, tiny_lightgbm(2), promises=tiny_lightgbm(3))

    assert "golden" in await good_then(root, bad, start)


@pytest.mark.slow
@pytest.mark.parametrize("golden", ["", "absent.npz", "empty.npz"])
async def test_a_version_without_golden_forecasts_is_refused(root: Path, start: Start, golden: str) -> None:
    def refusals() -> float:
        labels = {"model": "lightgbm", "cause": "refused"}
        return REGISTRY.get_sample_value("coincast_forecast_refused_versions_total", labels) or 0.0

    def bad() -> str:
        def add(folder: Path) -> None:
            (folder / "empty.npz").touch()

        return write_version(root, tiny_lightgbm(2), golden=golden, corrupt=add)

    before = refusals()
    assert "golden file" in await good_then(root, bad, start)
    assert refusals() == before + 1


@pytest.mark.slow
async def test_other_features_are_refused(root: Path, start: Start) -> None:
    def bad() -> str:
        return write_version(root, tiny_lightgbm(2), feature_spec_hash="0" * 64)

    assert "feature" in await good_then(root, bad, start)


@pytest.mark.slow
async def test_a_link_out_of_the_folder_is_refused(root: Path, start: Start, tmp_path: Path) -> None:
    def bad() -> str:
        version = write_version(root, tiny_lightgbm(2))
        file = root / "lightgbm" / version / "volatility_7.txt"
        outside = tmp_path / "outside.txt"
        outside.write_bytes(file.read_bytes())
        file.unlink()
        file.symlink_to(outside)
        return version

    assert "plain file" in await good_then(root, bad, start)


@pytest.mark.slow
async def test_the_wrong_key_is_refused(root: Path, start: Start) -> None:
    def bad() -> str:
        return write_version(root, tiny_lightgbm(2), key=b"another")

    reason = await good_then(root, bad, start, signing_key="right", require_signature=True)
    assert "another key" in reason


@pytest.mark.slow
async def test_an_unsigned_version_is_refused_where_signatures_are_required(root: Path, start: Start) -> None:
    def bad() -> str:
        return write_version(root, tiny_lightgbm(2))

    assert "unsigned" in await good_then(root, bad, start, signing_key="right", require_signature=True)


@pytest.mark.slow
async def test_a_missing_version_is_refused_and_taken_once_it_is_there(root: Path, start: Start) -> None:
    move(root, production="v000001")
    async with start(refused_retry_seconds=0.2) as stub:
        assert "v000001" in await refusal(stub)
        [degraded] = (await stub.GetForecasts(ASK)).forecasts
        assert "v000001" in degraded.reason
        assert write_version(root, tiny_lightgbm(1)) == "v000001"

        async def served() -> bool:
            return (await stub.GetForecasts(ASK)).forecasts[0].version == "v000001"

        await until(served, "the version")
        assert not (await stub.GetStatus(pb.GetStatusRequest())).refused


@pytest.mark.slow
async def test_a_fresh_start_with_a_refused_production_serves_the_one_before(
    root: Path, start: Start
) -> None:
    write_version(root, tiny_lightgbm(1))
    move(root, production=write_version(root, tiny_lightgbm(2), corrupt=truncate("volatility_7.txt")))
    write_version(root, tiny_lightgbm(3))  # later than production: never promoted, so never served
    async with start() as stub:
        await says_that_v1_stands_in(stub)
        move(root, production="v000003")

        async def mended() -> bool:
            [forecast] = (await stub.GetForecasts(ASK)).forecasts
            return bool(forecast.version == "v000003" and not forecast.degraded)

        assert await until(mended, "the mended production")


def test_what_was_production_before_stands_in_first(root: Path) -> None:
    for seed in (1, 2, 3):
        write_version(root, tiny_lightgbm(seed))
    assert list_fallback_versions(root, "lightgbm", "v000003") == ["v000002", "v000001"]
    moves = [
        {"model": "lightgbm", "alias": "production", "to_version": "v000001"},
        {"model": "lightgbm", "alias": "challenger", "to_version": "v000002"},
        {"model": "lstm", "alias": "production", "to_version": "v000002"},
        {"model": "lightgbm", "alias": "production", "to_version": "v000003"},
    ]
    (root / "audit.jsonl").write_text("torn\n" + "".join(json.dumps(m) + "\n" for m in moves))
    assert list_fallback_versions(root, "lightgbm", "v000003") == ["v000001"]
    assert list_fallback_versions(root, "lightgbm", "v000001") == []
