"""The sandbox's figures: candles read, days bridged, a market simulated."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_sandbox.simulation.brownian_bridge import day_path
from coincast_sandbox.simulation.candles import CandlesError, day_number, read_file, read_folder
from coincast_sandbox.simulation.coin_names import coin_names
from coincast_sandbox.simulation.generator import simulate

HEADER = "date,open,high,low,close,volume_usd\n"


@given(
    st.floats(1e-9, 1e5), st.floats(1, 3), st.tuples(st.floats(0, 1), st.floats(0, 1)), st.integers(0, 2**31)
)
def test_a_day_touches_its_four_figures_hourly_too(
    low: float, range_ratio: float, shares: tuple[float, float], seed: int
) -> None:
    high = low * range_ratio
    opened, close = (min(low + (high - low) * share, high) for share in shares)
    path = day_path(opened, high, low, close, np.random.default_rng(seed))
    hourly = path[::12]
    for points in (path, hourly):
        assert (points[0], points.max(), points.min(), points[-1]) == (opened, high, low, close)


def test_a_day_is_the_same_for_the_same_seed() -> None:
    first, second = (day_path(10, 12, 9, 11, np.random.default_rng([7, 1])) for _ in range(2))
    assert np.array_equal(first, second)


GOOD = "2025-01-01,1,2,0.5,1,0\n2025-01-02,1,2,0.5,1.5,7\n"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2025-01-03,1,2,0.5,NaN,0", "line 4: price not a number"),
        ("2025-01-03,1,0.9,0.5,1,0", "line 4: high and low contradict open and close"),
        ("yesterday,1,2,0.5,1,0", "line 4: unreadable date"),
        ("2205-01-03,1,2,0.5,1,0", "line 4: day not closed yet"),
        ("2025-01-02,1,2,0.5,1.5,7", "line 4: duplicate day"),
    ],
)
def test_a_row_that_is_set_aside_is_named_and_stops_no_other(tmp_path: Path, row: str, fault: str) -> None:
    (tmp_path / "bitcoin.csv").write_text(HEADER + GOOD + row + "\n2025-01-04,1,2,0.5,1.2,9\n")
    read = read_folder(tmp_path)
    assert f"bitcoin.csv {fault}" in {line.partition(" (")[0] for line in read.set_aside}
    candles = read.candles["bitcoin"]
    assert candles.close.tolist() == [1.0, 1.5, 1.5, 1.2], "the absent day repeats the close before it"
    assert candles.volume.tolist() == [0.0, 7.0, 0.0, 9.0]


def test_a_file_without_candles_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bitcoin.csv"
    file.write_text(HEADER + "2025-01-01,1,2,0.5,1,0\nsoon,1,2,0.5,1,0\n")
    with pytest.raises(
        CandlesError,
        match=r"bitcoin\.csv: needs at least two days of candles; not used: .*line 3: unreadable date",
    ):
        read_file(file)


def test_a_file_that_cannot_be_used_is_named_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "bitcoin.csv").write_text(HEADER + GOOD)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "one-day.csv").write_text(HEADER + "2025-01-01,1,2,0.5,1,0\n")
    read = read_folder(tmp_path)
    assert list(read.candles) == ["bitcoin"]
    assert [line.partition(" ")[0] for line in read.set_aside] == ["broken.parquet", "one-day.csv:"]
    (tmp_path / "bitcoin.csv").unlink()
    with pytest.raises(CandlesError, match=r"no usable candle file in .*broken\.parquet cannot be read"):
        read_folder(tmp_path)


def test_a_folder_without_candles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandlesError, match="no candle files"):
        read_folder(tmp_path)
    with pytest.raises(CandlesError, match="no such folder"):
        read_folder(tmp_path / "missing")


def test_a_longer_simulation_begins_with_the_shorter_one() -> None:
    coins = coin_names(30, seed=7)
    last = day_number(date(2025, 1, 1))
    short, long = simulate(coins, last, seed=7), simulate(coins, last + 100, seed=7)
    for coin_id, candles in short.items():
        assert np.array_equal(candles.close, long[coin_id].close[: len(candles.close)])


def test_the_simulated_market_moves_like_one() -> None:
    found = simulate(coin_names(60, seed=7), day_number(date(2025, 1, 1)), seed=7)
    bitcoin = np.diff(np.log(found["bitcoin"].close))
    others = [
        np.diff(np.log(c.close)) for i, c in found.items() if i not in {"bitcoin", "tether", "usd-coin"}
    ]
    correlations = [np.corrcoef(bitcoin[-len(r) :], r)[0, 1] for r in others if len(r) > 500]
    assert 0.2 < np.median(correlations) < 0.9
    squares = bitcoin**2
    clustering = np.corrcoef(squares[:-1], squares[1:])[0, 1]
    assert clustering > 0.02, "volatility must cluster"
    kurtosis = np.mean((bitcoin - bitcoin.mean()) ** 4) / np.var(bitcoin) ** 2
    assert kurtosis > 4, "jumps must fatten the tails"
    for candles in found.values():
        assert (candles.low <= np.minimum(candles.open, candles.close)).all()
        assert (candles.high >= np.maximum(candles.open, candles.close)).all()


def test_there_are_as_many_names_as_requested() -> None:
    coins = coin_names(300, seed=7)
    assert len({coin.id for coin in coins}) == len({coin.symbol for coin in coins}) == 300
    assert coins[0].id == "bitcoin"
