"""Submits candles to the process that writes the archive: a folder in its inbox, moved there as a whole."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from coincast_market_data.archive.parquet_files import write_candles
from coincast_market_data.domain import Candle

INBOX = ".inbox"
ORDER = "order.json"


def submit_files(root: Path, files: Sequence[Path], currency: str) -> Path:
    """Copy a user's files into the inbox.

    Args:
        root: Folder of the archive.
        files: The files to import.
        currency: The currency of their prices.

    Returns:
        The folder of the order; the report is written beside its files.
    """

    def fill(folder: Path) -> None:
        for path in files:
            shutil.copyfile(path, folder / path.name)

    return _drop(root, currency, fill, wants_report=True)


def submit_candles(root: Path, coin: str, currency: str, candles: Sequence[Candle]) -> None:
    """Submit one coin's candles to the writer, without a report.

    Args:
        root: Folder of the archive.
        coin: Canonical id.
        currency: Canonical code.
        candles: Candles in order of days.
    """
    _drop(
        root, currency, lambda folder: write_candles(folder / f"{coin}.parquet", candles), wants_report=False
    )


def _drop(root: Path, currency: str, fill: Callable[[Path], None], *, wants_report: bool) -> Path:
    inbox = root / INBOX
    inbox.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=inbox, prefix=".new-"))
    try:
        fill(temporary)
        (temporary / ORDER).write_bytes(orjson.dumps({"currency": currency, "report": wants_report}))
        temporary.chmod(0o755)
        return temporary.rename(inbox / uuid.uuid4().hex)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
