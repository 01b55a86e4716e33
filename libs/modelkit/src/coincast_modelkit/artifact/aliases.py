"""Aliases of a model: its production, challenger and shadow version.

Only the training service changes them.
"""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from coincast_modelkit.artifact.errors import ArtifactCorrupt
from coincast_modelkit.artifact.layout import ALIASES, model_folder


@dataclass(frozen=True, slots=True)
class Aliases:
    """The version that each alias of a model points to.

    Attributes:
        production: Version in production; empty where there is none, as for the other aliases.
        challenger: Version in an A/B test against production.
        challenger_share: Share of the traffic that the challenger answers, 0 to 1.
        shadow: Version that forecasts in the shadow of production; its forecasts are recorded, not served.
        revision: Number of changes so far.
    """

    production: str = ""
    challenger: str = ""
    challenger_share: float = 0.0
    shadow: str = ""
    revision: int = 0

    def __post_init__(self) -> None:
        for name in ("production", "challenger", "shadow"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be the name of a version")  # noqa: TRY004 - bad data
        if not isinstance(self.revision, int) or not 0 <= self.revision < 2**31:
            raise ValueError(f"revision must be a whole number from 0, got {self.revision!r:.50}")
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
        """Parse the output of to_bytes. Raises ArtifactCorrupt."""
        try:
            plain = json.loads(raw)
            named = {f.name for f in fields(cls)}
            return cls(**{name: value for name, value in plain.items() if name in named})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArtifactCorrupt(f"aliases.json cannot be read: {error!r}") from error


def aliases_path(root: Path, model: str) -> Path:
    """Return the path of a model's aliases.json."""
    return model_folder(root, model) / ALIASES


def read_aliases(root: Path, model: str) -> Aliases:
    """Return the aliases of a model, all empty if none was set yet. Raises ArtifactCorrupt, OSError."""
    path = aliases_path(root, model)
    try:
        # A pipe must not be opened: that waits for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ArtifactCorrupt("aliases.json is not a file")
        return Aliases.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return Aliases()
