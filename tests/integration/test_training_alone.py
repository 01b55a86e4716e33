"""`train_model_for_crypto` with nothing set, as a notebook calls it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coincast_training import train_model_for_crypto


@pytest.mark.timeout(300)
async def test_one_line_trains_and_saves_a_model_with_nothing_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("TRAINING_", "MARKET_", "COINGECKO_", "VAR_DIR")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MARKET_UPSTREAM_URL", "http://127.0.0.1:9/api/v3")
    monkeypatch.chdir(tmp_path)
    trained = await train_model_for_crypto(
        crypto_id="bitcoin", model_type="lightgbm", days=365, save_model=True
    )
    assert "sandbox" in trained.market_data
    assert trained.version == "v000001"
    assert (tmp_path / "var" / "artifacts" / "lightgbm" / "v000001" / "manifest.json").exists()
    assert all(horizon.forecasts for horizon in trained.record.horizons)
