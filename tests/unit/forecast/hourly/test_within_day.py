"""Daily forecasts during the day: from the newest stored hour, joined to both closes, or from the close."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast_chassis.errors import CoincastError, NotReady
from coincast_forecast.domain import CoinForecast, HourlyHistory, Provenance, Source, Start
from coincast_forecast.grpc.proto_mapping import forecast_message
from coincast_forecast.hourly.versions import HourlyRegistry, HourlyVersions
from coincast_forecast.hourly.within_day import WithinDay
from coincast_modelkit.features import REFERENCE_COINS
from coincast_modelkit.hourly.candles import HourlyCandles
from tests.unit.forecast.forecast_kit import Kit, make_kit
from tests.unit.forecast.hourly.test_service import publish
from tests.unit.modelkit.hourly.hourly_market import invented

LONG = invented("bitcoin", 120, seed=5)
# The hours end at the close of the days, as those of one coin do.
PRICE = float(make_kit().source.coins["bitcoin"].close[-1])


class Hours:
    """Stored hours that a test moves on by the hour; reading them can be held up."""

    def __init__(self, close: dt.date, hours: int | None) -> None:
        self._close = np.datetime64(close, "h") + np.timedelta64(24, "h")
        self._kept: dict[str, HourlyHistory | CoincastError] = {}
        self.readable = asyncio.Event()
        self.readable.set()
        self.hours = hours
        self.reads = 0
        self.stale = False
        self.scale = 1.0
        self.end_scale = 1.0
        self.doubt = ""

    def move_to(self, hours: int | None) -> None:
        """Let the newest hour be so many hours after the close; None stores none."""
        self.hours = hours
        self._kept.clear()

    def peek(self, coin_id: str, vs_currency: str) -> HourlyHistory | CoincastError | None:
        return self._kept.get(coin_id)

    async def get(self, ids: Sequence[str], vs_currency: str) -> Mapping[str, HourlyHistory | CoincastError]:
        self.reads += 1
        await self.readable.wait()
        for coin in ids:
            self._kept[coin] = self._read(coin)
        return {coin: self._kept[coin] for coin in ids}

    def _read(self, coin: str) -> HourlyHistory | CoincastError:
        if coin != "bitcoin" or self.hours is None:
            return NotReady(f"{coin} has no closed hour in usd yet.", field="ids")
        # The same path of prices at every hour: a later hour adds to it.
        shown = LONG.until(LONG.closes_at + np.timedelta64(self.hours - 30, "h"))
        first = self._close + np.timedelta64(self.hours - len(shown), "h")
        scale = self.scale * PRICE / LONG.close[len(LONG) - 31]
        opened, high, low, close = (scale * getattr(shown, name) for name in ("open", "high", "low", "close"))
        for column in (opened, high, low, close):
            column[-1] *= self.end_scale
        candles = HourlyCandles(coin, first, opened, high, low, close, shown.volume)
        return HourlyHistory(candles, Provenance(Source.ARCHIVE, stale=self.stale), self.doubt)


async def kit_at(tmp_path: Path, hours: int | None, **options: Any) -> tuple[Kit, Hours, str]:
    """Return the service with so many hours after the last close, its hours and the hourly version."""
    version = publish(tmp_path)
    versions = HourlyVersions(HourlyRegistry(tmp_path))
    await versions.refresh()
    stored = Hours(make_kit().source.coins["bitcoin"].as_of, hours)
    return make_kit(within_day=WithinDay(stored, versions, **options)), stored, version


def spread(forecast: CoinForecast) -> np.ndarray:
    """Return the log width of the 80 % interval on each day."""
    (level,) = (column for column in forecast.curve.intervals if column.level_percent == 80.0)
    return np.log(np.array(level.upper) / np.array(level.lower))


async def forecast_of(kit: Kit, model: str = "ml_ensemble", days: int = 30) -> CoinForecast:
    return (await kit.one(model=model, days=days)).forecast


async def test_a_forecast_of_days_starts_from_the_newest_hour(tmp_path: Path) -> None:
    kit, stored, version = await kit_at(tmp_path, 13)
    close = await forecast_of(make_kit())
    moved = await forecast_of(kit)
    assert moved.as_of == close.as_of + dt.timedelta(hours=13)
    assert (moved.start, moved.degraded) == (Start(13, version), False)
    newest = stored.peek("bitcoin", "usd")
    assert isinstance(newest, HourlyHistory)
    assert moved.last_price == pytest.approx(newest.candles.last_price)
    message = forecast_message(moved)
    assert [p.date for p in message.points] == [p.date for p in forecast_message(close).points]
    assert [p.horizon_days for p in message.points] == list(range(1, 31))
    assert message.as_of.ToDatetime(dt.UTC) == moved.as_of
    assert spread(moved)[0] < 0.9 * spread(close)[0]
    assert np.all(np.diff(spread(moved)) > 0)
    assert moved.served_by == "ml_ensemble"


async def test_hours_in_doubt_move_no_forecast(tmp_path: Path) -> None:
    kit, stored, _ = await kit_at(tmp_path, 13)
    stored.doubt = "the hours are far off the days of the same time"
    found, close = await forecast_of(kit), await forecast_of(make_kit())
    assert (found.last_price, found.start.hours) == (close.last_price, 0)
    assert found.start.reason == f"the hours of bitcoin are not confirmed: {stored.doubt}"


@pytest.mark.parametrize(
    ("scale", "end_scale"),
    [(0.01, 1.0), (100.0, 1.0), (0.5, 1.0), (1.0, 1000.0), (1.0, 0.001)],
    ids=["restated", "restated upwards", "split", "false end", "false end below"],
)
async def test_hours_that_contradict_the_days_move_no_forecast(
    tmp_path: Path, scale: float, end_scale: float
) -> None:
    kit, stored, _ = await kit_at(tmp_path, 13)
    stored.scale, stored.end_scale = scale, end_scale
    found, close = await forecast_of(kit), await forecast_of(make_kit())
    assert (found.last_price, found.start.hours) == (close.last_price, 0)
    assert "differ too much from its last daily close" in found.start.reason


async def test_a_move_within_the_day_is_no_contradiction(tmp_path: Path) -> None:
    kit, stored, version = await kit_at(tmp_path, 13)
    stored.end_scale = 0.4
    assert (await forecast_of(kit)).start == Start(13, version)


async def test_at_the_close_itself_both_are_equal(tmp_path: Path) -> None:
    kit, _, _ = await kit_at(tmp_path, 0)
    found, close = await forecast_of(kit), await forecast_of(make_kit())
    assert found == close or forecast_message(found) == forecast_message(close)
    assert found.as_of == close.as_of
    assert found.start == Start()


async def test_from_close_to_close_the_width_changes_by_the_hour_without_a_jump(tmp_path: Path) -> None:
    """The hours run through a day; at its end the daily model has its next close, as wide as before."""
    kit, stored, _ = await kit_at(tmp_path, 0)
    widths = []
    for hours in range(24):
        stored.move_to(hours)
        moved = await forecast_of(kit)
        assert moved.start.hours == hours
        widths.append(spread(moved))
    kit.source.next_day()
    following = await forecast_of(make_kit(source=kit.source))
    widths.append(np.append(0.0, spread(following)[:-1]))
    beyond = np.log(np.array(widths)[:, 1:])
    steps = np.abs(np.diff(beyond, axis=0))
    assert steps.max() < 0.12
    # The last step, over the close, is no larger than those of the hours before.
    assert np.all(steps[-1] < np.maximum(2 * steps[:-1].max(axis=0), 0.05))
    to_close = np.array(widths)[:-1, 0]
    assert to_close[-1] < 0.35 * to_close[0]


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        (None, "no hourly candles are stored: bitcoin has no closed hour in usd yet"),
        (-2, "the newest stored hour is older than the last daily close"),
        (24, "the newest stored hour is a day newer than the last daily close"),
    ],
)
async def test_without_a_newer_hour_the_forecast_starts_from_the_close_and_says_why(
    tmp_path: Path, hours: int | None, reason: str
) -> None:
    kit, _, _ = await kit_at(tmp_path, hours)
    found, close = await forecast_of(kit), await forecast_of(make_kit())
    assert found.as_of == close.as_of
    assert (found.start, found.degraded) == (Start(reason=reason), False)
    assert found.curve == close.curve
    assert await kit.one(days=30) is await kit.one(days=30)


async def test_hours_that_end_at_the_close_are_a_reason_once_newer_ones_have_closed(tmp_path: Path) -> None:
    kit, stored, _ = await kit_at(tmp_path, 0)
    stored.stale = True
    found = await forecast_of(kit)
    assert found.start == Start(reason="the newest stored hour ends at the last daily close")
    assert found.curve == (await forecast_of(make_kit())).curve


async def test_without_a_version_of_the_hourly_model_the_reply_says_so(tmp_path: Path) -> None:
    versions = HourlyVersions(HourlyRegistry(tmp_path))
    kit = make_kit(within_day=WithinDay(Hours(dt.date(2025, 8, 31), 6), versions))
    found = await forecast_of(kit)
    assert found.start == Start(reason="no version of the hourly model is in production yet")
    assert await kit.one(days=30) is await kit.one(days=30)


async def test_hours_that_are_read_slowly_delay_no_reply(tmp_path: Path) -> None:
    kit, stored, version = await kit_at(tmp_path, 13, wait_seconds=0.01)
    stored.readable.clear()
    found = await forecast_of(kit)
    assert found.start.reason == "the hourly candles are being read"
    assert found.start.hours == 0
    await forecast_of(kit)
    assert stored.reads == 1
    stored.readable.set()
    await asyncio.sleep(0)
    assert (await forecast_of(kit)).start.hourly_version == version


async def test_a_reply_is_cached_until_the_next_hour(tmp_path: Path) -> None:
    kit, stored, _ = await kit_at(tmp_path, 13)
    first = await forecast_of(kit)
    batches = len(kit.models["ml_ensemble"].batches)
    assert await kit.one(days=30) is await kit.one(days=30)
    stored.move_to(14)
    second = await forecast_of(kit)
    assert second.as_of == first.as_of + dt.timedelta(hours=1)
    # The daily model is not run again: its forecast of the close is kept.
    assert len(kit.models["ml_ensemble"].batches) == batches


async def test_the_log_has_the_served_forecast_and_that_of_the_close(tmp_path: Path) -> None:
    kit, stored, _ = await kit_at(tmp_path, 13)
    moved = await forecast_of(kit, days=7)
    await forecast_of(kit, days=7)
    own = [e for e in kit.ledger.entries if e.forecast_id == moved.forecast_id]
    assert [(e.horizon_days, e.horizon_hours, e.as_of_hours) for e in own] == [(1, 0, 13), (7, 0, 13)]
    assert own[0].starts_at == moved.as_of
    assert own[0].last_price == moved.last_price
    close = [e for e in kit.ledger.entries if e.as_of_hours == 0]
    assert [e.horizon_days for e in close] == list(range(1, 8))
    assert {e.forecast_id for e in close} != {moved.forecast_id}
    assert {e.due for e in own} <= {e.due for e in close}
    stored.move_to(14)
    later = await forecast_of(kit, days=7)
    assert later.forecast_id not in ("", moved.forecast_id)
    assert len(kit.ledger.entries) == 7 + 2 + 2


async def test_the_reference_coins_are_read_for_the_market(tmp_path: Path) -> None:
    kit, stored, _ = await kit_at(tmp_path, 13)
    await forecast_of(kit)
    assert all(stored.peek(coin, "usd") is not None for coin in REFERENCE_COINS)
