"""Compare the losses of each coin beyond its 99 % value at risk with the expected shortfall.

`python bench/study_bitcoin_tail.py [DATA]`.

For each year, a volatility line over all coins is fitted on the days before it. Value at risk and expected
shortfall of the year are estimated from the residuals of that line. The choices differ in the residuals: of
all coins (the pool), of the coin itself, or of the coin itself shrunk towards the pool; and of all years
before or of the last few. The choice is made on 2018 to 2021; 2022 to 2025 test it.

No trained version is needed, so the figures are near those of `make evaluate RISK=1`, not equal to them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from coincast_training.evaluation.csv_loader import read_folder
from coincast_training.trainers.time_window import Window, line_of
from coincast_training.trainers.training_table import Rows, Table, choose_spec

DATA = Path(os.environ.get("COINCAST_DATA", Path(__file__).resolve().parents[2] / "shared/data/daily"))
LEVEL = 0.01
DESIGN, TEST = range(2018, 2022), range(2022, 2026)
# By name: the weight of the pool, as a number of rows beside the coin's own rows (infinity takes the pool
# alone, 0 the coin alone), and the number of years before that are used.
CHOICES: dict[str, tuple[float, int]] = {
    "pool": (np.inf, 100),
    "pool, 4 years": (np.inf, 4),
    "pool, 2 years": (np.inf, 2),
    "own and pool": (1000.0, 100),
    "own": (0.0, 100),
    "own, 4 years": (0.0, 4),
}
DRAWS = 20_000
MIN_OWN_ROWS = 500
COIN = "bitcoin"


def standardised(rows: Rows, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardise one-day returns with the volatility line that is fitted before a year.

    Returns:
        The returns divided by the predicted volatility, and which rows lie in the year, both (n,).
    """
    first, after = np.datetime64(f"{year}-01-01", "D"), np.datetime64(f"{year + 1}-01-01", "D")
    line = line_of(rows, (1,), Window(rows.origins.min(), first - np.timedelta64(1, "D")), 100.0)
    scale = np.exp(line.predict(rows.features, rows.spec.names)[:, 0])
    return rows.returns[:, rows.column(1)] / scale, (rows.origins >= first) & (rows.origins < after)


def tail_of(losses: np.ndarray) -> tuple[float, float]:
    """Return the value at risk and the expected shortfall of standardised losses at LEVEL."""
    value_at_risk = float(np.quantile(losses, 1 - LEVEL))
    return value_at_risk, float(losses[losses >= value_at_risk].mean())


def ratios(
    rows: Rows, z: dict[int, tuple[np.ndarray, np.ndarray]], coin: str, choice: tuple[float, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return ratios of a loss to the expected shortfall, for losses beyond the value at risk.

    Args:
        rows: The rows of all coins.
        z: By year, the result of `standardised`.
        coin: The coin.
        choice: A value of CHOICES.

    Returns:
        The ratios of the coin's losses within the years, and those of the pool's tail before them.
    """
    position, (prior, years) = rows.coin_ids.index(coin), choice
    found, expected = [], []
    for year, (scores, inside) in z.items():
        first = np.datetime64(f"{year}-01-01", "D")
        ended = rows.origins < first - np.timedelta64(1, "D")
        recent = rows.origins >= np.datetime64(f"{max(year - years, 1970)}-01-01", "D")
        known = ended & recent & np.isfinite(scores)
        pooled = tail_of(-scores[known])
        mine = known & (rows.coin == position)
        own = tail_of(-scores[mine]) if mine.sum() >= MIN_OWN_ROWS else pooled
        weight = 0.0 if np.isinf(prior) else mine.sum() / (mine.sum() + prior) if mine.any() else 0.0
        value_at_risk, shortfall = (weight * o + (1 - weight) * p for o, p in zip(own, pooled, strict=True))
        losses = -scores[inside & (rows.coin == position) & np.isfinite(scores)]
        found.append(losses[losses > value_at_risk] / shortfall)
        tail = -scores[known]
        expected.append(tail[tail >= pooled[0]] / pooled[1])
    return np.concatenate(found), np.concatenate(expected)


def main() -> int:
    """Print a table for each period, and how likely the ratio of COIN is if the pooled tail is right."""
    panel = read_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA).panel
    rows = Table(panel, panel, choose_spec(panel), (1,)).rows
    rng = np.random.default_rng(1)
    for name, years in (("design", DESIGN), ("test", TEST)):
        z = {year: standardised(rows, year) for year in years}
        print(f"{name}, {years[0]} to {years[-1]}: mean loss over ES at 99 %, one day [exceedances]")
        print(f"  {'':12s} " + "  ".join(f"{choice:14s}" for choice in CHOICES))
        for coin in rows.coin_ids:
            cells = [ratios(rows, z, coin, choice)[0] for choice in CHOICES.values()]
            shown = [f"{c.mean():.3f} [{len(c)}]" if len(c) >= 3 else "-" for c in cells]
            print(f"  {coin:12s} " + "  ".join(f"{cell:14s}" for cell in shown), flush=True)
    found, tail = ratios(rows, z, COIN, CHOICES["pool"])
    means = rng.choice(tail, (DRAWS, len(found))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    print(
        f"{COIN}: if the pooled tail were right, the mean of {len(found)} exceedances would lie in {low:.2f} "
        f"to {high:.2f} (95 %), below 0.90 in {100 * (means < 0.9).mean():.0f} % and below "
        f"{found.mean():.3f} in {100 * (means < found.mean()).mean():.0f} % of draws"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
