"""The scenario library: moves of each coin after past days, in units of the volatility forecast then."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from coincast_modelkit.candles import Candles, Dates, Floats, Panel
from coincast_modelkit.scenarios.record import RiskRecord
from coincast_modelkit.scenarios.scales import day_scales, horizon_scales

# The longest path, in days; the accuracy of longer paths was not measured.
MAX_DAYS = 14
# Number of past origins in a simulation, the newest ones. Neither shorter (from 250) nor longer windows were
# better.
WINDOW_ORIGINS = 1000
# A coin with fewer closed days is refused.
MIN_OWN_DAYS = 120
# A library needs at least this many origins: fewer cannot give an estimate of a tail.
MIN_ORIGINS = 100
SEED = 20
FILE_FORMAT = 1

Singles = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


class MoveLibrary(ABC):
    """Standardised moves after past origins; a simulation uses the newest of them."""

    coin_ids: tuple[str, ...]
    record: RiskRecord | None

    @property
    @abstractmethod
    def moves(self) -> StandardizedMoves:
        """Return the standardised moves of every origin with MAX_DAYS later days; absent coins are filled."""

    @property
    def last_origin(self) -> dt.date | None:
        """Return the newest day with MAX_DAYS known days after it; None if there is none."""
        days = self.moves.origins
        return None if not len(days) else days[-1].astype(object)

    def window(self, as_of: dt.date | np.datetime64, origins: int = WINDOW_ORIGINS) -> ScenarioWindow:
        """Return the newest origins whose paths had ended by a given day.

        Args:
            as_of: The day at whose close the forecast is made. Only origins at least MAX_DAYS days before it
                are used, since the outcomes of later ones were not known.
            origins: Maximum number of origins.

        Raises:
            ValueError: Fewer than MIN_ORIGINS are known.
        """
        last = np.asarray(as_of, dtype="datetime64[D]") - np.timedelta64(MAX_DAYS, "D")
        stop = int(np.searchsorted(self.moves.origins, last, side="right"))
        start = max(0, stop - origins)
        if stop - start < MIN_ORIGINS:
            raise ValueError(
                f"the scenario library holds {stop - start} past days before {last}, and {MIN_ORIGINS} are "
                "needed; train on a longer history"
            )
        return ScenarioWindow(self.coin_ids, self.moves.rows(slice(start, stop)), self.record)


@dataclass(frozen=True, eq=False)
class ScenarioLibrary(MoveLibrary):
    """Daily moves of n coins on D days, and the scales that were forecast on those days at A anchor horizons.

    Arrays have single precision in memory too, so that a library gives the same paths before and after it is
    saved.

    Attributes:
        coin_ids: The coins, (n,).
        days: Consecutive UTC days, datetime64[D], (D,).
        returns: Log return of each day from the close before, (D, n); NaN where a coin did not trade.
        highs: Log of high over close, at least 0, (D, n); NaN where a day has no range.
        lows: Log of close over low, at least 0, (D, n); NaN where a day has no range.
        anchors: Horizons of the scales in days, (A,).
        scales: Scale of the log return to each anchor, forecast at the close of the day, (D, n, A);
            NaN where there was no forecast.
        record: Out-of-sample accuracy of statements from such a library; None if it was not measured.
    """

    coin_ids: tuple[str, ...]
    days: Dates
    returns: Singles
    highs: Singles
    lows: Singles
    anchors: tuple[int, ...]
    scales: Singles
    record: RiskRecord | None = None

    def __post_init__(self) -> None:
        shape = (len(self.days), len(self.coin_ids))
        for name in ("returns", "highs", "lows"):
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"a scenario library's {name} must be {shape}, got {getattr(self, name).shape}"
                )
        if self.scales.shape != (*shape, len(self.anchors)):
            raise ValueError(f"a scenario library's scales must be {(*shape, len(self.anchors))}")
        if len(self.days) > 1 and not np.all(np.diff(self.days) == np.timedelta64(1, "D")):
            raise ValueError("a scenario library's days must be consecutive")

    @cached_property
    def moves(self) -> StandardizedMoves:
        """Return the standardised moves of every origin with MAX_DAYS later days; absent coins are filled."""
        return _borrowed(_standardised(self), self.coin_ids)

    def to_bytes(self) -> bytes:
        """Return the library as npz (plain arrays); the same library gives the same bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "format": np.array(FILE_FORMAT),
            "coin_ids": np.array(self.coin_ids, dtype=np.str_),
            "first_day": self.days[:1].astype(np.int64),
            "returns": self.returns,
            "highs": self.highs,
            "lows": self.lows,
            "anchors": np.array(self.anchors, dtype=np.int64),
            "scales": self.scales,
        }
        return write_arrays(arrays, self.record)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            ValueError: The content is not a scenario library of this format.
        """
        try:
            arrays = read_arrays(content)
            stored_format = int(arrays["format"])
            returns = arrays["returns"]
            days = np.arange(len(returns)) + arrays["first_day"]
            library = cls(
                coin_ids=tuple(str(c) for c in arrays["coin_ids"]),
                days=days.astype("datetime64[D]"),
                returns=returns,
                highs=arrays["highs"],
                lows=arrays["lows"],
                anchors=tuple(int(a) for a in arrays["anchors"]),
                scales=arrays["scales"],
                record=RiskRecord.from_json(str(arrays["record"])) if "record" in arrays else None,
            )
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(f"the scenario library cannot be read: {error!r}") from error
        if stored_format != FILE_FORMAT:
            raise ValueError(
                f"the scenario library has format {stored_format}, this build reads {FILE_FORMAT}; retrain it"
            )
        return library

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 over all arrays."""
        found = hashlib.sha256("\n".join(self.coin_ids).encode())
        found.update(repr((self.anchors, str(self.days[:1]))).encode())
        for name in ("returns", "highs", "lows", "scales"):
            found.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return found.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class StandardizedMoves:
    """Standardised moves of n coins over H days after each of S origins; arrays are (S, n, H).

    Attributes:
        origins: The days at whose close the moves begin, (S,).
        closes: Log return from the origin to each day's close, divided by the scale forecast for that
            horizon.
        highs: Distance from the higher of the day's and the previous close to the day's high, divided by the
            scale of that day.
        lows: Distance from the lower of the two closes to the day's low, divided by the scale of that day.
        borrowed: Whether the moves are those of other coins, (S, n).
        ranged: Whether day ranges are known, the coin's own or those of another coin, (S, n).
    """

    origins: Dates
    closes: Singles
    highs: Singles
    lows: Singles
    borrowed: Flags
    ranged: Flags

    def rows(self, chosen: slice) -> StandardizedMoves:
        """Return the moves of a slice of the origins."""
        return StandardizedMoves(*(getattr(self, name)[chosen] for name in StandardizedMoves.__slots__))


@dataclass(frozen=True, eq=False)
class ScenarioWindow:
    """The origins of one simulation; each of them gives one joint path."""

    coin_ids: tuple[str, ...]
    moves: StandardizedMoves
    record: RiskRecord | None = None

    def __len__(self) -> int:
        return len(self.moves.origins)

    @property
    def origins(self) -> Dates:
        """Return the past days on which the paths begin, (S,)."""
        return self.moves.origins

    def columns(self, coin_ids: Sequence[str]) -> Columns:
        """Return the columns of some coins; a coin that is not in the library borrows the moves of others."""
        known = {coin: i for i, coin in enumerate(self.coin_ids)}
        if all(coin in known for coin in coin_ids):
            own = self._columns
            at = [known[coin] for coin in coin_ids]
            if at == list(range(len(self.coin_ids))):
                return own
            return Columns(*(getattr(own, name)[at] for name in Columns.__slots__))
        return _columns(self._with(coin_ids))

    def _with(self, coin_ids: Sequence[str]) -> StandardizedMoves:
        """Return the moves of the given coins; those of unknown coins are borrowed from known ones."""
        known = {coin: i for i, coin in enumerate(self.coin_ids)}
        unknown = [coin for coin in coin_ids if coin not in known]
        m, extra = self.moves, len(unknown)
        absent = np.full((len(m.origins), extra, m.closes.shape[2]), np.nan, dtype=np.float32)
        wide = StandardizedMoves(
            origins=m.origins,
            closes=np.concatenate([m.closes, absent], axis=1),
            highs=np.concatenate([m.highs, absent], axis=1),
            lows=np.concatenate([m.lows, absent], axis=1),
            borrowed=np.concatenate([m.borrowed, np.ones((len(m.origins), extra), dtype=bool)], axis=1),
            ranged=np.concatenate([m.ranged, np.zeros((len(m.origins), extra), dtype=bool)], axis=1),
        )
        filled = _borrowed(wide, (*self.coin_ids, *unknown))
        names = {coin: i for i, coin in enumerate((*self.coin_ids, *unknown))}
        at = [names[coin] for coin in coin_ids]
        return StandardizedMoves(
            filled.origins, *(getattr(filled, name)[:, at] for name in StandardizedMoves.__slots__[1:])
        )

    @cached_property
    def _columns(self) -> Columns:
        return _columns(self.moves)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Some coins of a window, arranged by coin; ranks, highs and lows are (n, H, S).

    ranks are those of the standardised closes among the S origins, 0 for the lowest. borrowed_share (n,) is
    the share of origins on which the coin's moves are those of other coins. ranged (n,) says whether day
    ranges are known on every origin.
    """

    ranks: Ranks
    highs: Singles
    lows: Singles
    borrowed_share: Floats
    ranged: Flags


def write_arrays(arrays: dict[str, npt.NDArray[Any]], record: RiskRecord | None) -> bytes:
    """Return an npz file with the arrays and the record; the same content gives the same bytes."""
    if record is not None:
        arrays = {**arrays, "record": np.array(record.to_json())}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_arrays(content: bytes) -> dict[str, Any]:
    """Return the arrays of an npz file.

    Raises:
        OSError, ValueError, EOFError, BadZipFile: The content is not such a file.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def build_library(
    panel: Panel,
    coin_ids: Sequence[str],
    origins: Dates,
    anchors: Sequence[int],
    scales: Mapping[int, Floats],
    *,
    keep_origins: int | None = WINDOW_ORIGINS,
) -> ScenarioLibrary | None:
    """Build a library from candles and the scales that were forecast out of sample.

    Args:
        panel: Candles by coin, up to at least MAX_DAYS after the last origin.
        coin_ids: Coin of each forecast, (N,).
        origins: Day at whose close each forecast was made, (N,).
        anchors: Horizons of the scales in days, increasing.
        scales: Scale of each forecast, (N,) for each anchor; NaN where there was no forecast.
        keep_origins: Number of origins with a complete path to keep, the newest ones; None keeps all.

    Returns:
        The library, or None if fewer than MIN_ORIGINS origins have a complete path.
    """
    names = tuple(coin for coin in panel if len(panel[coin]))
    if not names or not len(origins):
        return None
    first = min(panel[c].dates[0] for c in names)
    last = max(panel[c].dates[-1] for c in names)
    days = np.arange(first, last + np.timedelta64(1, "D"))
    daily = [_daily(panel[c].on_every_day(), days) for c in names]
    returns, highs, lows = (np.stack([part[i] for part in daily], axis=1) for i in range(3))
    table = np.full((len(days), len(names), len(anchors)), np.nan, dtype=np.float32)
    column = {coin: i for i, coin in enumerate(names)}
    at_coin = np.array([column.get(str(c), -1) for c in coin_ids])
    at_day = (np.asarray(origins, dtype="datetime64[D]") - first).astype(np.int64)
    good = (at_coin >= 0) & (at_day >= 0) & (at_day < len(days))
    for j, anchor in enumerate(anchors):
        table[at_day[good], at_coin[good], j] = scales[anchor][good]
    whole = ScenarioLibrary(
        coin_ids=names,
        days=days,
        returns=returns,
        highs=highs,
        lows=lows,
        anchors=tuple(anchors),
        scales=table,
    )
    known = whole.moves.origins
    if len(known) < MIN_ORIGINS:
        return None
    if keep_origins is None or len(known) <= keep_origins:
        begin = int((known[0] - first).astype(np.int64))
    else:
        begin = int((known[-keep_origins] - first).astype(np.int64))
    end = int((known[-1] - first).astype(np.int64)) + MAX_DAYS + 1
    cut = slice(begin, end)
    return ScenarioLibrary(
        coin_ids=names,
        days=days[cut],
        returns=returns[cut],
        highs=highs[cut],
        lows=lows[cut],
        anchors=tuple(anchors),
        scales=table[cut],
    )


def _daily(candles: Candles, days: Dates) -> tuple[Singles, Singles, Singles]:
    """Return one coin's log return, log(high / close) and log(close / low) by calendar day, (D,) each."""
    out = np.full((3, len(days)), np.nan, dtype=np.float32)
    begin = int((candles.dates[0] - days[0]).astype(np.int64))
    rows = slice(begin, begin + len(candles))
    logs = np.log(candles.close)
    with np.errstate(invalid="ignore", divide="ignore"):
        high = np.log(np.where(candles.high > 0, candles.high, np.nan)) - logs
        low = logs - np.log(np.where(candles.low > 0, candles.low, np.nan))
    out[0, rows] = np.concatenate([[np.nan], np.diff(logs)])
    # A close outside its day's range is still valid, so the range is widened to include it.
    out[1, rows], out[2, rows] = np.maximum(high, 0.0), np.maximum(low, 0.0)
    return out[0], out[1], out[2]


def _standardised(library: ScenarioLibrary) -> StandardizedMoves:
    """Return the moves after every origin on which a coin had a forecast and MAX_DAYS known days follow."""
    n, count = len(library.coin_ids), max(len(library.days) - MAX_DAYS, 0)
    ahead = np.arange(count)[:, None] + np.arange(1, MAX_DAYS + 1)
    closes, highs, lows = (np.empty((count, n, MAX_DAYS), dtype=np.float32) for _ in range(3))
    here, ranged = np.zeros((count, n), dtype=bool), np.zeros((count, n), dtype=bool)
    # One coin at a time, so that 250 coins need no more memory than their results.
    for i in range(n):
        follow, up, down = (a[:, i][ahead] for a in (library.returns, library.highs, library.lows))
        follow = follow.astype(np.float64)
        scales = horizon_scales(library.anchors, library.scales[:count, i].astype(np.float64), MAX_DAYS)
        own = np.isfinite(scales).all(axis=1) & (scales[:, 0] > 0) & np.isfinite(follow).all(axis=1)
        safe = np.where(own[:, None], scales, 1.0)
        steps = day_scales(safe)
        # A single day without a range must not discard the ranges of the other days, so its range counts as
        # zero.
        known = own & (np.isfinite(up) & np.isfinite(down)).any(axis=1)
        above = np.nan_to_num(np.maximum(0.0, up + np.minimum(0.0, follow)) / steps)
        below = np.nan_to_num(np.maximum(0.0, down - np.maximum(0.0, follow)) / steps)
        closes[:, i] = np.where(own[:, None], np.cumsum(follow, axis=1) / safe, np.nan)
        highs[:, i] = np.where(known[:, None], above, np.nan)
        lows[:, i] = np.where(known[:, None], below, np.nan)
        here[:, i], ranged[:, i] = own, known
    keep = here.any(axis=1)
    return StandardizedMoves(
        origins=library.days[:count][keep],
        closes=closes[keep],
        highs=highs[keep],
        lows=lows[keep],
        borrowed=~here[keep],
        ranged=ranged[keep],
    )


def _borrowed(moves: StandardizedMoves, coin_ids: Sequence[str]) -> StandardizedMoves:
    """Fill the moves of absent coins from those of present ones.

    A filled close is the mean of the coins present at the same origin, plus the distance of a random coin
    from the mean at a random earlier origin. Filled highs and lows are those of a random coin with known
    ranges at the same origin. The random choices depend only on the coin and the day, so that the old days of
    a library keep their values when it grows.
    """
    present = np.asarray(np.isfinite(moves.closes).all(axis=2))
    if present.all() and moves.ranged.all():
        return moves
    closes, highs, lows = moves.closes.copy(), moves.highs.copy(), moves.lows.copy()
    ranged = moves.ranged.copy()
    count = present.sum(axis=1)
    total = np.where(present[..., None], moves.closes, 0.0).sum(axis=1)
    mean = total / np.maximum(count, 1)[:, None]
    numbers = moves.origins.astype(np.int64)
    for i, coin in enumerate(coin_ids):
        missing = np.flatnonzero(~present[:, i])
        unranged = np.flatnonzero(~moves.ranged[:, i])
        if not len(missing) and not len(unranged):
            continue
        draws = _draws(coin, numbers)
        if len(missing):
            # The first origin has no earlier one and uses itself.
            earlier = (draws[0, missing] * np.maximum(missing, 1)).astype(np.int64)
            other = _pick(present[earlier], draws[1, missing])
            closes[missing, i] = mean[missing] + moves.closes[earlier, other] - mean[earlier]
        lenders = moves.ranged[unranged]
        some = lenders.any(axis=1)
        at, other = unranged[some], _pick(lenders[some], draws[2, unranged[some]])
        highs[at, i], lows[at, i] = moves.highs[at, other], moves.lows[at, other]
        ranged[at, i] = True
        none = unranged[~some]
        highs[none, i], lows[none, i] = 0.0, 0.0
    return StandardizedMoves(
        origins=moves.origins, closes=closes, highs=highs, lows=lows, borrowed=moves.borrowed, ranged=ranged
    )


def _pick(allowed: Flags, draws: Floats) -> npt.NDArray[np.int64]:
    """Return the index of one allowed column per row (m,) of (m, n), chosen by uniform draws (m,)."""
    order = np.cumsum(allowed, axis=1)
    wanted = np.floor(draws * order[:, -1]).astype(np.int64) + 1
    return np.asarray((order >= wanted[:, None]).argmax(axis=1), dtype=np.int64)


def _draws(coin: str, day_numbers: npt.NDArray[np.int64]) -> Floats:
    """Return three uniform draws for a coin on each day, (3, S); they are the same in every library."""
    rng = np.random.default_rng([SEED, zlib.crc32(coin.encode())])
    return np.asarray(rng.random((int(day_numbers.max(initial=0)) + 1, 3))[day_numbers].T)


def _columns(moves: StandardizedMoves) -> Columns:
    by_coin = np.ascontiguousarray(moves.closes.transpose(1, 2, 0))
    order = np.argsort(by_coin, axis=2, kind="stable")
    ranks = np.empty(order.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[2], dtype=np.int32)[None, None], axis=2)
    return Columns(
        ranks=ranks,
        highs=np.ascontiguousarray(moves.highs.transpose(1, 2, 0)),
        lows=np.ascontiguousarray(moves.lows.transpose(1, 2, 0)),
        borrowed_share=moves.borrowed.mean(axis=0),
        ranged=np.asarray(moves.ranged.all(axis=0)),
    )
