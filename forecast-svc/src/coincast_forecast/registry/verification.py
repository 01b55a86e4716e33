"""Load a version in a safe order: check digests, parse, reproduce the golden outputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from coincast_forecast.inference.plausibility import implausible_reasons
from coincast_modelkit.artifact import ArtifactRefused, LoadedArtifact, check_golden, read_artifact
from coincast_modelkit.artifact.golden import golden_inputs
from coincast_modelkit.models import ForecastModel


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """A version to load, and the options of its verification."""

    root: Path
    model: str
    version: str
    key: bytes | None = None
    require_signature: bool = False


def load_verified(wanted: VersionRequest) -> LoadedArtifact:
    """Load an artifact, and check that its golden forecasts are reproduced and plausible.

    Raises:
        ArtifactError: The version is missing, corrupt, without golden forecasts, or does not reproduce them.
        Exception: Any error of the parsers.
    """
    artifact = read_artifact(
        wanted.root,
        wanted.model,
        wanted.version,
        key=wanted.key,
        require_signature=wanted.require_signature,
    )
    check_golden(artifact.model, artifact.golden)
    check_plausible(artifact.model, artifact.golden)
    return artifact


def check_plausible(model: ForecastModel, golden: bytes) -> None:
    """Raise ArtifactRefused if a golden forecast is implausible and could therefore not be served.

    Coins without a forecast are left out, like in `check_golden`.
    """
    inputs, arrays = golden_inputs(golden)
    forecasts = model.predict(inputs, [int(h) for h in arrays["horizons"]])
    usable = [i for i, whole in enumerate(forecasts.usable().tolist()) if whole]
    reasons = implausible_reasons(forecasts.coins(usable), [inputs[i] for i in usable])
    for index, reason in zip(usable, reasons, strict=True):
        if reason:
            raise ArtifactRefused(f"its golden forecast of {inputs[index].coin_id} is {reason}")


def fingerprint(artifact: LoadedArtifact) -> str:
    """Return the SHA-256 of the manifest, which contains the digest of every file.

    Equal fingerprints prove that the probe process and the service loaded the same version.
    """
    return hashlib.sha256(artifact.manifest.to_bytes()).hexdigest()
