"""Walk the hours member of the ensemble forward: a regression and trees on hourly features, and their weight.

The daily members are fitted on their whole history. The hours member is only fitted on days with known hours.
Its target is the volatility from the hours of the next days, which is less noisy than that of daily ranges.
Its weight against the daily pool is fitted on out-of-sample forecasts of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS
from coincast_modelkit.hourly.candles import (
    CLOSES,
    HOURS_A_DAY,
    RANGES,
    HourlyCandles,
    HourlyPanel,
    source_of,
)
from coincast_modelkit.hourly.day_measures import (
    TERMS,
    day_measures,
    day_rows,
    day_variance,
    market_measures,
)
from coincast_modelkit.hourly.volatility import hourly_returns
from coincast_modelkit.intervals import cautious_factors, symmetric_quantiles
from coincast_modelkit.models.ensemble.horizon_pool import Pool
from coincast_modelkit.models.ensemble.hours_member import (
    HoursMember,
    HoursScale,
    hours_design,
    hours_features,
    hours_outlook,
)
from coincast_modelkit.models.scales import joined, spans_weekend
from coincast_modelkit.volatility import REGIMES
from coincast_training.optional_imports import OPTIONAL_FOR_LIGHTGBM, hidden
from coincast_training.trainers.ensemble.backtest import AT_80, Walk
from coincast_training.trainers.ensemble.dataset import Block, CoinRows, block_of
from coincast_training.trainers.ensemble.hours_params import HoursParams
from coincast_training.trainers.ensemble.members import ridge
from coincast_training.trainers.ensemble.pooling import PoolHistory, correction, fit_pool

with hidden(OPTIONAL_FOR_LIGHTGBM):
    import lightgbm

Floats = NDArray[np.float64]
# Number of random signs for each hour, on which the weights are fitted, and the first hour (since 1970) that
# has signs.
DRAWS = 8
DRAWS_FROM = 14_600 * HOURS_A_DAY
# An outcome needs the hours of this share of the days of the horizon.
PRESENT_SHARE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class HoursOfCoin:
    """Hourly features and outcomes of one coin on the n days of the walk.

    Attributes:
        rows: Hourly features, (n, 17); NaN without hours.
        variance: Variance from the hours of each day, (n,).
        random_sign_returns: K returns of each day with random signs, (n, K). Each hourly return keeps its
            size and gets a random sign, the same for all coins. They have the same scale as the real returns,
            and estimate it with less noise.
    """

    rows: Floats
    variance: Floats
    random_sign_returns: Floats

    def random_sign_returns_ahead(self, horizon: int) -> Floats:
        """Return the random-sign returns over the next `horizon` days, (n, K); NaN if they have not ended."""
        out = np.full_like(self.random_sign_returns, np.nan)
        if horizon < len(out):
            windows = np.lib.stride_tricks.sliding_window_view(self.random_sign_returns[1:], horizon, axis=0)
            out[:-horizon] = windows.sum(axis=-1)
        return out

    def log_volatility_ahead(self, horizon: int) -> Floats:
        """Return half the log of the total variance of the next `horizon` days, (n,); NaN if unknown."""
        known = np.isfinite(self.variance)
        total = np.concatenate([[0.0], np.cumsum(np.where(known, self.variance, 0.0))])
        count = np.concatenate([[0], np.cumsum(known)])
        out = np.full(len(known), np.nan)
        if horizon < len(known):
            days = count[horizon + 1 :] - count[1:-horizon]
            mean = (total[horizon + 1 :] - total[1:-horizon]) / np.maximum(days, 1)
            enough = (days >= PRESENT_SHARE * horizon) & (mean > 0)
            out[:-horizon] = np.where(enough, 0.5 * np.log(horizon * np.where(enough, mean, 1.0)), np.nan)
        return out


# For each source, the hours of each coin in the order of the coins of the walk.
HoursRows = Mapping[str, tuple[HoursOfCoin, ...]]


def hours_rows(coins: Sequence[CoinRows], hours: HourlyPanel) -> HoursRows:
    """Return the hourly features of all days of each coin by source; a source that no coin has is absent.

    The source RANGES only includes coins whose newest hours have ranges. Other coins would have another
    measure of volatility in some or all rows.
    """
    out: dict[str, tuple[HoursOfCoin, ...]] = {}
    # Outcomes use the best measure of each coin, independent of the source of the features.
    outcomes = {c: day_measures(h, ranges=source_of(h) == RANGES) for c, h in hours.items() if len(h)}
    for source in (RANGES, CLOSES):
        known = {c: h for c, h in hours.items() if len(h) and (source == CLOSES or source_of(h) == RANGES)}
        measures = {c: day_measures(h, ranges=source == RANGES) for c, h in known.items()}
        market = market_measures({c: m for c, m in measures.items() if c in REFERENCE_COINS})
        found = []
        for coin in coins:
            dates, own = coin.days.astype("datetime64[D]"), measures.get(coin.coin_id)
            if own is None:
                nothing = np.full((len(dates), len(TERMS)), np.nan)
                found.append(HoursOfCoin(nothing, nothing[:, 0], nothing[:, :DRAWS]))
            else:
                variance = day_variance(outcomes[coin.coin_id], dates)
                signed = random_sign_returns(hours[coin.coin_id], coin.days)
                found.append(HoursOfCoin(day_rows(own, market, dates), variance, signed))
        if any(np.isfinite(of_coin.rows).all(axis=1).any() for of_coin in found):
            out[source] = tuple(found)
    return out


def random_sign_returns(hours: HourlyCandles, days: NDArray[np.int64]) -> Floats:
    """Return K returns of each day (since 1970) with random signs of its hours, (n, K).

    All coins share the signs of an hour, and the signs of a day do not depend on the length of the history.
    An unknown hour counts as a return of 0. The returns are NaN on days outside the history.
    """
    size = np.abs(np.nan_to_num(hourly_returns(hours)))
    first = int(hours.first.astype(np.int64))
    signed = _signs(first + len(size))[:, first - DRAWS_FROM :] * size
    total = np.concatenate([np.zeros((DRAWS, 1)), np.cumsum(signed, axis=1)], axis=1)
    start = days * HOURS_A_DAY - first
    inside = (start >= 0) & (start + HOURS_A_DAY <= len(size))
    out = np.full((len(days), DRAWS), np.nan)
    out[inside] = (total[:, start[inside] + HOURS_A_DAY] - total[:, start[inside]]).T
    return out


def _signs(until: int) -> NDArray[np.int8]:
    """Return random signs (K, n) of the hours from DRAWS_FROM up to `until` (since 1970), excluded."""
    count = max(0, until - DRAWS_FROM)
    rng = np.random.default_rng(DRAWS_FROM)
    return rng.integers(0, 2, size=(count, DRAWS), dtype=np.int8).T * 2 - 1


def days_with_hours(coins: Sequence[CoinRows], rows: HoursRows) -> int:
    """Return the number of days on which a coin has known hours, of the source with the most such days."""
    days = [
        [c.days[np.isfinite(own.rows).all(axis=1)] for c, own in zip(coins, found, strict=True)]
        for found in rows.values()
    ]
    return max((len(np.unique(np.concatenate(of_source))) for of_source in days), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class HoursFold:
    """The rows of a fold, with the log scales (n, 2) of the daily pool and of the hours member.

    `outlook` (n,) is the mean forecast of the log volatility. Both are NaN without hours.
    """

    day: int
    block: Block
    scales: Floats
    outlook: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The data of the fits of one horizon and source, for all days of all coins."""

    block: Block
    design: Floats
    features: Floats
    target: Floats


@dataclass(frozen=True, slots=True, eq=False)
class HoursWalk:
    """The hours member of a walk; its fits are in the store of the walk, by the last day of their data."""

    daily: Walk
    rows: HoursRows
    params: HoursParams
    tables: dict[tuple[str, int], _Table] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the sources of hours on which a member can be fitted."""
        return tuple(self.rows)

    def members(self, horizon: int, cut: int) -> dict[str, HoursMember]:
        """Return the member of each source by the data up to `cut`; empty with too little data."""
        found = {}
        for source in self.sources:
            scale = self._scale(source, horizon, cut) if self._is_proven(source, horizon, cut) else None
            if scale is not None:
                found[source] = HoursMember(scale, self._pool(source, horizon, cut))
        return found

    def record(self, horizon: int, cut: int) -> list[tuple[Block, int, Floats]]:
        """Return the forecasts of all folds, with hours if known; ranges are preferred to closes."""
        daily = self.daily.record(horizon, cut)
        source = next(iter(self.sources), None)
        if source is None or horizon > self.params.max_horizon:
            return daily
        out = []
        folds = {fold.day: fold for fold in self._folds(source, horizon, cut)}
        for (block, _, quantiles), day in zip(daily, self._days(horizon, cut), strict=True):
            fold = folds.get(day)
            if fold is not None and self._is_proven(source, horizon, day):
                pool = self._pool(source, horizon, day)
                scale = np.exp(pool.log_scale(fold.scales, block.regime))
                own = symmetric_quantiles(scale[:, None] * pool.sizes_of(joined(block.coins)))
                quantiles = np.where(np.isfinite(scale)[:, None], own, quantiles)  # noqa: PLW2901
            out.append((block, horizon, quantiles))
        return out

    def notes(self, horizons: Sequence[int], cut: int) -> dict[str, Any]:
        """Return the weight of the hours member by source, horizon and regime, for the manifest."""
        return {
            source: {
                str(h): [round(float(w), 4) for w in found[source].pool.weights[:, 1]]
                for h in horizons
                if source in (found := self.members(h, cut))
            }
            for source in self.sources
        }

    def _days(self, horizon: int, cut: int) -> list[int]:
        return [day for day, _, _ in self.daily.folds(horizon, cut)]

    def _is_proven(self, source: str, horizon: int, cut: int) -> bool:
        """Return whether the member has `min_days` out-of-sample forecasts with an outcome known by `cut`."""
        if horizon > self.params.max_horizon:
            return False
        days = [
            np.unique(
                fold.block.day[np.isfinite(fold.scales).all(axis=1) & (fold.block.day + horizon <= cut)]
            )
            for fold in self._folds(source, horizon, cut)
        ]
        return sum(map(len, days)) >= self.params.min_days

    def _folds(self, source: str, horizon: int, cut: int) -> list[HoursFold]:
        found = []
        for day, block, members in self.daily.folds(horizon, cut):
            key = ("hours fold", source, horizon, day, self.daily.members)
            if key not in self.daily.store:
                self.daily.store[key] = self._fold(source, horizon, day, block, members)
            scales, outlook = self.daily.store[key]
            if scales is not None:
                found.append(HoursFold(day, block, scales, outlook))
        return found

    def _fold(
        self, source: str, horizon: int, day: int, block: Block, members: Floats
    ) -> tuple[Floats, Floats] | tuple[None, None]:
        scale = self._scale(source, horizon, day)
        if scale is None:
            return None, None
        own = scale.forecast(joined(block.coins), self._rows_of(source, block), DEFAULT_SPEC)
        daily = self.daily.pool(horizon, day).log_scale(members, block.regime)
        return np.column_stack([daily, own]), hours_outlook(members, own)

    def _rows_of(self, source: str, block: Block) -> Floats:
        """Return the hourly features of the rows of a block, (n, 17)."""
        out = np.empty((len(block.day), len(TERMS)))
        for i, (coin, own) in enumerate(zip(self.daily.coins, self.rows[source], strict=True)):
            mine = block.coin == i
            out[mine] = own.rows[block.day[mine] - coin.days[0]]
        return out

    def _random_sign_returns(self, source: str, block: Block, horizon: int) -> Floats:
        """Return the random-sign returns over the horizon of the rows of a block, (n, K)."""
        out = np.empty((len(block.day), DRAWS))
        for i, (coin, own) in enumerate(zip(self.daily.coins, self.rows[source], strict=True)):
            mine = block.coin == i
            out[mine] = own.random_sign_returns_ahead(horizon)[block.day[mine] - coin.days[0]]
        return out

    def _log_volatility(self, source: str, block: Block, horizon: int) -> Floats:
        """Return the log volatility over the horizon, from hours, of the rows of a block, (n,)."""
        out = np.empty(len(block.day))
        for i, (coin, own) in enumerate(zip(self.daily.coins, self.rows[source], strict=True)):
            mine = block.coin == i
            out[mine] = own.log_volatility_ahead(horizon)[block.day[mine] - coin.days[0]]
        return out

    def _scale(self, source: str, horizon: int, cut: int) -> HoursScale | None:
        """Return regression and trees by the data up to `cut`; None with too few days of hours."""
        key = ("hours scale", source, horizon, cut)
        if key not in self.daily.store:
            self.daily.store[key] = self._fit_scale(source, horizon, cut)
        found: HoursScale | None = self.daily.store[key]
        return found

    def _fit_scale(self, source: str, horizon: int, cut: int) -> HoursScale | None:
        table = self._table(source, horizon)
        known = (table.block.day + horizon <= cut) & np.isfinite(table.target)
        known &= np.isfinite(table.design).all(axis=1)
        if len(np.unique(table.block.day[known])) < self.params.min_days:
            return None
        design, target = table.design[known], table.target[known]
        line = ridge(design, target, self.daily.params.ridge)
        trees = self.daily.params.trees
        booster = lightgbm.train(
            params := trees.lightgbm(len(target), self.daily.seed),
            lightgbm.Dataset(table.features[known], target - line.forecast(design), params=params),
            self.params.rounds,
        )
        return HoursScale(horizon, line, booster)

    def _table(self, source: str, horizon: int) -> _Table:
        found = self.tables.get((source, horizon))
        if found is None:
            last = max(int(c.days[-1]) for c in self.daily.coins)
            block = block_of(self.daily.coins, 0, last + 1, horizon)
            inputs, rows = joined(block.coins), self._rows_of(source, block)
            found = _Table(
                block=block,
                design=hours_design(inputs, rows, DEFAULT_SPEC),
                features=hours_features(inputs, rows),
                target=self._log_volatility(source, block, horizon) - inputs.base - 0.5 * np.log(horizon),
            )
            self.tables[source, horizon] = found
        return found

    def _pool(self, source: str, horizon: int, cut: int) -> Pool:
        """Return the pool by the data up to `cut`; its sizes are corrected as those of the daily pool."""
        key = ("corrected hours pool", source, horizon, cut, self.daily.members)
        if key not in self.daily.store:
            raw = self._raw_pool(source, horizon, cut)
            factors = cautious_factors(np.full(REGIMES, self._correction(source, horizon, cut)))
            self.daily.store[key] = replace(raw, sizes=raw.sizes * factors[:, None])
        found: Pool = self.daily.store[key]
        return found

    def _raw_pool(self, source: str, horizon: int, cut: int) -> Pool:
        key = ("hours pool", source, horizon, cut, self.daily.members)
        if key not in self.daily.store:
            folds = [f for f in self._folds(source, horizon, cut) if f.day < cut]
            params = replace(self.daily.params.pool, prior_days=self.params.prior_days)
            prior = np.array([1 - self.params.prior, self.params.prior])
            signed = [self._random_sign_returns(source, fold.block, horizon) for fold in folds]
            self.daily.store[key] = fit_pool(_pool_history(folds, signed), horizon, cut, params, prior)
        found: Pool = self.daily.store[key]
        return found

    def _correction(self, source: str, horizon: int, cut: int) -> float:
        """Return the factor that would have given the sizes of earlier pools the right coverage."""
        shares, days = [np.empty(0)], [np.empty(0, dtype=np.int64)]
        for fold in self._folds(source, horizon, cut):
            pool = self._raw_pool(source, horizon, fold.day)
            size = np.exp(pool.log_scale(fold.scales, fold.block.regime))
            size = size * pool.sizes_of(joined(fold.block.coins))[:, AT_80]
            shares.append(np.abs(fold.block.returns) / np.where(size > 0, size, np.nan))
            days.append(fold.block.day)
        share, day = np.concatenate(shares), np.concatenate(days)
        known = (day + horizon <= cut) & np.isfinite(share)
        return correction(share[known], cut - day[known], horizon, self.daily.params.pool)


def _pool_history(folds: Sequence[HoursFold], signed: Sequence[Floats]) -> PoolHistory:
    none, day = np.empty(0), np.empty(0, dtype=np.int64)
    blocks = [fold.block for fold in folds]
    return PoolHistory(
        members=np.concatenate([np.empty((0, 2)), *(fold.scales for fold in folds)]),
        returns=np.concatenate([none, *(b.returns for b in blocks)]),
        log_volatility=np.concatenate([none, *(b.log_volatility for b in blocks)]),
        regime=np.concatenate([day, *(b.regime for b in blocks)]),
        weekend=spans_weekend(np.concatenate([day, *(joined(b.coins).weekday for b in blocks)])),
        day=np.concatenate([day, *(b.day for b in blocks)]),
        outlook=np.concatenate([none, *(fold.outlook for fold in folds)]),
        random_sign_returns=np.concatenate([np.empty((0, DRAWS)), *signed]),
    )
