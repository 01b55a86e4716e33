"""The evaluation on two real coins and a few weeks; its figures are recomputed from the table it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_coins_and_six_weeks(daily_candles: Path, tmp_path: Path) -> None:
    # The peers' packages take ten seconds to load: only the worker that runs this test shall spend them.
    from coincast_training.evaluation.options import EvaluationOptions
    from coincast_training.evaluation.runner import evaluate

    for coin in ("solana", "dogecoin"):
        head, *rows = (daily_candles / f"{coin}.csv").read_text().splitlines()
        kept = [row for row in rows if "2022-09-01" <= row[:10] <= "2023-10-01"]
        (tmp_path / f"{coin}.csv").write_text("\n".join([head, *kept]))
    options = EvaluationOptions(
        data=tmp_path,
        out=tmp_path,
        first="2023-07-01",
        last="2023-08-15",
        models=("ml_ensemble", "technical"),
        jobs=1,  # one process more would import everything once more, for seconds of work
    )
    found = evaluate(options, Console(quiet=True))
    assert found["about"]["notes"] == []
    table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    mine = table[(table["model"] == "ml_ensemble") & (table["horizon_days"] == 1)].sort_values(
        ["coin", "origin"]
    )
    assert len(mine) == 2 * 46
    np.testing.assert_allclose(mine["point"], mine["last_price"], rtol=1e-9)
    quantiles = mine[[c for c in mine.columns if c.startswith("q")]].to_numpy()
    assert (np.diff(quantiles, axis=1) > 0).all()
    gauss = table[(table["model"] == "gaussian_rw_60") & (table["horizon_days"] == 1)].sort_values(
        ["coin", "origin"]
    )
    levels = np.array([0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975])

    def pinball(t: object) -> float:
        q = np.log(t[[f"q{p}" for p in levels]].to_numpy() / t[["last_price"]].to_numpy())  # type: ignore[index]  # a frame
        y = np.log(t["actual"] / t["last_price"]).to_numpy()[:, None]  # type: ignore[index]  # a frame
        return float(np.mean(np.maximum(levels * (y - q), (levels - 1) * (y - q))))

    rough = 100 * (1 - pinball(mine) / pinball(gauss))
    skill = found["against"]["1"]["ml_ensemble"]["gaussian_rw_60"]["distribution"]["skill_percent"]
    assert skill == pytest.approx(rough, abs=3)
    assert found["against"]["1"]["ml_ensemble"]["random_walk"]["point"]["mape_ratio"] == pytest.approx(1)
