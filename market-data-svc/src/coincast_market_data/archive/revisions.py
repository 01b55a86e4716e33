"""Revisions: files of a coin's candles as they were before they were replaced or dropped."""

from __future__ import annotations

import re
from pathlib import Path

# UNIX seconds up to the year 2286; other names are no revisions.
STAMP = re.compile(r"[0-9]{1,10}")


class Revisions:
    """The revisions of all coins, in the files `<currency>/<coin>/<UNIX seconds of the change>.parquet`.

    Args:
        root: The folder of the files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def times(self, coin: str, currency: str) -> list[int]:
        """Return when a coin's candles were changed, UNIX seconds, oldest first; skip other entries."""
        files = self._folder(coin, currency).glob("*.parquet")
        return sorted(int(path.stem) for path in files if STAMP.fullmatch(path.stem) and path.is_file())

    def new_path(self, coin: str, currency: str, at: float) -> Path:
        """Return the path for the candles before a change at `at` (UNIX seconds).

        If another change has that second already, a later second is used.
        """
        stamp = max([int(at), *(known + 1 for known in self.times(coin, currency)[-1:])])
        return self._folder(coin, currency) / f"{stamp}.parquet"

    def paths_known_at(self, coin: str, currency: str, at: float) -> list[Path]:
        """Return the files of the candles as they were at a moment or later, oldest first.

        The first one has the candles of the moment. Where it cannot be read, the next one has those that come
        closest. There is none if the candles have not changed since.
        """
        folder = self._folder(coin, currency)
        return [folder / f"{stamp}.parquet" for stamp in self.times(coin, currency) if stamp > at]

    def _folder(self, coin: str, currency: str) -> Path:
        return self._root / currency / coin
