"""State the coverage of coins that were left out of all learning: `python bench/study_left_out.py FOLDER`.

FOLDER has one file for each coin, `<coin>.npz`, of `LEFT_OUT=<coin> python bench/study_calibration.py DATA
FOLDER/<coin>.npz`. The intervals are those of the chosen rule. For each horizon the study prints the coverage
of the 80 % interval over all these coins: on calm, usual and wild days, and by year with its standard error,
FROM 2022-01-01 TO 2025-08-31; then the coverage of each coin.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from study_calibration import AT_80, HORIZONS, RULES, correct, pool

from coincast_training.evaluation.metrics.significance import hac_mean

CHOSEN = "the same after 180 periods (chosen)"
FIRST, LAST = (int(np.datetime64(day, "D").astype(int)) for day in ("2022-01-01", "2025-08-31"))
Columns = dict[str, NDArray[np.float64]]


def outcomes(file: Path, horizon: int) -> Columns:
    """Return day, tercile of volatility and coverage in percent (0 or 100) of a left-out coin's forecasts."""
    rows = pool(np.load(file, allow_pickle=False), horizon, {file.stem})
    sizes = correct(rows, RULES[CHOSEN])
    kept = ~rows.learnt & np.isfinite(rows.returns) & np.isfinite(rows.scale)
    kept &= (rows.day >= FIRST) & (rows.day + horizon <= LAST)
    inside = np.abs(rows.returns[kept]) <= np.exp(rows.scale[kept]) * sizes[kept, AT_80]
    return {"day": rows.day[kept], "tercile": rows.tercile[kept], "inside": 100.0 * inside}


def cell(of: Columns, kept: NDArray[np.bool_], horizon: int) -> str:
    """Return the coverage of the kept forecasts with its standard error over dates, as text."""
    inside = of["inside"][kept]
    _, error = hac_mean(inside, of["day"][kept].astype("datetime64[D]"), horizon)
    return f"{inside.mean():.1f} ({error:.1f})"


def main() -> None:
    """Print the table of each horizon."""
    files = sorted(Path(sys.argv[1]).glob("*.npz"))
    for horizon in HORIZONS:
        coins = {file.stem: outcomes(file, horizon) for file in files}
        every = {
            name: np.concatenate([c[name] for c in coins.values()]) for name in ("day", "tercile", "inside")
        }
        year = every["day"].astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        everywhere = np.ones(len(year), dtype=bool)
        terciles = " / ".join(cell(every, every["tercile"] == t, horizon) for t in range(3))
        years = ", ".join(f"{y} {cell(every, year == y, horizon)}" for y in np.unique(year))
        each = ", ".join(f"{coin} {c['inside'].mean():.1f}" for coin, c in coins.items())
        print(f"{horizon:2d} d: {cell(every, everywhere, horizon)}; calm / usual / wild {terciles}; {years}")
        print(f"      {each}", flush=True)


if __name__ == "__main__":
    main()
