"""Run the ledger of risk answers: store answers every few seconds, score and publish every few minutes."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from redis.asyncio import Redis

from coincast_chassis.clock import Clock
from coincast_modelkit.candles import Candles
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.ledger import RISK_STREAM_KEY, STREAM_FIELD
from coincast_modelkit.scenarios.statements import RiskStatement, coins_of, read_statement
from coincast_training import metrics
from coincast_training.ports import HistorySource
from coincast_training.scoring.consumer import Message, StreamConsumer
from coincast_training.scoring.risk.outcomes import Outcome, last_due, outcomes_of
from coincast_training.scoring.risk.record import live_risk_table
from coincast_training.scoring.risk.store import TALLY_DAYS, OpenStatement, RiskStore, ScoredDays
from coincast_training.scoring.service import fetch_panel, guarded, run_scoring
from coincast_training.scoring.source_calendar import SourceCalendar

log = structlog.get_logger(__name__)
# A day is skipped if its candles are still missing this many days later.
EXPIRE_DAYS = 30


class RiskLedgerService:
    """Store, score and publish risk answers; a failed step is repeated in its next period."""

    def __init__(
        self,
        *,
        redis: Redis,
        consumer: str,
        store: RiskStore,
        calendar: SourceCalendar,
        history_in: Callable[[str], HistorySource],
        record_path: Path,
        clock: Clock,
        poll_seconds: float = 2.0,
        scoring_seconds: float = 600.0,
    ) -> None:
        self.store = store
        # Entries on disk are not needed in the stream, and portfolios should not be stored in two places.
        self.consumer = StreamConsumer(
            redis, RISK_STREAM_KEY, self._write, consumer=consumer, keep_acknowledged=0
        )
        self._calendar, self._history_in, self._clock = calendar, history_in, clock
        self._record_path = record_path
        self._poll_seconds, self._scoring_seconds = poll_seconds, scoring_seconds

    async def run(self) -> None:
        """Run until cancelled."""
        await run_scoring(
            lambda: guarded("risk_ledger_not_read", self.consumer.take),
            self.cycle,
            poll_seconds=self._poll_seconds,
            scoring_seconds=self._scoring_seconds,
        )

    async def cycle(self) -> int:
        """Score the closed days, publish the record, and return the number of scored probabilities."""
        scored = await guarded("risk_ledger_not_scored", self._score) or 0
        await guarded("risk_record_not_published", self._publish)
        await guarded("risk_ledger_not_trimmed", self.consumer.trim)
        return scored

    def _write(self, messages: Sequence[Message]) -> None:
        """Store the statements of some messages; count, log and drop unreadable ones."""
        statements: list[RiskStatement] = []
        for stream_id, fields in messages:
            try:
                statements.append(read_statement(fields[STREAM_FIELD.encode()]))
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                metrics.RISK_DROPPED.labels("unreadable").inc()
                log.warning("risk_statement_refused", stream_id=stream_id, error=str(error))
        added = self.store.add(statements)
        metrics.RISK_STORED.inc(added.stored)
        if added.dropped:
            metrics.RISK_DROPPED.labels("day_full").inc(added.dropped)

    async def _score(self) -> int:
        coins = await asyncio.to_thread(self.store.open_coins)
        newest = await self._calendar.ask(coins) if coins else None
        if newest is None:
            return 0
        by_currency: dict[str, list[OpenStatement]] = defaultdict(list)
        for one in await asyncio.to_thread(self.store.due, newest):
            by_currency[one.statement.vs_currency].append(one)
        scored: list[ScoredDays] = []
        for vs_currency, found in by_currency.items():
            histories = await self._histories(vs_currency, found, newest)
            scored += await asyncio.to_thread(_score_all, found, histories, newest)
        await asyncio.to_thread(self.store.close, scored, newest)
        count = sum(len(one.outcomes) for one in scored)
        metrics.RISK_SCORED.inc(count)
        return count

    async def _histories(
        self, vs_currency: str, found: Sequence[OpenStatement], newest: dt.date
    ) -> dict[str, Candles]:
        """Fetch the candles of all coins of the statements, from the day of the oldest statement on."""
        oldest = min(dt.date.fromisoformat(one.statement.as_of) for one in found)
        days = (max(newest, self._calendar.yesterday()) - oldest).days + 2
        ids = coins_of([one.statement for one in found])
        return await fetch_panel(self._history_in(vs_currency), ids, days)

    async def _publish(self) -> None:
        first = self._calendar.newest() - dt.timedelta(days=TALLY_DAYS)
        tallies = await asyncio.to_thread(self.store.tallies, first)
        if not tallies and not self._record_path.exists():
            return  # no record was published yet, and an empty one has no use
        table = live_risk_table(tallies, measured_at=self._clock.now())
        self._record_path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(replace_file, self._record_path, table.to_json().encode())


def _score_all(
    found: Sequence[OpenStatement], histories: Mapping[str, Candles], newest: dt.date
) -> list[ScoredDays]:
    """Score each statement up to the newest closed day, or to the first day with missing candles."""
    return [one for each in found if (one := _score_days(each, histories, newest)) is not None]


def _score_days(found: OpenStatement, histories: Mapping[str, Candles], newest: dt.date) -> ScoredDays | None:
    outcomes: list[Outcome] = []
    day, last = found.next_due, last_due(found.statement)
    while day <= min(last, newest):
        decided = outcomes_of(found.statement, day, histories)
        if decided is None and (newest - day).days <= EXPIRE_DAYS:
            break
        outcomes += decided or []
        day += dt.timedelta(days=1)
    if day == found.next_due:
        return None
    return ScoredDays(found, tuple(outcomes), day if day <= last else None)
