"""Forecasts of past days: nothing that became known later changes them."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from coincast_chassis.errors import CoincastError, InvalidInput, NotFound
from coincast_forecast.domain import LIGHTGBM, TECHNICAL, ForecastQuery, History, Provenance, Source, close_of
from coincast_forecast.hourly.past import SourceClock
from coincast_forecast.point_in_time import SERVED_FOR, SETTLED_AFTER, PastDependencies, PointInTimeService
from coincast_forecast.registry.deployment import Deployment, LiveVersion
from coincast_forecast.registry.historical import HistoricalVersions
from coincast_forecast.registry.probe_client import RefusalCause, VersionRefused
from coincast_forecast.rendering.service import ForecastRenderer
from coincast_forecast.service import ForecastResponse
from coincast_modelkit.artifact import DataWindow
from coincast_modelkit.candles import FIELDS, Candles
from coincast_modelkit.models import TechnicalModel
from tests.unit.forecast.forecast_artifacts import tiny_lightgbm, write_version
from tests.unit.forecast.forecast_fakes import COINS, LAST_DAY, walk
from tests.unit.forecast.forecast_kit import live

MONTH = [LAST_DAY - dt.timedelta(days=n) for n in range(30)]


def cut(candles: Candles, last: dt.date) -> Candles:
    """Return the candles up to a day."""
    keep = candles.dates <= np.datetime64(last, "D")
    figures = {name: getattr(candles, name)[keep] for name in FIELDS}
    return Candles.of(candles.coin_id, candles.dates[keep], **figures)


class PastSource:
    """Histories of a moment, as market-data gives them: cut at its last closed day."""

    def __init__(self, coins: Mapping[str, Candles]) -> None:
        self.coins = coins
        self.moments: list[dt.datetime | None] = []

    async def fetch(
        self, ids: Sequence[str], vs_currency: str, days: int, known_at: dt.datetime | None
    ) -> dict[str, History | CoincastError]:
        self.moments.append(known_at)
        assert known_at is not None
        last = (known_at - SETTLED_AFTER).date() - dt.timedelta(days=1)
        if last > LAST_DAY:
            return {coin: InvalidInput("must not lie in the future", field="known_at") for coin in ids}
        provenance = Provenance(Source.ARCHIVE, clock_offset_seconds=0.0)
        return {
            coin: History(cut(self.coins[coin], last), provenance)
            if coin in self.coins
            else NotFound(f"there is no coin {coin}", field="id")
            for coin in ids
        }


@dataclass
class Rig:
    root: Path
    source: PastSource
    snapshot: dict[str, Deployment]
    refused: set[str] = field(default_factory=set)
    loads: list[str] = field(default_factory=list)
    # The source's UNIX time; None while it is not known.
    now: float | None = 1e10

    def service(self) -> PointInTimeService:
        async def load(model: str, version: str) -> LiveVersion:
            self.loads.append(version)
            if version in self.refused:
                raise VersionRefused(RefusalCause.CORRUPT, "a file is broken")
            return replace(live(tiny_lightgbm()), version=version)

        versions = HistoricalVersions(self.root, deployments=self, load=load, wait_seconds=20.0)
        return PointInTimeService(
            PastDependencies(
                source=self.source,
                versions=versions,
                renderer=ForecastRenderer(0),
                clock=SourceClock(lambda: self.now, lambda: 0.0),
                remaining_seconds=lambda: None,
                history_days=800,
                step_timeout_seconds=20.0,
            )
        )

    def write(self, learnt_until: dt.date) -> str:
        model = tiny_lightgbm()
        window = DataWindow("2023-01-01", learnt_until.isoformat(), "0" * 64, {"bitcoin": 400})
        return write_version(self.root, model, data=window)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    technical = live(TechnicalModel())
    serving = replace(live(tiny_lightgbm()), version="serving", learnt_until=LAST_DAY)
    yield Rig(
        tmp_path,
        PastSource({coin: walk(coin) for coin in COINS}),
        {TECHNICAL: Deployment(production=technical), LIGHTGBM: Deployment(production=serving)},
    )
    technical.predictor.stop()
    serving.predictor.stop()


async def ask(rig: Rig, day: dt.date, *ids: str, model: str = "auto") -> ForecastResponse:
    service = rig.service()
    try:
        return await service.forecast(ForecastQuery(ids=ids or ("bitcoin",), model=model), close_of(day))
    finally:
        service.stop()


def blanked(candles: Candles, last: dt.date) -> Candles:
    """Return the candles with every price after a day made absurd."""
    later = candles.dates > np.datetime64(last, "D")
    figures = {name: np.where(later, 7.0, getattr(candles, name)) for name in FIELDS}
    return Candles.of(candles.coin_id, candles.dates, **figures)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["technical", "lightgbm", "auto"])
async def test_month_replayed_day_by_day_is_the_same_whatever_came_later(rig: Rig, model: str) -> None:
    rig.write(MONTH[-1] - dt.timedelta(days=5))
    whole = rig.source.coins
    for day in MONTH:
        rig.source.coins = whole
        as_it_went = (await ask(rig, day, "bitcoin", "dogecoin", model=model)).forecasts
        rig.source.coins = {coin: blanked(candles, day) for coin, candles in whole.items()}
        with_other_days = (await ask(rig, day, "bitcoin", "dogecoin", model=model)).forecasts
        assert [s.forecast.day for s in as_it_went] == [day, day]
        for one, other in zip(as_it_went, with_other_days, strict=True):
            assert one.forecast.curve == other.forecast.curve
            assert one.forecast.version == other.forecast.version
            assert one.forecast.reconstructed
            assert one.forecast.forecast_id == ""
    assert set(rig.source.moments) == {
        dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), dt.UTC) + SETTLED_AFTER + SERVED_FOR
        for day in MONTH
    }


@pytest.mark.parametrize(
    ("now", "moment"),
    [
        (None, "2025-08-16T00:35:00"),
        ("2025-08-16T00:35:00", "2025-08-16T00:35:00"),
        # Ten seconds are left for the error of what is known of market-data's clock.
        ("2025-08-16T14:00:00", "2025-08-16T13:59:50"),
        ("2025-08-17T00:35:00", "2025-08-17T00:34:50"),
        ("2025-08-17T00:35:09", "2025-08-17T00:34:59"),
        ("2025-09-01T00:00:00", "2025-08-17T00:34:59"),
    ],
)
async def test_what_came_before_the_next_day_closed_was_known(rig: Rig, now: str | None, moment: str) -> None:
    rig.now = None if now is None else dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC).timestamp()
    await ask(rig, dt.date(2025, 8, 15))
    assert rig.source.moments == [dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)]


@pytest.mark.parametrize(
    ("learnt", "day", "version"),
    [
        (["2025-06-30", "2025-07-31"], "2025-08-15", "v000002"),
        (["2025-06-30", "2025-07-31"], "2025-07-31", "v000002"),
        (["2025-06-30", "2025-07-31"], "2025-07-30", "v000001"),
        (["2025-06-30", "2025-07-31"], "2025-06-29", ""),
        ([], "2025-08-15", ""),
        ([], "2025-08-31", "serving"),
    ],
    ids=["newest", "same day", "older", "none by then", "only the serving one", "the serving one"],
)
async def test_version_learnt_from_no_later_day(rig: Rig, learnt: list[str], day: str, version: str) -> None:
    for until in learnt:
        rig.write(dt.date.fromisoformat(until))
    (served,) = (await ask(rig, dt.date.fromisoformat(day), model="lightgbm")).forecasts
    assert served.forecast.version == version
    assert served.forecast.degraded == (version == "")
    if not version:
        assert served.forecast.served_by == TECHNICAL
        assert f"trained only on days up to {day}" in served.forecast.reason


async def test_version_that_is_refused_gives_way_to_an_older_one(rig: Rig) -> None:
    rig.write(dt.date(2025, 6, 30))
    rig.refused = {rig.write(dt.date(2025, 7, 31))}
    (served,) = (await ask(rig, dt.date(2025, 8, 15), model="lightgbm")).forecasts
    assert (served.forecast.version, served.forecast.degraded) == ("v000001", False)


def missing_coin(rig: Rig) -> tuple[dt.date, str]:
    return MONTH[3], "nocoin"


def day_to_come(rig: Rig) -> tuple[dt.date, str]:
    return LAST_DAY + dt.timedelta(days=1), "bitcoin"


@pytest.mark.parametrize(("case", "field"), [(missing_coin, "id"), (day_to_come, "as_of")])
async def test_error_names_the_field(
    rig: Rig, case: Callable[[Rig], tuple[dt.date, str]], field: str
) -> None:
    day, coin = case(rig)
    response = await ask(rig, day, coin)
    assert response.forecasts == ()
    ((name, error),) = response.errors
    assert (name, error.field) == (coin, field)


async def test_coin_whose_last_candle_is_older_says_so(rig: Rig) -> None:
    ended = MONTH[10]
    rig.source.coins = {**rig.source.coins, "dogecoin": cut(rig.source.coins["dogecoin"], ended)}
    (served,) = (await ask(rig, MONTH[5], "dogecoin", model="technical")).forecasts
    assert served.forecast.day == ended
    assert f"no candle of dogecoin after {ended}" in served.forecast.reason
