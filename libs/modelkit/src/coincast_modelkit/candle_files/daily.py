"""Read daily candles from the rows of a file: parse dates, check prices, find repeated days and gaps.

Candles of hours or minutes are combined to UTC days; for a file of hours, the hours are returned as well.
Each rejected row is reported with its line and the reason; the other rows are still read.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from coincast_modelkit.candle_files.tables import SUFFIXES, CandleFileError, coin_of_file, read_rows

# Date of the first bitcoin block: no coin was traded before it.
EARLIEST = date(2009, 1, 3)
# Relative tolerance between the prices of one day, for rounding of the last digit.
SLACK = 1e-9
# (least number, divisor to seconds) of UNIX nanoseconds, microseconds, milliseconds.
UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
FIRST_UNIX = 1.0e8
PRICES = ("open", "high", "low", "close")
# Thousands separators, where they can be nothing else: `1,234` may be a decimal comma, `1,234.5` may not.
GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+|[+-]?[0-9]{1,3}(?:,[0-9]{3}){2,}")
DIFFER = "two rows for one day differ"
REPEATED = "duplicate day"
NOT_WHOLE = "the newest day is not whole"
NOT_CLOSED = "day not closed yet"
TOO_EARLY = "before the first bitcoin"
UNREADABLE_DATE = "unreadable date"
NOT_A_NUMBER = "price not a number"
HOUR_SECONDS = 3600
# Reasons for rejected rows in a file of hours.
OFF_HOUR = "not on the full hour"
REPEATED_HOUR = "duplicate hour"
OF_HOURS = {DIFFER: "two rows for one hour differ", REPEATED: REPEATED_HOUR}
# A file with a larger share of wrong rows is refused as a whole: its columns are probably not what they seem.
MOST_REJECTED_SHARE = 0.05
# Rows of these kinds are left out and say nothing against the other rows.
HARMLESS = frozenset({NOT_WHOLE, NOT_CLOSED, TOO_EARLY, REPEATED, REPEATED_HOUR})
# Rejected rows of one file that are named; the others are counted.
MAX_NAMED_ROWS = 100
ROWS_OF_A_LEFT_OUT_FILE = 3
# Characters of a cell that are shown in the report on its row.
MAX_CELL = 40


@dataclass(frozen=True, slots=True)
class DailyCandle:
    """The candle of one UTC day; prices, volume and market cap in one currency."""

    day: date
    close: float
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    market_cap: float | None = None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is not used."""

    file: str
    line: int
    reason: str
    # The content of the wrong cell, and the fix; empty if the reason alone is enough.
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.file} line {self.line}: {self.reason}{detail}"


@dataclass(slots=True)
class DailyFile:
    """The candles of one file in order of days, and the rejected rows."""

    coin: str
    file: str
    rows: int = 0
    candles: list[DailyCandle] = field(default_factory=list)
    set_aside: list[RejectedRow] = field(default_factory=list)
    gaps: list[date] = field(default_factory=list)
    # Only for a file of hours: start in UNIX seconds and candle of each hour, oldest first.
    hours: list[tuple[int, DailyCandle]] = field(default_factory=list)

    @property
    def hour_gaps(self) -> int:
        """Return how many hours are missing between the first and the last one."""
        return (
            (self.hours[-1][0] - self.hours[0][0]) // HOUR_SECONDS + 1 - len(self.hours) if self.hours else 0
        )

    def reasons(self) -> Counter[str]:
        """Return the number of rejected rows by reason."""
        return Counter(row.reason for row in self.set_aside)

    def fault(self) -> str:
        """Return why the file as a whole is not used; empty where it is."""
        return file_fault(self.rows, len(self.candles), self.reasons())

    def named_rows(self) -> list[str]:
        """Return file, line and reason of rejected rows, and how many more than a hundred there are."""
        named = [str(row) for row in self.set_aside[:MAX_NAMED_ROWS]]
        if more := len(self.set_aside) - len(named):
            named.append(f"{self.file}: {more} further rows rejected")
        return named


@dataclass(frozen=True, slots=True)
class DailyFolder:
    """The usable files of a folder, one per coin, and why others are left out."""

    files: tuple[DailyFile, ...]
    left_out: tuple[str, ...] = ()


def file_fault(rows: int, usable: int, reasons: Counter[str]) -> str:
    """Return why a file as a whole is not used; empty where it is.

    Args:
        rows: Rows of the file.
        usable: Candles that they gave.
        reasons: Rejected rows by reason.
    """
    if not usable:
        worst = f": {reasons.most_common(1)[0][0]}" if reasons else ""
        return f"holds no usable row{worst}" if rows else "is empty"
    wrong = Counter({reason: count for reason, count in reasons.items() if reason not in HARMLESS})
    bad = wrong.total()
    if bad > max(1, rows * MOST_REJECTED_SHARE):
        reason, count = wrong.most_common(1)[0]
        return f"{bad} of {rows} rows are wrong (mostly: {reason}, {count})"
    return ""


def read_folder(folder: Path, last_day: date) -> DailyFolder:
    """Read every candle file of a folder; a file that cannot be used stops no other.

    Of two files of one coin the first by name is used.

    Args:
        folder: The folder.
        last_day: Newest day that can be closed; later rows are rejected.

    Raises:
        CandleFileError: There is no such folder, or no candle file in it.
    """
    files: dict[str, DailyFile] = {}
    left_out: list[str] = []
    for path in candle_files(folder):
        try:
            found = read_file(path, last_day)
        except CandleFileError as error:
            left_out.append(f"{error}: the file is left out")
            continue
        if fault := found.fault():
            left_out.append(f"{found.file} {fault}: the file is left out")
            # The first rows show the kind of fault; all of them would bury the other files.
            left_out += [str(row) for row in found.set_aside[:ROWS_OF_A_LEFT_OUT_FILE]]
        elif found.coin in files:
            left_out.append(
                f"{found.file} is a second file of {found.coin}, beside {files[found.coin].file}: "
                "the file is left out"
            )
        else:
            files[found.coin] = found
    return DailyFolder(tuple(files.values()), tuple(left_out))


def candle_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold candles, by name.

    Raises:
        CandleFileError: The folder does not exist, or holds no such file.
    """
    if not folder.is_dir():
        raise CandleFileError(f"no such folder of candles: {folder} is no folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise CandleFileError(
            f"no candle files in {folder}: it has no .csv, .parquet, .feather or .json file"
        )
    return files


def read_file(path: Path, last_day: date) -> DailyFile:
    """Read the daily candles of one file.

    Args:
        path: The file; the coin's id is derived from its name.
        last_day: Newest UTC day that has closed; later rows are rejected.

    Raises:
        CandleFileError: The file cannot be read at all.
    """
    return read_daily_rows(read_rows(path), last_day, coin=coin_of_file(path), file=path.name)


def read_daily_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]], last_day: date, *, coin: str = "", file: str = ""
) -> DailyFile:
    """Check rows one at a time and return the daily candles.

    Of several equal rows for one time the first is used. If they differ, all are rejected, since it is
    unknown which one is right.

    Args:
        rows: Line number and row, with the column names of `tables`.
        last_day: Newest UTC day that has closed; later rows are rejected.
        coin: The coin's id.
        file: Name of the file, for reports.
    """
    found = DailyFile(coin, file)
    moments: dict[datetime, tuple[int, DailyCandle]] = {}
    contradicted: set[datetime] = set()
    for line, row in rows:
        found.rows += 1
        read = read_row(row, last_day)
        if isinstance(read, str):
            found.set_aside.append(RejectedRow(file, line, read, _detail(row, read)))
            continue
        moment, candle = read
        if moment not in moments:
            moments[moment] = (line, candle)
            continue
        first_line, earlier = moments[moment]
        if earlier != candle and moment not in contradicted:
            contradicted.add(moment)
            found.set_aside.append(RejectedRow(file, first_line, DIFFER))
        reason = DIFFER if moment in contradicted else REPEATED
        found.set_aside.append(RejectedRow(file, line, reason))
    ordered = [(m, *moments[m]) for m in sorted(moments) if m not in contradicted]
    if _is_hourly(ordered):
        ordered = _read_hours(ordered, found)
    found.candles = list(_daily(ordered, found))
    found.set_aside.sort(key=lambda row: row.line)
    days = {candle.day for candle in found.candles}
    if found.candles:
        first, last = found.candles[0].day, found.candles[-1].day
        span = (last - first).days + 1 if days else 0
        found.gaps = [day for n in range(span) if (day := first + timedelta(days=n)) not in days]
    return found


def _is_hourly(ordered: Sequence[tuple[datetime, int, DailyCandle]]) -> bool:
    """Return whether the usual step between rows is an hour and some rows begin on the full hour."""
    steps = sorted((b[0] - a[0]) for a, b in pairwise(ordered))
    by_the_hour = bool(steps) and steps[len(steps) // 2] == timedelta(hours=1)
    return by_the_hour and any(_on_the_hour(moment) for moment, _, _ in ordered)


def _on_the_hour(moment: datetime) -> bool:
    return moment.timestamp() % HOUR_SECONDS == 0


def _read_hours(
    ordered: Sequence[tuple[datetime, int, DailyCandle]], found: DailyFile
) -> list[tuple[datetime, int, DailyCandle]]:
    """Store the hours of a file; return the rows that begin on the full hour."""
    found.set_aside = [replace(row, reason=OF_HOURS.get(row.reason, row.reason)) for row in found.set_aside]
    found.set_aside += [
        RejectedRow(found.file, line, OFF_HOUR) for moment, line, _ in ordered if not _on_the_hour(moment)
    ]
    kept = [entry for entry in ordered if _on_the_hour(entry[0])]
    found.hours = [(int(moment.timestamp()), candle) for moment, _, candle in kept]
    return kept


def read_row(row: Mapping[str, Any], last_day: date) -> tuple[datetime, DailyCandle] | str:
    """Return the time (UTC) and the candle of a row, or the reason for its rejection."""
    moment = parse_moment(row.get("date"))
    if moment is None:
        return UNREADABLE_DATE
    prices = {name: _number(row.get(name)) for name in PRICES}
    figures = {name: value for name, value in prices.items() if isinstance(value, float)}
    fault = _day_fault(moment.date(), last_day) or _price_fault(prices, figures)
    if fault:
        return fault
    return moment, DailyCandle(
        day=moment.date(),
        close=figures["close"],
        open=figures.get("open"),
        high=figures.get("high"),
        low=figures.get("low"),
        volume=_not_negative(_number(row.get("volume"))),
        market_cap=_not_negative(_number(row.get("market_cap"))) or None,
    )


def _detail(row: Mapping[str, Any], reason: str) -> str:
    """Return the cell at fault and the fix, for the reasons that one cell explains."""
    if reason == UNREADABLE_DATE:
        return f"date is {_shown(row.get('date'))}; write YYYY-MM-DD"
    if reason == NOT_A_NUMBER:
        name = next(name for name in PRICES if isinstance(_number(row.get(name)), str))
        return f"{name} is {_shown(row.get(name))}; write it like 1234.5"
    return ""


def _shown(value: Any) -> str:
    text = "empty" if value is None or value == "" else repr(str(value))
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}..."


def parse_moment(value: Any) -> datetime | None:
    """Parse a date, an ISO time with or without zone, or a UNIX time to a UTC time; None for other values."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return _from_text(text)
    if not math.isfinite(number) or number < FIRST_UNIX:
        return _from_text(text)
    divisor = next((unit for least, unit in UNITS if number >= least), 1.0)
    try:
        return datetime.fromtimestamp(number / divisor, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _from_text(text: str) -> datetime | None:
    plain = text.removesuffix(" UTC").removesuffix(" GMT").replace("/", "-")
    try:
        found = datetime.fromisoformat(plain)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _daily(ordered: Sequence[tuple[datetime, int, DailyCandle]], found: DailyFile) -> Iterator[DailyCandle]:
    """Yield one candle per day, oldest first; several rows of one day are combined."""
    if len({moment.date() for moment, _, _ in ordered}) == len(ordered):
        yield from (candle for _, _, candle in ordered)
        return
    steps = sorted((b[0] - a[0]) for a, b in pairwise(ordered))
    step = steps[len(steps) // 2]
    if step >= timedelta(hours=20):
        # The file is daily, and some day has a second row.
        yield from _first_of_each_day(ordered, found)
        return
    yield from _days_of_shorter(ordered, step, found)


def _first_of_each_day(
    ordered: Sequence[tuple[datetime, int, DailyCandle]], found: DailyFile
) -> Iterator[DailyCandle]:
    seen: set[date] = set()
    for _, line, candle in ordered:
        if candle.day in seen:
            found.set_aside.append(RejectedRow(found.file, line, DIFFER))
            continue
        seen.add(candle.day)
        yield candle


def _days_of_shorter(
    ordered: Sequence[tuple[datetime, int, DailyCandle]], step: timedelta, found: DailyFile
) -> Iterator[DailyCandle]:
    """Combine shorter candles to days; the newest day is used only if its last candle is present."""
    days: dict[date, list[tuple[datetime, int, DailyCandle]]] = {}
    for entry in ordered:
        days.setdefault(entry[2].day, []).append(entry)
    newest = max(days)
    for day, entries in days.items():
        ends = entries[-1][0] + step
        if day == newest and ends.date() == day:
            found.set_aside += [RejectedRow(found.file, line, NOT_WHOLE) for _, line, _ in entries]
            continue
        candles = [candle for _, _, candle in entries]
        highs = [c.high if c.high is not None else c.close for c in candles]
        lows = [c.low if c.low is not None else c.close for c in candles]
        volumes = [c.volume for c in candles if c.volume is not None]
        yield DailyCandle(
            day=day,
            close=candles[-1].close,
            open=candles[0].open if candles[0].open is not None else candles[0].close,
            high=max(highs),
            low=min(lows),
            volume=sum(volumes) if volumes else None,
            market_cap=candles[-1].market_cap,
        )


def _day_fault(day: date, last_day: date) -> str:
    if day > last_day:
        return NOT_CLOSED
    return TOO_EARLY if day < EARLIEST else ""


def _price_fault(prices: Mapping[str, float | str | None], figures: Mapping[str, float]) -> str:
    if any(isinstance(value, str) for value in prices.values()):
        return NOT_A_NUMBER
    if prices["close"] is None:
        return "no close"
    if any(value <= 0 for value in figures.values()):
        return "price not positive"
    return "" if _range_holds(figures) else "high and low contradict open and close"


def _range_holds(figures: Mapping[str, float]) -> bool:
    inner = [figures[name] for name in ("open", "close") if name in figures]
    high, low = figures.get("high", math.inf), figures.get("low", 0.0)
    return low <= min(inner) * (1 + SLACK) and max(inner) <= high * (1 + SLACK) and low <= high


def _number(value: Any) -> float | str | None:
    """Return a finite number, None for an empty cell, or the text of anything else."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and GROUPED.fullmatch(value.strip()):
        value = value.replace(",", "")
    try:
        result = float(value)
    except (TypeError, ValueError):
        return str(value)
    except OverflowError:
        return "too large a number"
    return result if math.isfinite(result) else str(value)


def _not_negative(value: float | str | None) -> float | None:
    return value if isinstance(value, float) and value >= 0 else None
