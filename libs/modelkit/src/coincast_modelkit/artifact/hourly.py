"""Artifacts of the hourly model: read, verify, and check the golden forecasts.

The input of the hourly model is the hourly candles of several coins, not a prepared day, so its golden file
holds hourly candles. Layout, digests, seal and manifest are the same as for the daily models.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coincast_modelkit.artifact.errors import ArtifactCorrupt, ArtifactRefused
from coincast_modelkit.artifact.golden import TOLERANCE
from coincast_modelkit.artifact.layout import version_folder
from coincast_modelkit.artifact.manifest import DataWindow, Manifest
from coincast_modelkit.artifact.read import golden_of, read_manifest, unpacked, verified_files
from coincast_modelkit.candles import FIELDS
from coincast_modelkit.hourly.candles import HourlyCandles, HourlyPanel
from coincast_modelkit.hourly.features import TERMS
from coincast_modelkit.hourly.model import TAIL_HOURS, IntradayModel

GOLDEN_HOURS = (1, 5, 24, 48)
FEATURES_HASH = hashlib.sha256("\n".join(("hourly/1", *TERMS)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class LoadedHourlyArtifact:
    """A loaded version of the hourly model; golden holds the verified bytes of its golden file."""

    manifest: Manifest
    model: IntradayModel
    signed: bool
    golden: bytes


def read_hourly_artifact(
    root: Path, version: str, *, key: bytes | None = None, require_signature: bool = False
) -> LoadedHourlyArtifact:
    """Verify all files of a version of the hourly model, load it and check its golden forecasts.

    Args:
        root: The folder of artifacts.
        version: The version, such as v000001.
        key: Key of the signature; None checks no signature.
        require_signature: Whether an unsigned version is refused.

    Raises:
        ArtifactError: The version is missing, corrupt, has other features, or does not reproduce its golden
            forecasts.
    """
    name = IntradayModel.name
    manifest, signed = read_manifest(root, name, version, key=key, require_signature=require_signature)
    if manifest.feature_spec_hash != FEATURES_HASH:
        raise ArtifactRefused(f"{name} {version} was trained on other hourly features; retrain it")
    content = verified_files(version_folder(root, name, version), manifest)
    golden = golden_of(manifest, content)
    with unpacked(content) as folder:
        try:
            model = IntradayModel.load(folder, version=version)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ArtifactRefused(f"{name} {version} cannot be loaded: {error!r}") from error
    check_hourly_golden(model, golden)
    return LoadedHourlyArtifact(manifest, model, signed, golden)


def hourly_golden_bytes(model: IntradayModel, coins: Sequence[HourlyCandles]) -> bytes:
    """Return the inputs and outputs of some coins as npz; the coins also serve as the reference market.

    Raises:
        ValueError: A coin could not be forecast.
    """
    tails = [coin.tail(TAIL_HOURS) for coin in coins]
    forecasts = model.predict(tails, GOLDEN_HOURS, reference={c.coin_id: c for c in tails})
    if not tails or not forecasts.usable().all():
        raise ValueError("golden outputs need coins that the model can forecast")
    arrays: dict[str, np.ndarray] = {
        "quantiles": forecasts.log_return_quantiles,
        "volatility": forecasts.volatility,
        "coins": np.array([c.coin_id for c in tails]),
        "first": np.array([c.first.astype(np.int64) for c in tails]),
    }
    for i, coin in enumerate(tails):
        arrays[f"candles_{i}"] = np.stack([getattr(coin, f) for f in FIELDS])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def check_hourly_golden(model: IntradayModel, raw: bytes) -> float:
    """Return the largest deviation of the model's forecasts from the golden ones.

    Raises:
        ArtifactRefused: The deviation exceeds TOLERANCE.
        ArtifactCorrupt: It is not a golden file.
    """
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        coins = [
            HourlyCandles(str(coin), np.datetime64(int(first), "h"), *arrays[f"candles_{i}"])
            for i, (coin, first) in enumerate(zip(arrays["coins"], arrays["first"], strict=True))
        ]
        expected = {name: arrays[name] for name in ("quantiles", "volatility")}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactCorrupt(f"the golden file cannot be read: {error!r}") from error
    now = model.predict(coins, GOLDEN_HOURS, reference={c.coin_id: c for c in coins})
    deviation = 0.0
    for name, values in (("quantiles", now.log_return_quantiles), ("volatility", now.volatility)):
        if not coins or values.shape != expected[name].shape or not np.isfinite(values).all():
            raise ArtifactRefused(f"golden {name} have another shape or gaps here")
        deviation = max(deviation, float(np.abs(values - expected[name]).max()))
    if not deviation <= TOLERANCE:
        raise ArtifactRefused(f"golden forecasts differ by {deviation:.2g} here, more than {TOLERANCE:.0e}")
    return deviation


def hourly_data_window(panel: HourlyPanel) -> DataWindow:
    """Describe hourly candles; the hash does not depend on the order of the coins.

    Raises:
        ValueError: The panel holds no hours.
    """
    held = {coin: panel[coin] for coin in sorted(panel) if len(panel[coin])}
    if not held:
        raise ValueError("the panel holds no hourly candles")
    digest = hashlib.sha256()
    for coin, candles in held.items():
        digest.update(f"{coin}:{candles.first}:{len(candles)}\n".encode())
        for name in FIELDS:
            digest.update(getattr(candles, name).astype("<f8").tobytes())
    return DataWindow(
        from_date=str(min(c.first for c in held.values()).astype("datetime64[D]")),
        to_date=str(max(c.starts[-1] for c in held.values()).astype("datetime64[D]")),
        sha256=digest.hexdigest(),
        rows={coin: int(c.known.sum()) for coin, c in held.items()},
    )
