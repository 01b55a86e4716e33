"""Revisions: files of a coin's candles as they were before they were replaced or dropped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from coincast_chassis.plain_files import StrayLog

C = TypeVar("C")

# UNIX seconds up to the year 2286; other names are no revisions.
STAMP = re.compile(r"[0-9]{1,10}")


class UnreadableArchive(Exception):  # noqa: N818 - the name describes the file
    """A file of the archive exists but cannot be read as candles."""


@dataclass(frozen=True, slots=True)
class PastCandles(Generic[C]):
    """Candles as they were known at a moment, as far as the files from before later changes can be read.

    `undone` are the changes after the moment that are left out, `included` those that are not, since the
    file from before them cannot be read; both UNIX seconds, oldest first.
    """

    candles: Sequence[C]
    undone: Sequence[int]
    included: Sequence[int]


class Revisions:
    """The revisions of all coins, in the files `<currency>/<coin>/<UNIX seconds of the change>.parquet`.

    Args:
        root: The folder of the files.
        strays: Logs the files that cannot be read.
    """

    def __init__(self, root: Path, strays: StrayLog) -> None:
        self._root = root
        self._strays = strays

    def times(self, coin: str, currency: str) -> list[int]:
        """Return when a coin's candles were changed, UNIX seconds, oldest first; skip other names."""
        entries = self._folder(coin, currency).glob("*.parquet")
        return sorted(int(path.stem) for path in entries if STAMP.fullmatch(path.stem))

    def new_path(self, coin: str, currency: str, at: float) -> Path:
        """Return the path for the candles before a change at `at` (UNIX seconds).

        If another change has that second already, a later second is used.
        """
        stamp = max([int(at), *(known + 1 for known in self.times(coin, currency)[-1:])])
        return self._folder(coin, currency) / f"{stamp}.parquet"

    def read_known_at(
        self,
        coin: str,
        currency: str,
        at: float,
        *,
        read: Callable[[Path], Sequence[C]],
        newest: Sequence[C],
    ) -> PastCandles[C]:
        """Return the candles as they were before the changes after a moment.

        They are in the oldest file of a later change. Where it cannot be read, the next one has those that
        come closest, and so on to the newest candles.

        Args:
            coin: The canonical id.
            currency: The canonical code.
            at: The moment, UNIX seconds.
            read: Reads one file; raises `UnreadableArchive`.
            newest: The candles after all changes.
        """
        changes = [stamp for stamp in self.times(coin, currency) if stamp > at]
        for position, stamp in enumerate(changes):
            path = self._folder(coin, currency) / f"{stamp}.parquet"
            try:
                candles, reason = read(path), "it has no candles"
            except UnreadableArchive as error:
                candles, reason = (), str(error)
            # A history without candles is never changed, so an empty or missing file has lost them.
            if candles:
                return PastCandles(candles, changes[position:], changes[:position])
            self._strays.name(path, reason)
        return PastCandles(newest, [], changes)

    def _folder(self, coin: str, currency: str) -> Path:
        return self._root / currency / coin
