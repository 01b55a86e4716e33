"""What the hourly model gives is checked: no fault of it is served, and none costs a reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coincast_forecast.hourly.versions import HourlyVersions
from coincast_modelkit.artifact.hourly import LoadedHourlyArtifact
from tests.unit.forecast.hourly.test_service import QUERY, Given, publish, served
from tests.unit.forecast.hourly.test_within_day import forecast_of, kit_at, spread

Spoil = Callable[[Any], Any]


def quantiles(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    """Return what replaces the quantiles of a model's forecasts."""
    return lambda made: replace(made, log_return_quantiles=change(made.log_return_quantiles.copy()))


def with_nan(found: np.ndarray) -> np.ndarray:
    found[..., 3] = np.nan
    return found


def raising(_: Any) -> Any:
    raise FloatingPointError("a library failed")


FAULTS: dict[str, Spoil] = {
    "raises": raising,
    "infinite": quantiles(lambda found: found * np.inf),
    "not a number": quantiles(with_nan),
    "out of order": quantiles(lambda found: found[..., ::-1]),
    "ten thousandfold": quantiles(lambda found: found + 9.3),
    "far too wide": quantiles(lambda found: found * 500),
    "without width": quantiles(lambda found: found * 0),
    "another price": lambda made: replace(made, last_price=made.last_price * 3),
    "negative price": lambda made: replace(made, last_price=-made.last_price),
    "no volatility": lambda made: replace(made, volatility=made.volatility * np.nan),
    "negative volatility": lambda made: replace(made, volatility=-made.volatility),
    "a coin less": lambda made: made.coins([]),
}


class Spoilt:
    """A model whose forecasts come out wrong."""

    def __init__(self, model: Any, spoil: Spoil) -> None:
        self._model, self._spoil = model, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, *inputs: Any, **options: Any) -> Any:
        """Return the spoilt forecasts."""
        return self._spoil(self._model.predict(*inputs, **options))


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Spoil the hourly model after it was loaded and verified."""
    refresh = HourlyVersions.refresh

    async def refreshed(versions: HourlyVersions) -> None:
        await refresh(versions)
        good = versions.current
        assert isinstance(good, LoadedHourlyArtifact)
        model: Any = Spoilt(good.model, FAULTS[fault])
        versions.current = replace(good, model=model)

    monkeypatch.setattr(HourlyVersions, "refresh", refreshed)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("spoil")
async def test_a_false_forecast_by_the_hour_is_replaced_by_the_daily_one(tmp_path: Path) -> None:
    publish(tmp_path)
    reply = await served(tmp_path, Given())
    (forecast,) = reply.forecasts
    assert forecast.degraded
    assert forecast.served_by != "intraday"
    assert "scaled to hours" in forecast.reason
    prices = [point.price for point in forecast.points]
    assert len(prices) == QUERY.hours
    assert max(prices) < 2 * forecast.last_price


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("spoil")
async def test_a_false_forecast_by_the_hour_moves_no_forecast_of_days(tmp_path: Path, fault: str) -> None:
    kit, _, _ = await kit_at(tmp_path, 13)
    forecast = await forecast_of(kit)
    assert forecast.start.hours == 0
    assert forecast.start.reason, fault
    assert np.isfinite(spread(forecast)).all()
    assert (np.diff(spread(forecast)) > 0).all()
