"""Walk the ensemble's hours member forward: a line that reads hours, and its share beside the daily pool.

The daily members are learnt from their whole history; the line only from days whose hours are known, on the
volatility that the hours of the coming days had, which is less noisy than that of daily ranges. Its share is
learnt from forecasts of both that were made out of sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.features import DEFAULT_SPEC, REFERENCE_COINS
from coincast_modelkit.hourly.candles import CLOSES, RANGES, HourlyPanel, source_of
from coincast_modelkit.hourly.day_measures import (
    TERMS,
    day_measures,
    day_rows,
    day_variance,
    market_measures,
)
from coincast_modelkit.intervals import REGIMES, cautious_factors, symmetric_quantiles
from coincast_modelkit.models.ensemble.horizon_pool import Pool
from coincast_modelkit.models.ensemble.hours_member import HoursMember, hours_design, hours_outlook
from coincast_modelkit.models.scales import LinearScale, joined, spans_weekend
from coincast_training.trainers.ensemble.backtest import AT_80, Walk
from coincast_training.trainers.ensemble.dataset import Block, CoinRows, block_of
from coincast_training.trainers.ensemble.hours_params import HoursParams
from coincast_training.trainers.ensemble.members import ridge
from coincast_training.trainers.ensemble.pooling import PoolHistory, correction, fit_pool

Floats = NDArray[np.float64]
# Share of the days of a horizon whose hours must be known for an outcome.
PRESENT_SHARE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class HoursOfCoin:
    """One coin's rows (n, 17) on the days of the walk, and the variance (n,) of the hours of each."""

    rows: Floats
    variance: Floats

    def log_volatility_ahead(self, horizon: int) -> Floats:
        """Return half the log of the variance summed over the coming days, (n,); NaN where unknown."""
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


# The hours of each coin, in the order of the walk's coins, by source.
HoursRows = Mapping[str, tuple[HoursOfCoin, ...]]


def hours_rows(coins: Sequence[CoinRows], hours: HourlyPanel) -> HoursRows:
    """Return the rows of every coin's days, NaN without hours; a source that no coin has is absent.

    Rows of ranges come from coins whose newest hours have them: coins that never had any, or no longer do,
    would teach the line another measure.
    """
    out: dict[str, tuple[HoursOfCoin, ...]] = {}
    # What came is measured as well as it can be, whatever the line reads.
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
                found.append(HoursOfCoin(nothing, nothing[:, 0]))
            else:
                variance = day_variance(outcomes[coin.coin_id], dates)
                found.append(HoursOfCoin(day_rows(own, market, dates), variance))
        if any(np.isfinite(of_coin.rows).all(axis=1).any() for of_coin in found):
            out[source] = tuple(found)
    return out


def days_with_hours(coins: Sequence[CoinRows], rows: HoursRows) -> int:
    """Return the most days on which any coin's hours are known, over the sources."""
    days = [
        [c.days[np.isfinite(own.rows).all(axis=1)] for c, own in zip(coins, found, strict=True)]
        for found in rows.values()
    ]
    return max((len(np.unique(np.concatenate(of_source))) for of_source in days), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class HoursFold:
    """A fold's rows: scales (n, 2) of the daily pool and of the line, outlook (n,), NaN without hours."""

    day: int
    block: Block
    scales: Floats
    outlook: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Everything that the lines of one horizon and source are fitted on, all days of all coins."""

    block: Block
    design: Floats
    target: Floats


@dataclass(frozen=True, slots=True, eq=False)
class HoursWalk:
    """The hours member of a walk; results are in the walk's store under the day they were learnt by."""

    daily: Walk
    rows: HoursRows
    params: HoursParams
    tables: dict[tuple[str, int], _Table] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the sources that a line can be fitted on."""
        return tuple(self.rows)

    def members(self, horizon: int, cut: int) -> dict[str, HoursMember]:
        """Return the member as known on day `cut` by source; empty where too little is known."""
        found = {}
        for source in self.sources:
            line = self._line(source, horizon, cut)
            if line is not None and self._believed(source, horizon, cut):
                found[source] = HoursMember(horizon, line, self._pool(source, horizon, cut))
        return found

    def record(self, horizon: int, cut: int) -> list[tuple[Block, int, Floats]]:
        """Return the walk's record with the hours of RANGES, else of CLOSES, wherever they were known."""
        daily = self.daily.record(horizon, cut)
        source = next(iter(self.sources), None)
        if source is None or horizon > self.params.max_horizon:
            return daily
        out = []
        folds = {fold.day: fold for fold in self._folds(source, horizon, cut)}
        for (block, _, quantiles), day in zip(daily, self._days(horizon, cut), strict=True):
            fold = folds.get(day)
            if fold is not None and self._believed(source, horizon, day):
                pool = self._pool(source, horizon, day)
                scale = np.exp(pool.log_scale(fold.scales, block.regime))
                own = symmetric_quantiles(scale[:, None] * pool.sizes_of(joined(block.coins)))
                quantiles = np.where(np.isfinite(scale)[:, None], own, quantiles)  # noqa: PLW2901
            out.append((block, horizon, quantiles))
        return out

    def notes(self, horizons: Sequence[int], cut: int) -> dict[str, Any]:
        """Return the line's share by source, horizon and regime, for the manifest."""
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

    def _believed(self, source: str, horizon: int, cut: int) -> bool:
        """Return whether the line has forecast enough days out of sample whose outcome was known by `cut`."""
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
        line = self._line(source, horizon, day)
        if line is None:
            return None, None
        rows, inputs = self._rows_of(source, block), joined(block.coins)
        own = inputs.base + 0.5 * np.log(horizon) + line.forecast(hours_design(inputs, rows, DEFAULT_SPEC))
        daily = self.daily.pool(horizon, day).log_scale(members, block.regime)
        return np.column_stack([daily, own]), hours_outlook(members, own)

    def _rows_of(self, source: str, block: Block) -> Floats:
        """Return the hours of a block's rows, (n, 17)."""
        out = np.empty((len(block.day), len(TERMS)))
        for i, (coin, own) in enumerate(zip(self.daily.coins, self.rows[source], strict=True)):
            mine = block.coin == i
            out[mine] = own.rows[block.day[mine] - coin.days[0]]
        return out

    def _log_volatility(self, source: str, block: Block, horizon: int) -> Floats:
        """Return the log volatility over the horizon of a block's rows from their hours, (n,)."""
        out = np.empty(len(block.day))
        for i, (coin, own) in enumerate(zip(self.daily.coins, self.rows[source], strict=True)):
            mine = block.coin == i
            out[mine] = own.log_volatility_ahead(horizon)[block.day[mine] - coin.days[0]]
        return out

    def _line(self, source: str, horizon: int, cut: int) -> LinearScale | None:
        """Return the line on rows whose hours and outcome were known on day `cut`; None with too few days."""
        key = ("hours line", source, horizon, cut)
        if key not in self.daily.store:
            self.daily.store[key] = self._fit_line(source, horizon, cut)
        found: LinearScale | None = self.daily.store[key]
        return found

    def _fit_line(self, source: str, horizon: int, cut: int) -> LinearScale | None:
        table = self._table(source, horizon)
        known = (table.block.day + horizon <= cut) & np.isfinite(table.target)
        known &= np.isfinite(table.design).all(axis=1)
        if len(np.unique(table.block.day[known])) < self.params.min_days:
            return None
        return ridge(table.design[known], table.target[known], self.daily.params.ridge)

    def _table(self, source: str, horizon: int) -> _Table:
        found = self.tables.get((source, horizon))
        if found is None:
            last = max(int(c.days[-1]) for c in self.daily.coins)
            block = block_of(self.daily.coins, 0, last + 1, horizon)
            inputs, rows = joined(block.coins), self._rows_of(source, block)
            found = _Table(
                block=block,
                design=hours_design(inputs, rows, DEFAULT_SPEC),
                target=self._log_volatility(source, block, horizon) - inputs.base - 0.5 * np.log(horizon),
            )
            self.tables[source, horizon] = found
        return found

    def _pool(self, source: str, horizon: int, cut: int) -> Pool:
        """Return the pool as known on day `cut`, its sizes corrected as those of the daily pool are."""
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
            self.daily.store[key] = fit_pool(_seen(folds), horizon, cut, params, prior)
        found: Pool = self.daily.store[key]
        return found

    def _correction(self, source: str, horizon: int, cut: int) -> float:
        """Return the factor by which earlier pools' sizes would have covered what came after them."""
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


def _seen(folds: Sequence[HoursFold]) -> PoolHistory:
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
    )
