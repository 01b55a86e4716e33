"""Write every served risk answer to the log once, before it is served.

After an error or with a slow disk, an answer is served although it is not in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeAlias

from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.ports import RiskLog
from coincast_forecast.prediction_log.recorder import WAIT_SECONDS, Appendable, AppendOnce
from coincast_forecast.scenarios.service import CoinSource, LevelAnswer, PortfolioAnswer, TouchAnswer
from coincast_modelkit.scenarios.statements import (
    LossStatement,
    RiskStatement,
    TouchStatement,
    rounded_weights,
    statement_id,
)

log = get_logger("coincast.forecast.risk_recorder")

# Limit of the statements that a replica logs about one day's close. More would add little to the record,
# since the statements of a day count as one observation, and the limit prevents callers from filling Redis.
MAX_STATEMENTS_A_DAY = 10_000


Stated: TypeAlias = Appendable[RiskStatement]


class RiskRecorder:
    """Appends one statement for each coin and level, and for each portfolio, even if served repeatedly."""

    def __init__(
        self,
        risk_log: RiskLog,
        *,
        max_a_day: int = MAX_STATEMENTS_A_DAY,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._max_a_day = max_a_day
        self._log: AppendOnce[RiskStatement] = AppendOnce(
            risk_log, _count_lost, batch=max_a_day, wait_seconds=wait_seconds
        )
        self._day, self._written = date.min, 0

    async def record_touch(self, answer: TouchAnswer, *, vs_currency: str, days: int) -> bool:
        """Log the touch probabilities of each coin and level up to `days`; return whether all were logged.

        If the answer starts within the day, the probabilities from the last close are logged, since days are
        scored by their daily candles. A level equal to the last price is touched already and not logged.
        """
        answer = answer.at_close or answer

        def statements() -> list[Stated]:
            found: dict[str, Stated] = {}
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
                    found[key] = Appendable(key, days, make)
            return list(found.values())

        return await self._record(statements, answer.simulation.basis.day)

    async def record_losses(self, answer: PortfolioAnswer, *, vs_currency: str) -> bool:
        """Log the value at risk at all levels with an estimate; return whether it is in the log.

        If the answer starts within the day, the values from the last close are logged.
        """
        answer = answer.at_close or answer

        def statements() -> list[Stated]:
            statement = _loss_statement(answer, vs_currency)
            if statement is None:
                return []
            return [Appendable(statement.statement_id, answer.days, lambda _: [statement])]

        return await self._record(statements, answer.simulation.basis.day)

    async def _record(self, statements: Callable[[], list[Stated]], day: date) -> bool:
        try:
            stated = statements()
        except Exception:
            metrics.RISK_NOT_LOGGED.inc()
            log.exception("risk_answer_not_logged")
            return False
        if not stated:
            return False
        await self._log.append(stated, admit=lambda count: self._take_budget(day, count))
        return not self._log.missing(stated)

    def _take_budget(self, day: date, count: int) -> bool:
        """Count `count` more statements about a day; return False, uncounted, if they exceed the limit."""
        if day > self._day:
            self._day, self._written = day, 0
        if self._written + count > self._max_a_day:
            metrics.RISK_NOT_LOGGED.inc(count)
            return False
        self._written += count
        return True


def _count_lost(lost: Sequence[Stated]) -> None:
    metrics.RISK_NOT_LOGGED.inc(len(lost))
    log.exception("risk_answer_not_logged", statements=len(lost))


def _touch_maker(
    key: str,
    coin: str,
    vs_currency: str,
    *,
    source: CoinSource,
    last_price: float,
    level: LevelAnswer,
    days: int,
) -> Callable[[int], list[RiskStatement]]:
    """Return a function that makes the statement for the days that the log does not have yet."""

    def make(after: int) -> list[RiskStatement]:
        chosen = slice(after, days)
        return [
            TouchStatement(
                statement_id=key,
                coin_id=coin,
                vs_currency=vs_currency,
                as_of=source.as_of.isoformat(),
                served_by=source.served_by,
                last_price=last_price,
                level=level.price,
                first_day=after + 1,
                touch=tuple(level.probabilities.touch[chosen].tolist()),
                close_beyond=tuple(level.probabilities.close_beyond[chosen].tolist()),
            )
        ]

    return make


def _loss_statement(answer: PortfolioAnswer, vs_currency: str) -> LossStatement | None:
    """Return the statement of a portfolio; None without an estimate or with a gross value of zero."""
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
