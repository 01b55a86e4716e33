"""One contract for candle files: whatever the format and the spelling, the same candles come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from coincast_modelkit.candle_files.daily import DailyFile, candle_files, parse_moment, read_file, read_folder
from coincast_modelkit.candle_files.tables import CandleFileError, coin_of_file

CASES = Path(__file__).resolve().parents[5] / "shared" / "data" / "cases"
FIRST = date(2025, 1, 1)
LAST = date(2025, 8, 31)
DAYS = 5
CLOSES = [100.0 + n for n in range(DAYS)]


def days() -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(DAYS)]


def stamps() -> list[int]:
    return [int(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()) for d in days()]


def lines(dates: list[str], separator: str = ",") -> list[str]:
    return [
        separator.join([day, "99", "110", "90", str(close), "1000"])
        for day, close in zip(dates, CLOSES, strict=True)
    ]


def write(path: Path, header: str, rows: list[str], *, end: str = "\n", encoding: str = "utf-8") -> Path:
    path.write_bytes((end.join([header, *rows]) + end).encode(encoding))
    return path


HEADER = "date,open,high,low,close,volume_usd"
ISO = [day.isoformat() for day in days()]
WRITERS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda f: write(f / "bitcoin.csv", HEADER, lines(ISO)),
    "capitals": lambda f: write(f / "bitcoin.csv", HEADER.upper(), lines(ISO)),
    "spaces": lambda f: write(f / "bitcoin.csv", HEADER.replace(",", ", "), lines(ISO, ", ")),
    "bom and crlf": lambda f: write(f / "bitcoin.csv", HEADER, lines(ISO), end="\r\n", encoding="utf-8-sig"),
    "utf-16": lambda f: write(f / "bitcoin.csv", HEADER, lines(ISO), encoding="utf-16"),
    "empty lines": lambda f: write(
        f / "bitcoin.csv", HEADER, ["", *lines(ISO)[:2], ",,,,,", *lines(ISO)[2:]]
    ),
    "quotes": lambda f: write(
        f / "bitcoin.csv",
        '"date","open","high","low","close","volume_usd"',
        [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines(ISO)],
    ),
    "tabs": lambda f: write(f / "bitcoin.csv", HEADER.replace(",", "\t"), lines(ISO, "\t")),
    "no line end": lambda f: write(f / "bitcoin.csv", HEADER, lines(ISO), end="\n").rename(f / "bitcoin.CSV"),
    "compact days": lambda f: write(f / "bitcoin.csv", HEADER, lines([d.replace("-", "") for d in ISO])),
    "zone of the east": lambda f: write(
        f / "bitcoin.csv", HEADER, lines([f"{d}T09:00:00+09:00" for d in ISO])
    ),
    "a stray quote": lambda f: write(
        f / "bitcoin.csv", HEADER, [*lines(ISO)[:2], '"2025-03-01,1,3,0.5,1,1', *lines(ISO)[2:]]
    ),
    "a byte that is no text": lambda f: _with_byte(f / "bitcoin.csv"),
    "more cells than the header": lambda f: write(
        f / "bitcoin.csv", HEADER, [f"{line},extra,cells" for line in lines(ISO)]
    ),
    "semicolons": lambda f: write(f / "bitcoin.csv", HEADER.replace(",", ";"), lines(ISO, ";")),
    "newest first": lambda f: write(f / "bitcoin.csv", HEADER, lines(ISO)[::-1]),
    "seconds": lambda f: write(f / "bitcoin.csv", HEADER, lines([str(s) for s in stamps()])),
    "milliseconds": lambda f: write(f / "bitcoin.csv", HEADER, lines([f"{s}000" for s in stamps()])),
    "timestamp column": lambda f: write(
        f / "bitcoin.csv", HEADER.replace("date", "timestamp"), lines([str(s) for s in stamps()])
    ),
    "zone of the west": lambda f: write(
        f / "bitcoin.csv",
        HEADER,
        lines([f"{(d - timedelta(days=1)).isoformat()}T19:00:00-05:00" for d in days()]),
    ),
    "utc in words": lambda f: write(f / "bitcoin.csv", HEADER, lines([f"{d} 00:00:00 UTC" for d in ISO])),
    "a repeated row": lambda f: write(f / "bitcoin.csv", HEADER, [*lines(ISO), lines(ISO)[1]]),
    "a year to come": lambda f: write(
        f / "bitcoin.csv", HEADER, [*lines(ISO), "2205-01-01,99,110,90,100,1000"]
    ),
    "a row of words": lambda f: write(f / "bitcoin.csv", HEADER, [*lines(ISO), "total,,,,,"]),
    "CryptoDataDownload": lambda f: write(
        f / "Binance_BTCUSDT_d.csv",
        "https://www.CryptoDataDownload.com\n"
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount",
        [
            f"{s}000,{d} 00:00:00,BTCUSDT,99,110,90,{c},10,1000,7"
            for s, d, c in zip(stamps(), ISO, CLOSES, strict=True)
        ][::-1],
    ),
    "parquet": lambda f: _parquet(f / "bitcoin.parquet"),
    "freqtrade feather": lambda f: _feather(f / "BTC_USDT-1d.feather"),
    "two columns of one name": lambda f: _parquet(f / "bitcoin.parquet", twice=True),
    "parquet of moments": lambda f: _parquet(f / "bitcoin.parquet", unit="us"),
    "parquet of moments in nanoseconds": lambda f: _parquet(f / "bitcoin.parquet", unit="ns"),
    "a moment that no calendar has": lambda f: _parquet(f / "bitcoin.parquet", unit="us", odd=2**62),
    "an empty moment": lambda f: _parquet(f / "bitcoin.parquet", unit="s", odd=None),
    "freqtrade futures": lambda f: _feather(f / "BTC_USDT_USDT-1d-futures.feather"),
    "klines of texts": lambda f: _json(f / "BTC_USDT-1d.json", as_text=True),
    "objects, one without a close": lambda f: _objects(f / "bitcoin.json"),
    "freqtrade json": lambda f: _json(f / "BTC_USDT-1d.json"),
    "hours": lambda f: _hours(f / "bitcoin.csv"),
}


def _parquet(path: Path, *, unit: str = "", odd: int | None = 0, twice: bool = False) -> Path:
    """Five days by date, or by a moment of a unit, after which one more row may have an odd moment."""
    scale = {"": 1, "s": 1, "us": 10**6, "ns": 10**9}[unit]
    more = 1 if unit and odd != 0 else 0
    moments = [stamp * scale for stamp in stamps()] + [odd] * more
    figures = {"open": 99.0, "high": 110.0, "low": 90.0, "volume": 1000.0}
    columns = {name: [value] * (DAYS + more) for name, value in figures.items()}
    when = pa.array(moments, pa.timestamp(unit)) if unit else pa.array(days())
    table = pa.table({"date": when, "close": CLOSES + [1.0] * more, **columns})
    if twice:
        table = table.append_column("close", pa.array([5.0] * DAYS))
    pq.write_table(table, path)
    return path


def _with_byte(path: Path) -> Path:
    bad = b"2025-03-01,1,3,\xff\xfe,1,1\n"
    path.write_bytes((HEADER + "\n" + "\n".join(lines(ISO)) + "\n").encode() + bad)
    return path


def _objects(path: Path) -> Path:
    rows = [
        {"timestamp": s * 1000, "open": 99, "high": 110, "low": 90, "price": c, "total_volume": 1000}
        for s, c in zip(stamps(), CLOSES, strict=True)
    ]
    odd: list[object] = [{"timestamp": 1}, None, 7, {}, [], [1], {**rows[0], "timestamp": 10**400}]
    prices: tuple[object, ...] = (10**400, True, [1], {})
    odd += [{**rows[0], "timestamp": 1740787200, "price": price} for price in prices]
    path.write_text(json.dumps([*odd, *rows]))
    return path


def _feather(path: Path) -> Path:
    moments = pa.array([s * 1000 for s in stamps()], pa.timestamp("ms", tz="UTC"))
    columns = {"open": [99.0] * DAYS, "high": [110.0] * DAYS, "low": [90.0] * DAYS, "close": CLOSES}
    volume = [1000.0 / close for close in CLOSES]
    feather.write_feather(pa.table({"date": moments, **columns, "volume": volume}), path)
    return path


def _json(path: Path, *, as_text: bool = False) -> Path:
    rows = [[s * 1000, 99.0, 110.0, 90.0, c, 1000.0 / c] for s, c in zip(stamps(), CLOSES, strict=True)]
    path.write_text(json.dumps([[row[0], *map(str, row[1:])] if as_text else row for row in rows]))
    return path


def _hours(path: Path) -> Path:
    rows = [
        f"{s + hour * 3600},99,{110 if hour == 5 else 100},{90 if hour == 7 else 95},"
        f"{c if hour == 23 else 98.5},{1000 / 24}"
        for s, c in zip(stamps(), CLOSES, strict=True)
        for hour in range(24)
    ]
    return write(path, HEADER, [row.replace(",100,", ",105,") for row in rows])


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_candles(tmp_path: Path, name: str) -> None:
    found = read_file(WRITERS[name](tmp_path), LAST)
    assert found.coin == "bitcoin"
    assert [candle.day for candle in found.candles] == days()
    assert [candle.close for candle in found.candles] == CLOSES
    assert {(c.open, c.high, c.low) for c in found.candles} == {(99.0, 110.0, 90.0)}
    assert [candle.volume for candle in found.candles] == pytest.approx([1000.0] * DAYS)
    assert found.gaps == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("soon,1,3,0.5,1,1", "unreadable date"),
        ("2025-09-01,1,3,0.5,1,1", "day not closed yet"),
        ("1999-01-01,1,3,0.5,1,1", "before the first bitcoin"),
        ("2025-02-01,1,3,0.5,,1", "no close"),
        ("2025-02-01,1,3,0.5,inf,1", "price not a number"),
        ("2025-02-01,1,3,0.5,-1,1", "price not positive"),
        ("2025-02-01,1,0.9,0.5,1,1", "high and low contradict open and close"),
        (f"{ISO[0]},99,110,90,100.0,1000", "duplicate day"),
        ('"2025-02-01,1,3,0.5,1,1', "unreadable date"),
        ("2025-02-30,1,3,0.5,1,1", "unreadable date"),
        ("10000-01-01,1,3,0.5,1,1", "unreadable date"),
        ("1e300,1,3,0.5,1,1", "unreadable date"),
        ("2025-02-01", "no close"),
        ("2025-02-01,1,3,0.5,nan,1", "price not a number"),
        ('2025-02-01,1,3,0.5,"1,5",1', "price not a number"),
        ("2205-02-01,1,3,0.5,1,1", "day not closed yet"),
        ("7417440000000,1,3,0.5,1,1", "day not closed yet"),
    ],
)
def test_a_row_set_aside_is_named_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*lines(ISO), row]), LAST)
    (named,) = [str(one) for one in found.set_aside]
    assert named.partition(" (")[0] == f"a.csv line 7: {reason}"
    assert len(found.candles) == DAYS, "the other rows are used"


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ("31.01.2025,1,3,0.5,1,1", "date is '31.01.2025'; write YYYY-MM-DD"),
        ("01/31/2025,1,3,0.5,1,1", "date is '01/31/2025'; write YYYY-MM-DD"),
        (",1,3,0.5,1,1", "date is empty; write YYYY-MM-DD"),
        ('2025-02-01,1,3,0.5,"1,5",1', "close is '1,5'; write it like 1234.5"),
        ("2025-02-01,$1,3,0.5,1,1", "open is '$1'; write it like 1234.5"),
        (f"2025-02-01,1,{'x' * 90},0.5,1,1", f"high is '{'x' * 39}...; write it like 1234.5"),
    ],
)
def test_the_cell_at_fault_is_shown_with_the_fix(tmp_path: Path, row: str, detail: str) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*lines(ISO), row]), LAST)
    assert str(found.set_aside[0]).endswith(f" ({detail})")


@pytest.mark.parametrize(
    ("cell", "close"),
    [
        ("1,234.5", 1234.5),
        ("12,345,678", 12_345_678.0),
        ("1,234,567.25", 1_234_567.25),
        # These may be decimal commas, or no number at all.
        ("1,234", None),
        ("1.234,5", None),
        ("12,34.5", None),
    ],
)
def test_thousands_separators_are_read_where_they_can_be_nothing_else(
    tmp_path: Path, cell: str, close: float | None
) -> None:
    row = f'2025-01-01,"{cell}"'
    found = read_file(write(tmp_path / "a.csv", "date,close", [row, "2025-01-02,1300"]), LAST)
    assert [candle.close for candle in found.candles] == [*([] if close is None else [close]), 1300.0]
    assert len(found.set_aside) == (close is None)


def write_folder(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


GOOD = "\n".join([HEADER, *lines(ISO)])


@pytest.mark.parametrize(
    ("files", "coins", "left_out"),
    [
        ({"bitcoin.csv": GOOD}, ["bitcoin"], []),
        ({"a.csv": GOOD, "b.parquet": b"PAR1 no"}, ["a"], ["b.parquet cannot be read"]),
        ({"a.csv": "open\n1", "b.csv": GOOD}, ["b"], ["a.csv lacks the column date, close"]),
        (
            {"a.csv": "1735689600,1,2\n1735776000,1,2", "b.csv": GOOD},
            ["b"],
            ["its first line holds no names"],
        ),
        ({"a.csv": HEADER, "b.csv": GOOD}, ["b"], ["a.csv is empty"]),
        (
            {"a.csv": "date,close\nsoon,1\n", "b.csv": GOOD},
            ["b"],
            ["a.csv holds no usable row: unreadable date", "a.csv line 2: unreadable date"],
        ),
        (
            {"BTC-USD.csv": GOOD, "bitcoin.csv": GOOD},
            ["bitcoin"],
            ["bitcoin.csv is a second file of bitcoin"],
        ),
        ({"Bitcoin.csv": GOOD}, ["bitcoin"], []),
        ({"BTC_USDT-8h-funding_rate.feather": b"", "a.csv": GOOD}, ["a"], ["mark prices or funding rates"]),
    ],
)
def test_a_file_of_a_folder_that_cannot_be_used_is_named_and_stops_no_other(
    tmp_path: Path, files: dict[str, str | bytes], coins: list[str], left_out: list[str]
) -> None:
    found = read_folder(write_folder(tmp_path, files), LAST)
    assert [file.coin for file in found.files] == coins
    for words in left_out:
        assert any(words in line for line in found.left_out), words
    assert bool(found.left_out) == bool(left_out)


LONG = [f"{FIRST + timedelta(days=n)},99,110,90,{100 + n / 10},1000" for n in range(100)]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ([], ""),
        (["soon,1,1,1,1,1"] * 5, ""),
        (["soon,1,1,1,1,1"] * 6, "6 of 106 rows are wrong (mostly: unreadable date, 6)"),
        # Rows that say nothing against the others, however many: days to come, repeated days.
        ([f"2{n}05-01-01,1,1,1,1,1" for n in range(1, 8)] * 2, ""),
        (LONG[:50], ""),
        (["1999-01-01,1,1,1,1,1"] * 20, ""),
        (["2025-01-01,1,1,1,1,1"] * 20, "21 of 120 rows are wrong"),
    ],
)
def test_a_file_of_mostly_wrong_rows_is_refused_as_a_whole(
    tmp_path: Path, more: list[str], fault: str
) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*LONG, *more]), LAST)
    assert (found.fault() == "") == (fault == "")
    assert fault in found.fault()


def test_of_very_many_rejected_rows_the_rest_is_counted(tmp_path: Path) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*lines(ISO), *["soon,1,1,1,1,1"] * 150]), LAST)
    named = found.named_rows()
    assert (len(named), named[-1]) == (101, "a.csv: 50 further rows rejected")


@pytest.mark.parametrize("more", [1, 2, 3])
def test_all_rows_of_a_day_that_differ_are_named(tmp_path: Path, more: int) -> None:
    """Which of them is right is not known; one that repeats the first is no better."""
    again = [f"{ISO[0]},99,110,90,101.0,1000", lines(ISO)[0], f"{ISO[0]},99,110,90,102.0,1000"][:more]
    found = read_file(write(tmp_path / "a.csv", HEADER, [*lines(ISO), *again]), LAST)
    named = [str(one) for one in found.set_aside]
    assert named == [f"a.csv line {n}: two rows for one day differ" for n in (2, *range(7, 7 + more))]
    assert [candle.day for candle in found.candles] == days()[1:]


def test_gaps_are_named(tmp_path: Path) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*lines(ISO)[:2], *lines(ISO)[3:]]), LAST)
    assert found.gaps == [FIRST + timedelta(days=2)]


def test_the_newest_day_of_hours_counts_when_it_is_whole(tmp_path: Path) -> None:
    text = _hours(tmp_path / "a.csv").read_text().splitlines()
    found = read_file(write(tmp_path / "a.csv", HEADER, text[1:-3]), LAST)
    assert [candle.day for candle in found.candles] == days()[:-1]
    assert found.reasons() == {"the newest day is not whole": 21}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"day,price\n2025-01-01,\n", "unused"),
        ("a.csv", b"open,high\n1,2\n", "lacks the column date, close"),
        ("a.csv", bytes(range(256)), "lacks the column date"),
        ("a.csv", b"\xff\xfe\x00", "lacks the column date"),
        ("a.json", b"[" * 100_000, "cannot be read"),
        ("a.json", b'[{"open": 1}]', "lacks the column date, close"),
        ("BTC_USDT_USDT-1h-mark.feather", b"", "mark prices or funding rates"),
        ("BTC_USDT_USDT-8h-funding_rate.feather", b"", "mark prices or funding rates"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
        ("a.feather", b"no", "cannot be read"),
        ("a.json", b"{}", "must be a list"),
        ("a.json", b"[", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    if fault == "unused":
        assert read_file(tmp_path / name, LAST).reasons() == {"no close": 1}
        return
    with pytest.raises(CandleFileError, match=fault) as met:
        read_file(tmp_path / name, LAST)
    assert name in str(met.value)


@pytest.mark.parametrize(
    ("name", "coin"),
    [
        ("bitcoin.csv", "bitcoin"),
        ("avalanche-2.parquet", "avalanche-2"),
        ("ETH_USDT-1d.feather", "ethereum"),
        ("SOL_USDT_USDT-1h-futures.feather", "solana"),
        ("Bitstamp_LTCUSD_1h.csv", "litecoin"),
        ("NEW_USDT-1d.json", "new"),
    ],
)
def test_files_are_named_after_coins_or_pairs(name: str, coin: str) -> None:
    assert coin_of_file(Path(name)) == coin


@pytest.mark.parametrize(
    "text", ["2025-01-01", "2025/01/01", "2025-01-01T00:00:00Z", "1735689600", "1735689600000", "1.7356896e9"]
)
def test_moments_are_utc(text: str) -> None:
    assert parse_moment(text) == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_folder_without_candle_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="no candle files"):
        candle_files(tmp_path)
    with pytest.raises(CandleFileError, match="no such folder"):
        candle_files(tmp_path / "missing")


CASE_FILES = sorted(CASES.glob("13-three-readers/*.csv")) + sorted(CASES.glob("01-*/*.csv"))


@pytest.mark.skipif(not CASE_FILES, reason=f"no example files in {CASES}")
def test_the_example_files_read_alike() -> None:
    read: dict[str, DailyFile] = {path.name: read_file(path, date(2026, 11, 28)) for path in CASE_FILES}
    plain = [(c.day, c.close) for c in read["capital-header.csv"].candles]
    for name in set(read) - {"tz-west-evening.csv", "dup-dst.csv"}:
        candles = [(c.day, c.close) for c in read[name].candles]
        assert len(candles) > 30
        assert candles == plain[: len(candles)] or plain == candles[: len(plain)], name
    assert read["dup-dst.csv"].reasons() == {"duplicate day": 1}
    west = read["tz-west-evening.csv"].candles
    assert (west[0].day, west[0].close) == (plain[0][0] + timedelta(days=1), plain[0][1])


HOUR_ROWS = [
    f"{1735689600 + n * 3600},{100 + n},{101.5 + n},{99 + n},{100.5 + n},{10 + n}" for n in range(3 * 24)
]
HOUR_STARTS = [1735689600 + n * 3600 for n in range(3 * 24)]


def _hour_table(path: Path, rows: list[str]) -> Path:
    columns = list(zip(*(row.split(",") for row in rows), strict=True))
    moments = pa.array([int(stamp) for stamp in columns[0]], pa.timestamp("s"))
    names = HEADER.split(",")[1:]
    figures = {n: [float(v) for v in values] for n, values in zip(names, columns[1:], strict=True)}
    pq.write_table(pa.table({"date": moments, **figures}), path)
    return path


HOUR_FILES: dict[str, Callable[[Path], Path]] = {
    "csv": lambda f: write(f / "bitcoin.csv", HEADER, HOUR_ROWS),
    "header in capitals": lambda f: write(f / "bitcoin.csv", HEADER.upper(), HOUR_ROWS),
    "header with spaces": lambda f: write(f / "bitcoin.csv", HEADER.replace(",", " , "), HOUR_ROWS),
    "byte order mark": lambda f: write(f / "bitcoin.csv", "\ufeff" + HEADER, HOUR_ROWS),
    "newest first": lambda f: write(f / "bitcoin.csv", HEADER, HOUR_ROWS[::-1]),
    "milliseconds": lambda f: write(
        f / "bitcoin.csv", HEADER, [row.replace(",", "000,", 1) for row in HOUR_ROWS]
    ),
    "parquet": lambda f: _hour_table(f / "bitcoin.parquet", HOUR_ROWS),
    "parquet, newest first": lambda f: _hour_table(f / "bitcoin.parquet", HOUR_ROWS[::-1]),
}


@pytest.mark.parametrize("name", HOUR_FILES)
def test_every_file_of_hours_gives_the_same_hours_and_days(tmp_path: Path, name: str) -> None:
    found = read_file(HOUR_FILES[name](tmp_path), LAST)
    assert [start for start, _ in found.hours] == HOUR_STARTS
    assert [candle.close for _, candle in found.hours] == [100.5 + n for n in range(72)]
    first = found.hours[0][1]
    assert (first.open, first.high, first.low) == (100.0, 101.5, 99.0)
    assert (found.hour_gaps, found.set_aside) == (0, [])
    assert [(c.day.day, c.open, c.high, c.low, c.close) for c in found.candles] == [
        (1, 100.0, 124.5, 99.0, 123.5), (2, 124.0, 148.5, 123.0, 147.5), (3, 148.0, 172.5, 147.0, 171.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "named", "hours"),
    [
        (HOUR_ROWS[5], ["line 74: duplicate hour"], 72),
        (
            HOUR_ROWS[5].replace("105.5", "105.75"),
            ["line 7: two rows for one hour differ", "line 74: two rows for one hour differ"],
            71,
        ),
        (f"{HOUR_STARTS[5] + 1800},105,106.5,104,105.5,1", ["line 74: not on the full hour"], 72),
        (f"{HOUR_STARTS[-1] + 3600},1,2,0.5,,1", ["line 74: no close"], 72),
        (f"{HOUR_STARTS[-1] + 3600},1,0.9,0.5,1,1", ["line 74: high and low contradict open and close"], 72),
        ("soon,1,2,0.5,1,1", ["line 74: unreadable date"], 72),
        ("1999999999,1,2,0.5,1,1", ["line 74: day not closed yet"], 72),
    ],
)
def test_a_row_of_a_file_of_hours_is_named_with_its_line(
    tmp_path: Path, row: str, named: list[str], hours: int
) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*HOUR_ROWS, row]), LAST)
    assert [str(one).partition(" (")[0] for one in found.set_aside] == [f"a.csv {one}" for one in named]
    assert len(found.hours) == hours


def test_missing_hours_are_counted(tmp_path: Path) -> None:
    found = read_file(write(tmp_path / "a.csv", HEADER, [*HOUR_ROWS[:10], *HOUR_ROWS[13:]]), LAST)
    assert (found.hour_gaps, len(found.hours), found.gaps) == (3, 69, [])


def test_days_and_half_hours_are_no_hours(tmp_path: Path) -> None:
    assert read_file(write(tmp_path / "a.csv", HEADER, lines(ISO)), LAST).hours == []
    shifted = [row.replace(row.split(",")[0], str(int(row.split(",")[0]) + 1800), 1) for row in HOUR_ROWS]
    found = read_file(write(tmp_path / "b.csv", HEADER, shifted), LAST)
    assert (found.hours, found.set_aside) == ([], [])
    assert len(found.candles) == 3
