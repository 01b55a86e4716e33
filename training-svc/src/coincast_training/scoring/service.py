"""Run the ledger: write batches to disk every few seconds, score and publish every few minutes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from coincast_chassis.clock import Clock
from coincast_chassis.errors import CoincastError
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import HorizonRecord
from coincast_modelkit.candles import Candles
from coincast_modelkit.durable_files import replace_file
from coincast_modelkit.hourly.candles import HOURS_A_DAY, HourlyCandles, HourlyPanel
from coincast_modelkit.ledger import close_of
from coincast_training import metrics
from coincast_training.pipeline.losses import TRAILING_DAYS
from coincast_training.ports import CandleSource, HistorySource
from coincast_training.scoring.accuracy import frame_of, live_records
from coincast_training.scoring.consumer import BATCH, LedgerConsumer
from coincast_training.scoring.live_record import live_document
from coincast_training.scoring.metrics import LiveGauges
from coincast_training.scoring.parquet import SCORED_SCHEMA
from coincast_training.scoring.scorer import TRAILING_HOURS, Row, due_at, score_rows, starts_at
from coincast_training.scoring.source_calendar import MAX_IDS, SourceCalendar
from coincast_training.scoring.store import LedgerStore

log = structlog.get_logger(__name__)
LIVE_DAYS = 30
# Days of the hours of the baseline, and one more, because a source counts the days back from its current
# time.
HOUR_BASELINE_DAYS = TRAILING_HOURS // HOURS_A_DAY + 1


async def run_scoring(
    take: Callable[[], Awaitable[int | None]],
    cycle: Callable[[], Awaitable[object]],
    *,
    poll_seconds: float,
    scoring_seconds: float,
) -> None:
    """Copy messages to disk and score, each in its own period, until cancelled.

    Args:
        take: Copies a batch from the stream to disk and returns its size; None after a failure.
        cycle: Scores the due forecasts.
        poll_seconds: Pause after a batch that was not full.
        scoring_seconds: Period of `cycle`.
    """
    next_scoring = time.monotonic()
    while True:
        taken = await take()
        if time.monotonic() >= next_scoring:
            await cycle()
            next_scoring = time.monotonic() + scoring_seconds
        if not taken or taken < BATCH:
            await asyncio.sleep(poll_seconds)


async def guarded(event: str, step: Callable[[], Awaitable[int | None]]) -> int | None:
    """Run a step and return its result; log a failure as `event` and return None.

    The steps read files and messages of other processes. Any defect of these must not stop later steps.
    """
    try:
        return int(await step() or 0)
    except CoincastError as error:
        log.warning(event, reason=error.message)
    except OSError as error:
        log.warning(event, reason=without_path(error))
    except Exception:
        log.exception(event)
    return None


async def fetch_panel(source: HistorySource, ids: Sequence[str], days: int) -> dict[str, Candles]:
    """Fetch the candles of any number of coins, in requests of at most MAX_IDS.

    Raises:
        CoincastError: A request failed.
    """
    panel: dict[str, Candles] = {}
    for start in range(0, len(ids), MAX_IDS):
        panel.update((await source.fetch(ids[start : start + MAX_IDS], days)).panel)
    return panel


class LedgerService:
    """Store, score and publish served forecasts; a failed step is repeated in its next period."""

    def __init__(
        self,
        *,
        consumer: LedgerConsumer,
        store: LedgerStore,
        calendar: SourceCalendar,
        history_in: Callable[[str], CandleSource],
        live_record_path: Path,
        clock: Clock,
        poll_seconds: float = 2.0,
        scoring_seconds: float = 600.0,
    ) -> None:
        self.store, self.calendar = store, calendar
        self._consumer, self._history_in, self._clock = consumer, history_in, clock
        self._live_record_path, self._gauges = live_record_path, LiveGauges()
        self._poll_seconds, self._scoring_seconds = poll_seconds, scoring_seconds

    async def run(self) -> None:
        """Run until cancelled."""
        await run_scoring(
            lambda: guarded("ledger_not_taken", self._consumer.take),
            lambda: guarded("ledger_not_scored", self.cycle),
            poll_seconds=self._poll_seconds,
            scoring_seconds=self._scoring_seconds,
        )

    async def cycle(self) -> int:
        """Score the due forecasts, publish the live record, and return the number of scored forecasts."""
        scored = await guarded("ledger_not_scored", self._score_due) or 0
        await guarded("live_record_not_published", lambda: asyncio.to_thread(self.publish))
        await guarded("ledger_not_trimmed", self._consumer.trim)
        return scored

    async def _score_due(self) -> int:
        found = await asyncio.to_thread(self.store.open_forecasts)
        newest = await self.calendar.ask(sorted({row["coin_id"] for row in found.rows}))
        by_currency: dict[str, list[Row]] = defaultdict(list)
        for row in found.rows:
            by_currency[row["vs_currency"]].append(row)
        scored: list[Row] = []
        waiting: list[Row] = []
        for vs_currency, rows in by_currency.items():
            ready, rest = await self._score(vs_currency, rows, newest)
            scored += ready
            waiting += rest
        await asyncio.to_thread(self.store.close_cycle, scored, waiting, found.batches)
        metrics.LEDGER_SCORED.inc(len(scored))
        return len(scored)

    async def _score(
        self, vs_currency: str, rows: list[Row], newest: dt.date | None
    ) -> tuple[list[Row], list[Row]]:
        """Return the scored and the waiting rows.

        The day of a forecast ends when the source has its close, not by the clock of the machine. `newest` is
        None if the newest day of the source is unknown.
        """
        if newest is None:
            return [], rows
        daily = [row for row in rows if not row["horizon_hours"] and row["due"] <= newest.isoformat()]
        reached = self._reached(newest)
        hourly = [row for row in rows if row["horizon_hours"] and due_at(row) <= reached]
        due = daily + hourly
        if not due:
            return [], rows
        chosen = {id(row) for row in due}
        rest = [row for row in rows if id(row) not in chosen]
        histories = await self._histories(vs_currency, daily, newest) if daily else {}
        hours = await self._hours(vs_currency, hourly, reached) if hourly else {}
        outcome = score_rows(due, histories, hours=hours, newest=newest, now=self._clock.now())
        if outcome.expired:
            log.warning(
                "forecasts_expired", count=len(outcome.expired), example=outcome.expired[0]["coin_id"]
            )
        return outcome.scored, outcome.waiting + rest

    def _reached(self, newest: dt.date) -> dt.datetime:
        """Return the latest time at which an hour of the source can have closed.

        A source of replayed data has another date than the clock. Its time is at most one day after its
        newest closed day.
        """
        by_clock = dt.datetime.fromtimestamp(self._clock.now(), dt.UTC)
        return max(by_clock, close_of(newest.isoformat()) + dt.timedelta(days=1))

    async def _hours(self, vs_currency: str, due: list[Row], reached: dt.datetime) -> HourlyPanel:
        """Fetch hourly candles, from the baseline of the oldest forecast on.

        If the source does not answer, hourly forecasts wait and daily forecasts are still scored.
        """
        days = math.ceil((reached - min(map(starts_at, due))) / dt.timedelta(days=1)) + HOUR_BASELINE_DAYS
        ids = sorted({row["coin_id"] for row in due})
        source = self._history_in(vs_currency)
        panel: dict[str, HourlyCandles] = {}
        try:
            for start in range(0, len(ids), MAX_IDS):
                panel.update((await source.fetch_hourly(ids[start : start + MAX_IDS], days)).panel)
        except CoincastError as error:
            log.warning("hours_not_scored", reason=error.message)
        return panel

    async def _histories(self, vs_currency: str, due: list[Row], newest: dt.date) -> dict[str, Candles]:
        """Fetch daily candles, from the baseline of the oldest forecast on.

        Market-data counts days back from its current day, which can be later than the day of the newest
        candle.
        """
        oldest = dt.date.fromisoformat(min(row["as_of"] for row in due))
        days = (max(newest, self.calendar.yesterday()) - oldest).days + TRAILING_DAYS + 6
        ids = sorted({row["coin_id"] for row in due})
        return await fetch_panel(self._history_in(vs_currency), ids, days)

    def live_of(self, model: str, version: str, days: int) -> list[HorizonRecord]:
        """Return the live record of a production version over the last `days`, for all coins together.

        Forecasts of earlier versions do not count, since they do not show whether this version has drifted.
        """
        table = self.store.scored_since(self.calendar.first_day(days))
        frame = frame_of(table, model=model)
        own = frame.filter((frame["variant"] == "production") & (frame["version"] == version))
        return [live.horizon for live in live_records(own)]

    def publish(self) -> None:
        """Write live-record.json and set the live gauges, from the scores of the last LIVE_DAYS."""
        table = self.store.scored_since(self.calendar.first_day(LIVE_DAYS))
        if not table.num_rows and not self._live_record_path.exists():
            return  # no record was published yet, and an empty one has no use
        frame = frame_of(table.select(SCORED_SCHEMA.names))
        document = live_document(frame, measured_at=self._clock.now(), window_days=LIVE_DAYS)
        self._live_record_path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._live_record_path, json.dumps(document, indent=1).encode())
        self._gauges.show(frame)
