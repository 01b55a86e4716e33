"""A scenario library of ranks: the order of past days, and how far their ranges reached beyond their closes.

A simulation needs no more: closes take today's quantiles in the order of the past days, and highs and lows
lie as far beyond them as they did, in units of the day's scale. It holds no price, return or volatility, so
it can be shipped where the candles that it was made from may not be copied.
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
# Ranges are stored in steps of this share of a day's scale: at 3 % a day that is a fortieth of a percent.
EXCURSION_STEP = 1 / 128

Counts = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class RankLibrary(MoveLibrary):
    """Ranks and ranges of n coins over MAX_DAYS days after each of S origins; arrays are (S, n, MAX_DAYS).

    Attributes:
        coin_ids: The coins, (n,).
        origins: The days on whose close the moves begin, datetime64[D], (S,).
        ranks: Rank of the move to each day's close among the origins, 0 the lowest, where moves are in units
            of the volatility that was forecast for them.
        highs: How far each day's high lay above both of its closes, in steps of EXCURSION_STEP of its scale.
        lows: How far each day's low lay below both of its closes, likewise.
        borrowed: Whether the coin's moves are not its own, (S, n).
        ranged: Whether the day ranges are known, (S, n).
        record: How statements from such a library did on past days; None where it was not measured.
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
        """Return what a simulation needs of a library."""
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

        Sizes matter only where another coin borrows them, since a simulation takes today's quantiles by rank.
        """
        from scipy.special import ndtri  # noqa: PLC0415 - slow to import, and only answers about risk use it

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
        """Return the library of the arrays of `to_bytes`. Raises KeyError, TypeError or ValueError."""
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
    """Read a library of either form.

    Raises:
        ValueError: If the content is not a scenario library of a known format.
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
