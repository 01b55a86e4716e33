"""Where the archive keeps a coin's candles as they were before they were replaced or dropped."""

from __future__ import annotations

from pathlib import Path


class Revisions:
    """Files of former candles, `<coin>/<UNIX seconds of the change>.parquet` in a folder for each currency.

    Args:
        root: The folder of all currencies.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def times(self, coin: str, currency: str) -> list[int]:
        """Return when a coin's candles were changed, UNIX seconds, oldest first."""
        names = (path.stem for path in self._folder(coin, currency).glob("*.parquet"))
        return sorted(int(name) for name in names if name.isdigit())

    def new_path(self, coin: str, currency: str, at: float) -> Path:
        """Return where the candles before a change at `at` (UNIX seconds) are to be written.

        Two changes within a second get two names.
        """
        stamp = max([int(at), *(known + 1 for known in self.times(coin, currency)[-1:])])
        return self._folder(coin, currency) / f"{stamp}.parquet"

    def path_known_at(self, coin: str, currency: str, at: float) -> Path | None:
        """Return the file of the candles as they were at a moment; None where they were not changed since."""
        later = [stamp for stamp in self.times(coin, currency) if stamp > at]
        return self._folder(coin, currency) / f"{min(later)}.parquet" if later else None

    def _folder(self, coin: str, currency: str) -> Path:
        return self._root / currency / coin
