"""Aliases of a model: its production, challenger and shadow version. Only the training service moves them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from coincast_modelkit.artifact.errors import ArtifactCorrupt
from coincast_modelkit.artifact.layout import ALIASES, model_folder


@dataclass(frozen=True, slots=True)
class Aliases:
    """An empty name means that no version has the alias. revision counts the moves.

    challenger_share is the share of traffic that the challenger answers, 0 to 1.
    """

    production: str = ""
    challenger: str = ""
    challenger_share: float = 0.0
    shadow: str = ""
    revision: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.challenger_share <= 1.0:
            raise ValueError(f"challenger_share must lie between 0 and 1, got {self.challenger_share}")

    def named(self) -> dict[str, str]:
        """Return the version of each alias that is set."""
        parts = {"production": self.production, "challenger": self.challenger, "shadow": self.shadow}
        return {alias: version for alias, version in parts.items() if version}

    def to_bytes(self) -> bytes:
        """Return the content of aliases.json."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read what to_bytes wrote. Raises ArtifactCorrupt."""
        try:
            plain = json.loads(raw)
            known = {f.name: plain[f.name] for f in fields(cls) if f.name in plain}
            return cls(**known)
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactCorrupt(f"aliases.json cannot be read: {error!r}") from error


def aliases_path(root: Path, model: str) -> Path:
    """Return the path of the aliases of a model."""
    return model_folder(root, model) / ALIASES


def read_aliases(root: Path, model: str) -> Aliases:
    """Return the aliases of a model; empty ones where it has none yet. Raises ArtifactCorrupt."""
    try:
        return Aliases.from_bytes(aliases_path(root, model).read_bytes())
    except FileNotFoundError:
        return Aliases()
