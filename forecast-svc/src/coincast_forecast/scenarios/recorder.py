"""Write every served risk answer to the log once, before it is served.

The log is an extra of a reply: an error or a slow disk costs the answer its entry, never the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.lru import Lru
from coincast_forecast.ports import RiskLog
from coincast_forecast.scenarios.service import CoinSource, LevelAnswer, PortfolioAnswer, TouchAnswer
from coincast_modelkit.scenarios.statements import (
    LossStatement,
    RiskStatement,
    TouchStatement,
    rounded_weights,
    statement_id,
)

log = get_logger("coincast.forecast.risk_recorder")

REMEMBERED_STATEMENTS = 20_000
# Statements that a replica writes about one day's close. More would add little to the record, since the
# statements of a day count as one observation, and callers must not be able to fill Redis.
MAX_STATEMENTS_A_DAY = 10_000
WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Stated:
    """How many days ahead something was stated, and what makes its entry from a first day on."""

    days: int
    make: Callable[[int], RiskStatement]


class RiskRecorder:
    """Appends a statement for each coin and level, and for each portfolio, however often it is served."""

    def __init__(
        self,
        risk_log: RiskLog,
        *,
        max_a_day: int = MAX_STATEMENTS_A_DAY,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._log = risk_log
        self._max_a_day = max_a_day
        self._wait_seconds = wait_seconds
        # Days ahead that the log holds of a statement.
        self._logged: Lru[str, int] = Lru(REMEMBERED_STATEMENTS)
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._day, self._written = date.min, 0

    async def record_touch(self, answer: TouchAnswer, *, vs_currency: str, days: int) -> bool:
        """Log the chances of each coin and level up to `days`; return whether all are in the log.

        A level at the last price is touched already: its chance states nothing and is not logged.
        """

        def statements() -> dict[str, _Stated]:
            found: dict[str, _Stated] = {}
            for coin, (last_price, levels) in answer.coins.items():
                source = answer.simulation.source_of(coin)
                for level in levels:
                    if level.price == last_price:
                        continue
                    key = statement_id(
                        ["touch", coin, vs_currency, source.as_of, source.served_by, last_price, level.price]
                    )
                    make = _touch_maker(
                        key, coin, vs_currency, source=source, last_price=last_price, level=level, days=days
                    )
                    found[key] = _Stated(days, make)
            return found

        return await self._record(statements, answer.simulation.basis.day)

    async def record_losses(self, answer: PortfolioAnswer, *, vs_currency: str) -> bool:
        """Log the levels of value at risk that were stated; return whether they are in the log."""

        def statements() -> dict[str, _Stated]:
            statement = _loss_statement(answer, vs_currency)
            if statement is None:
                return {}
            return {statement.statement_id: _Stated(answer.days, lambda _: statement)}

        return await self._record(statements, answer.simulation.basis.day)

    async def _record(self, statements: Callable[[], dict[str, _Stated]], day: date) -> bool:
        try:
            stated = statements()
        except Exception:
            metrics.RISK_NOT_LOGGED.inc()
            log.exception("risk_answer_not_logged")
            return False
        if not stated:
            return False
        missing = self._missing(stated)
        flights = {self._flights[key] for key in missing if key in self._flights}
        if flights:
            await asyncio.wait(flights, timeout=self._wait_seconds)
            missing = self._missing(stated)
        if missing and self._take_budget(day, len(missing)):
            task = asyncio.create_task(self._append({key: stated[key] for key in missing}))
            for key in missing:
                self._flights[key] = task
            task.add_done_callback(lambda _: self._remove_flights(missing, task))
            await asyncio.wait([task], timeout=self._wait_seconds)
        return not self._missing(stated)

    def _missing(self, stated: dict[str, _Stated]) -> list[str]:
        """Return the statements that the log does not hold up to their last day."""
        return [key for key, one in stated.items() if (self._logged.get(key) or 0) < one.days]

    def _take_budget(self, day: date, count: int) -> bool:
        """Return whether this many more statements about a day may be written, and count them."""
        if day > self._day:
            self._day, self._written = day, 0
        if self._written + count > self._max_a_day:
            metrics.RISK_NOT_LOGGED.inc(count)
            return False
        self._written += count
        return True

    async def _append(self, stated: dict[str, _Stated]) -> None:
        try:
            lines = [one.make((self._logged.get(key) or 0) + 1) for key, one in stated.items()]
            appended = await self._log.append(lines)
        except Exception:
            metrics.RISK_NOT_LOGGED.inc(len(stated))
            log.exception("risk_answer_not_logged", statements=len(stated))
            return
        if appended:
            for key, one in stated.items():
                self._logged.put(key, max(one.days, self._logged.get(key) or 0))

    def _remove_flights(self, keys: Sequence[str], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._flights.get(key) is task:
                del self._flights[key]


def _touch_maker(
    key: str,
    coin: str,
    vs_currency: str,
    *,
    source: CoinSource,
    last_price: float,
    level: LevelAnswer,
    days: int,
) -> Callable[[int], RiskStatement]:
    """Return what makes the statement from a first day on: days that the log holds are left out."""

    def make(first_day: int) -> RiskStatement:
        chosen = slice(first_day - 1, days)
        return TouchStatement(
            statement_id=key,
            coin_id=coin,
            vs_currency=vs_currency,
            as_of=source.as_of.isoformat(),
            served_by=source.served_by,
            last_price=last_price,
            level=level.price,
            first_day=first_day,
            touch=tuple(level.probabilities.touch[chosen].tolist()),
            close_beyond=tuple(level.probabilities.close_beyond[chosen].tolist()),
        )

    return make


def _loss_statement(answer: PortfolioAnswer, vs_currency: str) -> LossStatement | None:
    """Return the statement of a portfolio; None where nothing was stated or it is worth nothing."""
    basis = answer.simulation.basis
    gross = sum(abs(holding.value) for holding in answer.holdings)
    weights = rounded_weights({holding.coin_id: holding.value for holding in answer.holdings})
    levels = tuple(
        (tail.level_percent, tail.value_at_risk / gross, tail.expected_shortfall / gross)
        for tail in answer.risk.levels
        if tail.value_at_risk is not None and tail.expected_shortfall is not None and gross
    )
    if not weights or not levels:
        return None
    prices = {holding.coin_id: holding.price for holding in answer.holdings if holding.coin_id in weights}
    as_of = basis.day.isoformat()
    return LossStatement(
        statement_id=statement_id(
            ["losses", vs_currency, as_of, basis.served_by, answer.days, weights, levels]
        ),
        vs_currency=vs_currency,
        as_of=as_of,
        served_by=basis.served_by,
        days=answer.days,
        weights=weights,
        last_prices=prices,
        levels=levels,
    )
