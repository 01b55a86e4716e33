"""A scenario library of ranks: the order of the moves of past days, and the ranges of the days.

A simulation needs only these: its closes are quantiles of today's forecast in the order of the past days, and
its highs and lows lie as far beyond the closes as on those days, in units of the day's scale. The library
holds no price, return or volatility, so it can be distributed even if its candles may not be copied.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Dates
from coincast_modelkit.scenarios.library import (
    MAX_DAYS,
    Flags,
    MoveLibrary,
    ScenarioLibrary,
    StandardizedMoves,
    read_arrays,
    write_arrays,
)
from coincast_modelkit.scenarios.record import RiskRecord

RANK_FORMAT = 2
# Ranges are stored in steps of this share of a day's scale. At a scale of 3 % a day, a step is about 0.023 %.
EXCURSION_STEP = 1 / 128

Counts = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class RankLibrary(MoveLibrary):
    """Ranks and ranges of n coins over MAX_DAYS days after each of S origins; arrays are (S, n, MAX_DAYS).

    Attributes:
        coin_ids: The coins, (n,).
        origins: The days at whose close the moves begin, datetime64[D], (S,).
        ranks: Rank among the origins, 0 for the lowest, of the move to each day's close in units of the
            volatility that was forecast for it.
        highs: Distance from the higher of the day's and the previous close to the day's high, in steps of
            EXCURSION_STEP of the day's scale.
        lows: Distance from the lower of the two closes to the day's low, in the same steps.
        borrowed: Whether the moves are those of other coins, (S, n).
        ranged: Whether the day ranges are known, (S, n).
        record: Out-of-sample accuracy of statements from such a library; None if it was not measured.
    """

    coin_ids: tuple[str, ...]
    origins: Dates
    ranks: Counts
    highs: Counts
    lows: Counts
    borrowed: Flags
    ranged: Flags
    record: RiskRecord | None = None

    def __post_init__(self) -> None:
        shape = (len(self.origins), len(self.coin_ids))
        for name in ("ranks", "highs", "lows"):
            if getattr(self, name).shape != (*shape, MAX_DAYS):
                raise ValueError(f"a rank library's {name} must be {(*shape, MAX_DAYS)}")
        for name in ("borrowed", "ranged"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"a rank library's {name} must be {shape}")
        if np.any(np.diff(self.origins) <= np.timedelta64(0, "D")):
            raise ValueError("a rank library's origins must increase")
        if self.ranks.max(initial=0) >= max(len(self.origins), 1):
            raise ValueError("a rank library's ranks must be below the number of its origins")

    @classmethod
    def from_library(cls, library: ScenarioLibrary) -> Self:
        """Return the rank library of a scenario library."""
        moves = library.moves
        order = np.argsort(moves.closes, axis=0, kind="stable")
        ranks = np.empty(order.shape, dtype=np.uint16)
        numbers = np.arange(len(order), dtype=np.uint16)[:, None, None]
        np.put_along_axis(ranks, order, np.broadcast_to(numbers, order.shape), axis=0)
        return cls(
            coin_ids=library.coin_ids,
            origins=moves.origins,
            ranks=ranks,
            highs=_steps(moves.highs),
            lows=_steps(moves.lows),
            borrowed=moves.borrowed,
            ranged=moves.ranged,
            record=library.record,
        )

    @cached_property
    def moves(self) -> StandardizedMoves:
        """Return moves with the ranks of the library and the sizes of a normal distribution.

        A simulation uses only the ranks; the sizes matter only for coins that borrow moves.
        """
        from scipy.special import ndtri  # noqa: PLC0415 - slow to import, and only risk answers use it

        levels = (self.ranks.astype(np.float64) + 0.5) / max(len(self.origins), 1)
        return StandardizedMoves(
            origins=self.origins,
            closes=ndtri(levels).astype(np.float32),
            highs=(self.highs * EXCURSION_STEP).astype(np.float32),
            lows=(self.lows * EXCURSION_STEP).astype(np.float32),
            borrowed=self.borrowed,
            ranged=self.ranged,
        )

    def to_bytes(self) -> bytes:
        """Return the library as npz (plain arrays); the same library gives the same bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "format": np.array(RANK_FORMAT),
            "coin_ids": np.array(self.coin_ids, dtype=np.str_),
            "origins": self.origins.astype("datetime64[D]").astype(np.int64),
            "ranks": self.ranks,
            "highs": self.highs,
            "lows": self.lows,
            "borrowed": self.borrowed,
            "ranged": self.ranged,
        }
        return write_arrays(arrays, self.record)

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Restore a library from the arrays of `to_bytes`. Raises KeyError, TypeError or ValueError."""
        return cls(
            coin_ids=tuple(str(c) for c in arrays["coin_ids"]),
            origins=arrays["origins"].astype("datetime64[D]"),
            ranks=arrays["ranks"].astype(np.uint16),
            highs=arrays["highs"].astype(np.uint16),
            lows=arrays["lows"].astype(np.uint16),
            borrowed=arrays["borrowed"].astype(bool),
            ranged=arrays["ranged"].astype(bool),
            record=RiskRecord.from_json(str(arrays["record"])) if "record" in arrays else None,
        )


def read_library(content: bytes) -> MoveLibrary:
    """Parse a scenario library or a rank library.

    Raises:
        ValueError: The content is not a library of a known format.
    """
    try:
        arrays = read_arrays(content)
        if int(arrays["format"]) == RANK_FORMAT:
            return RankLibrary.from_arrays(arrays)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"the scenario library cannot be read: {error!r}") from error
    return ScenarioLibrary.from_bytes(content)


def _steps(excursions: npt.NDArray[np.float32]) -> Counts:
    most = np.iinfo(np.uint16).max
    return np.minimum(np.round(excursions / EXCURSION_STEP), most).astype(np.uint16)
