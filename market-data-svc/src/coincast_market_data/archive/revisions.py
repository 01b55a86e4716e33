"""Revisions: files of a coin's candles as they were before they were replaced or dropped."""

from __future__ import annotations

from pathlib import Path


class Revisions:
    """The revisions of all coins, in the files `<currency>/<coin>/<UNIX seconds of the change>.parquet`.

    Args:
        root: The folder of the files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def times(self, coin: str, currency: str) -> list[int]:
        """Return when a coin's candles were changed, UNIX seconds, oldest first."""
        names = (path.stem for path in self._folder(coin, currency).glob("*.parquet"))
        return sorted(int(name) for name in names if name.isdigit())

    def new_path(self, coin: str, currency: str, at: float) -> Path:
        """Return the path for the candles before a change at `at` (UNIX seconds).

        If another change has that second already, a later second is used.
        """
        stamp = max([int(at), *(known + 1 for known in self.times(coin, currency)[-1:])])
        return self._folder(coin, currency) / f"{stamp}.parquet"

    def path_known_at(self, coin: str, currency: str, at: float) -> Path | None:
        """Return the file of the candles as they were at a moment; None if they have not changed since."""
        later = [stamp for stamp in self.times(coin, currency) if stamp > at]
        return self._folder(coin, currency) / f"{min(later)}.parquet" if later else None

    def _folder(self, coin: str, currency: str) -> Path:
        return self._root / currency / coin
