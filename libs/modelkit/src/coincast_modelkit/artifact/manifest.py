"""The manifest of a version: all inputs that determine its forecasts, and the digests of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from coincast_modelkit.artifact.errors import ArtifactCorrupt, ArtifactRefused
from coincast_modelkit.artifact.record import Record
from coincast_modelkit.candles import FIELDS, Panel

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Digest and size of one file of an artifact."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DataWindow:
    """The training data: first and last ISO date, rows per coin, SHA-256 over all candles."""

    from_date: str
    to_date: str
    sha256: str
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of one version; it does not change after the version is written.

    write_artifact fills in version and files. created_at is UNIX seconds. parent is the version that this one
    was retrained from, or empty. metrics holds further results of the training, such as tuning and feature
    importance. golden names the file of inputs and outputs that a reader must reproduce before it serves; a
    version without one is refused. files maps paths relative to the version's folder to their digests.
    """

    model: str
    created_at: float
    feature_names: tuple[str, ...]
    feature_spec_hash: str
    data: DataWindow
    coins: tuple[str, ...]
    seeds: tuple[int, ...]
    library_versions: Mapping[str, str]
    code_version: str
    parameters: Mapping[str, Any]
    record: Record
    metrics: Mapping[str, Any] = field(default_factory=dict)
    golden: str = ""
    parent: str = ""
    version: str = ""
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Return canonical JSON: sorted keys, no NaN. Raises ValueError if a value is not JSON."""
        text = json.dumps(asdict(self), sort_keys=True, indent=1, allow_nan=False)
        return text.encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Parse the output of to_bytes. Raises ArtifactCorrupt, or ArtifactRefused for a newer format."""
        try:
            plain = json.loads(raw)
            if plain["format_version"] > FORMAT_VERSION:
                raise ArtifactRefused(
                    f"manifest format {plain['format_version']} is newer than {FORMAT_VERSION}; upgrade this"
                )
            known = {f.name for f in fields(cls)}
            values = {k: v for k, v in plain.items() if k in known}
            values["data"] = DataWindow(**plain["data"])
            values["record"] = Record.from_dict(plain["record"])
            values["files"] = {k: FileDigest(**v) for k, v in plain["files"].items()}
            for name in ("feature_names", "coins", "seeds"):
                values[name] = tuple(plain[name])
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ArtifactCorrupt(f"manifest.json is not a manifest: {error!r}") from error


def data_window(panel: Panel) -> DataWindow:
    """Describe a panel of daily candles; the hash does not depend on the order of the coins.

    Raises:
        ValueError: The panel holds no candles.
    """
    held = {coin: panel[coin] for coin in sorted(panel) if len(panel[coin])}
    if not held:
        raise ValueError("the panel holds no candles")
    digest = hashlib.sha256()
    for coin, candles in held.items():
        digest.update(f"{coin}:{len(candles)}\n".encode())
        digest.update(candles.dates.astype("<i8").tobytes())
        for name in FIELDS:
            digest.update(getattr(candles, name).astype("<f8").tobytes())
    return DataWindow(
        from_date=str(min(c.dates[0] for c in held.values())),
        to_date=str(max(c.dates[-1] for c in held.values())),
        sha256=digest.hexdigest(),
        rows={coin: len(c) for coin, c in held.items()},
    )
