"""intraday: the distribution of the price 1 to 48 hours after the newest closed hour.

A ridge regression forecasts deseasonalised log volatility at six anchor horizons; the profile of the coming
hours scales it, and symmetric residual sizes by volatility regime give the quantiles. The point forecast is
the last price: the direction of the next hours is close to a coin toss, and the small predictable part does
not survive trading costs.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from coincast_modelkit.candles import Floats
from coincast_modelkit.forecasts import PROBABILITIES, Forecasts
from coincast_modelkit.hourly.candles import (
    CLOSES,
    EPOCH,
    HOURS_A_DAY,
    RANGES,
    HourlyCandles,
    HourlyPanel,
    source_of,
)
from coincast_modelkit.hourly.features import (
    MEMORY_HOURS,
    REFERENCE_SPANS,
    TERMS,
    CoinTerms,
    design,
    reference_spans,
    volatility_spans,
)
from coincast_modelkit.hourly.line import HourlyLine
from coincast_modelkit.hourly.profile import WeekProfile
from coincast_modelkit.hourly.regimes import RANK_MEMORY_HOURS, newest_regime
from coincast_modelkit.hourly.volatility import CAP_HOURS, TrailingMeans, hourly_variance, trailing_mean
from coincast_modelkit.intervals import symmetric_quantiles
from coincast_modelkit.models.distributions import across_horizons, agreeing_volatility, normal_cdf

MODEL = "intraday"
MAX_HORIZON_HOURS = 48
ANCHORS = (1, 3, 6, 12, 24, 48)
LEVELS = 2.0 * PROBABILITIES[len(PROBABILITIES) // 2 :] - 1.0
# The longest history, in hours, that any part of the model uses.
TAIL_HOURS = max(MEMORY_HOURS, RANK_MEMORY_HOURS + HOURS_A_DAY) + CAP_HOURS
# A reference coin whose newest hour is older than this is left out of the current market.
REFERENCE_AGE_HOURS = 3


class HourlyForecasts(Forecasts):
    """Forecasts with horizons in hours; as_of is the time at which the newest hour closed (UTC).

    volatility and trailing_volatility are still those of a daily log return, so that they can be compared
    with the daily models; multiply them by the square root of 365 to annualise them.
    """


@dataclass(frozen=True, slots=True, eq=False)
class HourlyCalibration:
    """A regression line and the distribution of its residuals.

    hour_widths (A, 24) are factors of the scale by the UTC hour at which a forecast is made: the profile is
    estimated from log variance, and hours with scheduled news have fatter tails than it implies. sizes
    (A, R, L) are quantiles of |return| in units of the scale, at LEVELS, in each regime. spread (A,) is the
    root mean square of |return| in the same units; it converts the scale to a standard deviation.
    """

    line: HourlyLine
    sizes: Floats
    spread: Floats
    hour_widths: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MarketSpans:
    """Log volatility of the leader and the market over REFERENCE_SPANS, (4,) each, at the close of one hour.

    source is RANGES or CLOSES: the source of the hourly variances.
    """

    closes_at: np.datetime64
    source: str
    leader: Floats
    market: Floats


class IntradayModel:
    """The hourly model. Horizons between the anchors are interpolated in the log of the horizon."""

    name = MODEL
    # One day; a coin with fewer hours gets a NaN row.
    min_history_hours = HOURS_A_DAY

    def __init__(
        self,
        calibrations: Mapping[str, HourlyCalibration],
        *,
        panel_profile: WeekProfile,
        profiles: Mapping[str, WeekProfile],
        version: str = "",
        agreeing: bool = True,
    ) -> None:
        """Store the fitted parts.

        Args:
            calibrations: By source: RANGES for hours with high and low, CLOSES for hours with closes only.
            panel_profile: Profile for coins that were not in the training data.
            profiles: Profiles of the coins that were.
            version: Version of the artifact.
            agreeing: Whether the quoted volatility is limited to a range around that of the quantiles;
                False for artifacts from before this rule.

        Raises:
            ValueError: The calibration of a source is missing.
        """
        if missing := {RANGES, CLOSES} - set(calibrations):
            raise ValueError(f"intraday needs a calibration for {', '.join(sorted(missing))}")
        self.calibrations = dict(calibrations)
        self.panel_profile = panel_profile
        self.profiles = dict(profiles)
        self.version = version
        self.agreeing = agreeing

    def profile_of(self, coin_id: str) -> WeekProfile:
        """Return the coin's own profile, or the panel's for a coin that was not in the training data."""
        return self.profiles.get(coin_id, self.panel_profile)

    def market(
        self, reference: HourlyPanel, closes_at: np.datetime64, *, source: str = RANGES
    ) -> MarketSpans:
        """Compute the market's log volatility at the close of an hour; NaN if no reference coin is current.

        Args:
            reference: Hours of the reference coins.
            closes_at: The close of the hour.
            source: RANGES or CLOSES.
        """
        spans = {}
        for coin_id, candles in reference.items():
            known = candles.until(closes_at)
            if len(known) and closes_at - known.closes_at <= np.timedelta64(REFERENCE_AGE_HOURS, "h"):
                tail = known.tail(_SPANS_TAIL)
                spans[coin_id] = volatility_spans(self._deseasonalised(tail, source), last=1)
        if not spans:
            none = np.full(len(REFERENCE_SPANS), np.nan)
            return MarketSpans(closes_at, source, none, none)
        leader, market = reference_spans(spans)
        return MarketSpans(closes_at, source, leader[0], market[0])

    def predict(
        self,
        coins: Sequence[HourlyCandles],
        hours: Sequence[int],
        *,
        reference: HourlyPanel | MarketSpans | None = None,
    ) -> HourlyForecasts:
        """Forecast every coin at every horizon from its newest closed hour.

        Args:
            coins: Hourly histories; only the last TAIL_HOURS are used.
            hours: Horizons, 1 to MAX_HORIZON_HOURS.
            reference: Hours of the reference coins, or the result of `market` for one hour and source. Coins
                whose newest hour or source differs from it are then forecast without a market.

        Returns:
            One row per coin; NaN where too many hours of a coin's last day are missing.

        Raises:
            ValueError: A horizon is out of range.
        """
        wanted = checked_hours(hours)
        shape = (len(coins), len(wanted))
        quantiles = np.full((*shape, len(PROBABILITIES)), np.nan)
        volatility, trailing, rise = (np.full(shape, np.nan) for _ in range(3))
        markets: dict[tuple[np.datetime64, str], MarketSpans] = {}
        for i, coin in enumerate(coins):
            if len(coin) < self.min_history_hours:
                continue
            source = source_of(coin)
            key = coin.closes_at, source
            if isinstance(reference, MarketSpans):
                fits = (reference.closes_at, reference.source) == key
                markets[key] = reference if fits else self.market({}, coin.closes_at, source=source)
            elif key not in markets:
                markets[key] = self.market(reference or {}, coin.closes_at, source=source)
            market = markets[key]
            quantiles[i], volatility[i], trailing[i], rise[i] = self._forecast(coin, market, wanted)
        return HourlyForecasts(
            coin_ids=tuple(c.coin_id for c in coins),
            as_of=tuple(_moment(c) for c in coins),
            last_price=np.array([c.last_price if len(c) else np.nan for c in coins], dtype=np.float64),
            horizons=wanted,
            probabilities=PROBABILITIES,
            log_return_quantiles=quantiles,
            volatility=volatility,
            trailing_volatility=trailing,
            rise_of_volatility=rise,
        )

    def row(self, coin: HourlyCandles, market: MarketSpans) -> tuple[Floats, int]:
        """Return the newest design row (T,) of a coin, and its volatility regime."""
        tail = coin.tail(TAIL_HOURS)
        level = self._deseasonalised(tail, market.source)
        last = slice(-_SPANS_TAIL, None)
        own = CoinTerms.of(level[last], tail.log_close[last], last=1)
        row = design(own, market.leader[None], market.market[None])[0]
        day = 0.5 * np.log(trailing_mean(level, HOURS_A_DAY))
        return row, newest_regime(day)

    def _forecast(
        self, coin: HourlyCandles, market: MarketSpans, hours: tuple[int, ...]
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return quantiles (H, Q), volatility, trailing volatility and probability of its rise, (H,) each."""
        row, regime = self.row(coin, market)
        fitted = self.calibrations[market.source]
        profile = self.profile_of(coin.coin_id)
        coming = profile.at(coin.closes_at + np.arange(max(hours)).astype("timedelta64[h]"))
        ahead = (np.cumsum(coming) / np.arange(1, max(hours) + 1))[np.array(hours) - 1]
        line = across_horizons(ANCHORS, fitted.line.predict(row[None])[0], hours) + 0.5 * np.log(ahead)
        sizes = across_horizons(ANCHORS, fitted.sizes[:, regime], hours)
        spread = across_horizons(ANCHORS, fitted.spread, hours)
        errors = across_horizons(ANCHORS, fitted.line.errors, hours)
        origin_hour = int(coin.closes_at.astype(np.int64)) % HOURS_A_DAY
        widths = across_horizons(ANCHORS, fitted.hour_widths[:, origin_hour], hours)
        scale = np.exp(line) * np.sqrt(hours) * widths
        daily = np.sqrt(HOURS_A_DAY)
        variance = hourly_variance(coin.tail(MAX_HORIZON_HOURS + 1), ranges=market.source == RANGES)
        means = TrailingMeans(variance)
        spans = {max(HOURS_A_DAY, h) for h in hours}
        realised = {span: means.over(span, last=1)[0] for span in spans}
        trailing = np.array([realised[max(HOURS_A_DAY, h)] for h in hours])
        rise = normal_cdf((line - 0.5 * np.log(trailing)) / errors)
        quantiles = symmetric_quantiles(scale[:, None] * sizes)
        volatility = np.exp(line) * widths * spread
        if self.agreeing:
            volatility = agreeing_volatility(volatility, quantiles, hours)
        return (
            quantiles,
            volatility * daily,
            np.sqrt(trailing) * daily,
            rise,
        )

    def _deseasonalised(self, candles: HourlyCandles, source: str) -> Floats:
        variance = hourly_variance(candles, ranges=source == RANGES)
        return np.asarray(variance / self.profile_of(candles.coin_id).at(candles.starts))

    def save(self, folder: Path) -> None:
        """Write the model to a folder as one JSON file."""
        plain: dict[str, Any] = {
            "anchors_hours": list(ANCHORS),
            "terms": list(TERMS),
            "levels": LEVELS.tolist(),
            "agreeing": self.agreeing,
            "panel_profile": self.panel_profile.factors.tolist(),
            "profiles": {coin: p.factors.tolist() for coin, p in sorted(self.profiles.items())},
            "calibrations": {
                source: {
                    "line": c.line.to_dict(),
                    "sizes": c.sizes.tolist(),
                    "spread": c.spread.tolist(),
                    "hour_widths": c.hour_widths.tolist(),
                }
                for source, c in sorted(self.calibrations.items())
            },
        }
        (folder / FILE).write_text(json.dumps(plain, allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, version: str = "") -> Self:
        """Read the file of `save`.

        Raises ValueError if it has other terms, anchors or levels than this build.
        """
        plain = json.loads((folder / FILE).read_text(encoding="utf-8"))
        same = (
            tuple(plain["terms"]) == TERMS
            and tuple(plain["anchors_hours"]) == ANCHORS
            and plain["levels"] == LEVELS.tolist()
        )
        if not same:
            raise ValueError(
                "this intraday model has other terms, anchors or levels than this build; train again"
            )
        return cls(
            {
                source: HourlyCalibration(
                    HourlyLine.from_dict(part["line"]),
                    *(np.array(part[name]) for name in ("sizes", "spread", "hour_widths")),
                )
                for source, part in plain["calibrations"].items()
            },
            panel_profile=WeekProfile(np.array(plain["panel_profile"])),
            profiles={coin: WeekProfile(np.array(f)) for coin, f in plain["profiles"].items()},
            version=version,
            agreeing=bool(plain.get("agreeing", False)),
        )


FILE = "intraday.json"
_SPANS_TAIL = MEMORY_HOURS + CAP_HOURS


def checked_hours(hours: Sequence[int]) -> tuple[int, ...]:
    """Return the horizons as a tuple. Raises ValueError if one is out of range."""
    wanted = tuple(int(h) for h in hours)
    if not wanted or min(wanted) < 1 or max(wanted) > MAX_HORIZON_HOURS:
        raise ValueError(f"hours must be 1 to {MAX_HORIZON_HOURS}, got {list(wanted)}")
    return wanted


def _moment(candles: HourlyCandles) -> dt.datetime:
    """Return when the newest hour closed; the epoch for a coin without hours, whose row is NaN."""
    closes = candles.closes_at if len(candles) else EPOCH
    moment: dt.datetime = closes.astype("datetime64[s]").astype(dt.datetime)
    return moment.replace(tzinfo=dt.UTC)
