"""Read rows from candle files: CSV, Parquet, freqtrade's feather and JSON, CryptoDataDownload's CSV.

Every row is a mapping with the standard column names that the file has: `date`, `open`, `high`, `low`,
`close`, `volume` and `market_cap`. Volumes are amounts of money, not of coins.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SUFFIXES = (".csv", ".parquet", ".feather", ".json")
REQUIRED = ("date", "close")
# Standard name -> names that files use, in order of preference.
NAMES = {
    "date": ("date", "unix", "timestamp", "time", "datetime", "date_time", "day", "open_time", "snapped_at"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "price"),
    "volume": ("volume_usd", "total_volume", "quote_volume", "volume"),
    "market_cap": ("market_cap", "marketcap"),
}
FREQTRADE_COLUMNS = ("date", "open", "high", "low", "close", "volume")
# CryptoDataDownload names volumes by currency: `Volume BTC`, `Volume USDT`.
MONEY_VOLUME = re.compile(r"volume (usdt?|usdc|busd|eur|gbp|usd)")
# At most this many lines may precede the header; CryptoDataDownload puts its address there.
MAX_PREAMBLE_LINES = 5
# Coin ids of the tickers in names of files that are named after a pair.
COIN_OF_TICKER = {
    "ada": "cardano", "avax": "avalanche-2", "bch": "bitcoin-cash", "bnb": "binancecoin", "btc": "bitcoin",
    "doge": "dogecoin", "dot": "polkadot", "etc": "ethereum-classic", "eth": "ethereum", "link": "chainlink",
    "ltc": "litecoin", "shib": "shiba-inu", "sol": "solana", "trx": "tron", "uni": "uniswap",
    "xlm": "stellar", "xmr": "monero", "xrp": "ripple",
}  # fmt: skip
# freqtrade stores mark prices and funding rates beside candles of futures; NOT_TRADES matches those files.
FREQTRADE_FILE = re.compile(
    r"(?P<base>[A-Z0-9]+)_[A-Z0-9]+(?:_[A-Z0-9]+)?-(?:1d|1h|4h|[0-9]+m)(?:-(?:spot|futures))?"
)
NOT_TRADES = re.compile(r"[A-Z0-9]+_[A-Z0-9_]+-\w+-(?:mark|index|premiumIndex|funding_rate)")
# CoinGecko's download (`btc-usd-max.csv`) and Yahoo's (`BTC-USD.csv`).
PAIR_FILE = re.compile(r"(?P<base>[a-z0-9]+)-usd-max|(?P<other>[A-Z0-9]+)-USDT?")
DOWNLOAD_FILE = re.compile(r"[A-Za-z]+_(?P<base>[A-Z0-9]+?)(?:USDT|USDC|USD|EUR|GBP)_(?:d|1h|minute)")


# Exceptions that the readers raise for a damaged file. pyarrow's errors derive from several of these: for a
# compression or a type that it cannot read, from NotImplementedError.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    csv.Error,
)


class CandleFileError(ValueError):
    """A file of candles that cannot be read at all; the message names it and the fault."""


def coin_of_file(path: Path) -> str:
    """Return the coin id, in lower case, that a file is named after.

    Names of pairs in the styles of freqtrade, CryptoDataDownload, CoinGecko and Yahoo are parsed.
    """
    for pattern in (FREQTRADE_FILE, DOWNLOAD_FILE, PAIR_FILE):
        if found := pattern.fullmatch(path.stem):
            ticker = next(text for text in found.groups() if text).lower()
            return COIN_OF_TICKER.get(ticker, ticker)
    return path.stem.strip().lower()


def read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the line number and the content of each row; rows of binary files are numbered from 1.

    Raises:
        CandleFileError: The file cannot be read, or lacks a date or a close.
    """
    if NOT_TRADES.fullmatch(path.stem):
        raise CandleFileError(f"{path.name} holds mark prices or funding rates, not candles of trades")
    readers = {".csv": _csv_rows, ".json": _json_rows, ".parquet": _parquet_rows, ".feather": _feather_rows}
    try:
        yield from readers[path.suffix.lower()](path)
    except CandleFileError:
        raise
    except UNREADABLE as error:
        raise CandleFileError(f"{path.name} cannot be read: {error}") from error


def standard_columns(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Return standard name -> index of the columns that a file has.

    Raises:
        CandleFileError: There is no column for the date or the close.
    """
    plain = [str(name).strip().lower() for name in names]
    found = {
        standard: plain.index(name)
        for standard, known in NAMES.items()
        if (name := next((name for name in known if name in plain), None)) is not None
    }
    money = next((index for index, name in enumerate(plain) if MONEY_VOLUME.fullmatch(name)), None)
    if money is not None:
        found["volume"] = money
    if "unix" in plain:
        found["date"] = plain.index("unix")
    if lacking := [name for name in REQUIRED if name not in found]:
        headless = (
            "; its first line holds no names" if all(_is_number(name) for name in plain if name) else ""
        )
        raise CandleFileError(
            f"{path.name} lacks the column {', '.join(lacking)}{headless}; "
            "it needs date,open,high,low,close,volume_usd"
        )
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as binary:
        # A byte that is not valid text spoils only its own row.
        lines = iter(io.TextIOWrapper(binary, encoding=_encoding(binary.peek(2)), errors="replace"))
        header, number, delimiter = _header(lines)
        if header is None:
            raise CandleFileError(f"{path.name} is empty")
        columns = standard_columns(path, header)
        for count, line in enumerate(lines, number + 1):
            if not line.strip(f"{delimiter} \t\r\n"):
                continue
            cells = _cells(line, delimiter)
            yield count, {n: cells[i].strip() if i < len(cells) else None for n, i in columns.items()}


def _encoding(beginning: bytes) -> str:
    """Return the encoding by the byte order mark; UTF-8 without one."""
    return "utf-16" if beginning[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of a single line, so that a stray quote does not swallow the lines after it."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _header(lines: Iterator[str]) -> tuple[list[str] | None, int, str]:
    """Return cells, line number and delimiter of the header, which is the first line with several cells."""
    first: tuple[list[str], int, str] | None = None
    for number, line in zip(range(1, MAX_PREAMBLE_LINES + 1), lines, strict=False):
        delimiter = max(",;\t", key=line.count)
        cells = [cell.strip() for cell in _cells(line, delimiter)]
        first = first or (cells, number, delimiter)
        if len(cells) > 1:
            return cells, number, delimiter
    return first or (None, 0, ",")


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    document = json.loads(path.read_bytes())
    if not isinstance(document, list):
        raise CandleFileError(f"{path.name} must be a list of candles")
    objects = [row for row in document if isinstance(row, dict)]
    if objects:
        # Check the columns of all rows together: if one row lacks a column, only that row is bad.
        standard_columns(path, list(dict.fromkeys(name for row in objects for name in row)))
    for number, row in enumerate(document, 1):
        if isinstance(row, list):
            yield number, _in_money(dict(zip(FREQTRADE_COLUMNS, row, strict=False)))
        elif isinstance(row, dict):
            yield number, _standard_row(path, row)
        else:
            yield number, {}


def _standard_row(path: Path, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a JSON object with standard column names; empty if it has no date or no close."""
    try:
        columns = standard_columns(path, list(row))
    except CandleFileError:
        return {}
    values = list(row.values())
    return {name: values[index] for name, index in columns.items()}


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - an image that reads CSV alone has no pyarrow

    # Read as a single file: pyarrow's dataset reader refuses two columns of one name.
    with pq.ParquetFile(path) as file:
        yield from _arrow_rows(path, file.read(), money=True)


def _feather_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    from pyarrow import feather  # noqa: PLC0415 - as above

    # Feather is freqtrade's format, whose volumes are amounts of coins.
    yield from _arrow_rows(path, feather.read_table(path), money=False)


def _arrow_rows(path: Path, table: Any, *, money: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
    columns = standard_columns(path, table.column_names)
    # Select by index: a file may have two columns of one name.
    chosen = table.select(list(columns.values())).rename_columns(list(columns))
    number = 0
    for batch in _plain_moments(chosen).to_batches(max_chunksize=1000):
        rows: Iterable[dict[str, Any]] = batch.to_pylist()
        for row in rows:
            number += 1
            yield number, row if money else _in_money(row)


def _plain_moments(table: Any) -> Any:
    """Return a table with its timestamps as numbers, so that an impossible timestamp spoils only its row."""
    import pyarrow as pa  # noqa: PLC0415 - an image that reads CSV alone has no pyarrow

    place = table.column_names.index("date")
    kind = table.schema.field(place).type
    if not pa.types.is_timestamp(kind):
        return table
    moments = table.column(place).cast(pa.int64())
    # `parse_moment` finds the unit of a number by its size.
    return table.set_column(place, "date", moments)


def _in_money(row: dict[str, Any]) -> dict[str, Any]:
    """Convert the volume of a row from coins to money; None if it cannot be computed."""
    try:
        row["volume"] = float(row["volume"]) * float(row["close"])
    except (KeyError, TypeError, ValueError, OverflowError):
        row["volume"] = None
    return row
