"""The version of the hourly model that serves: read from the registry, replaced when production moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from coincast_chassis.observability.logs import get_logger
from coincast_modelkit.artifact import ArtifactError, read_aliases
from coincast_modelkit.artifact.hourly import LoadedHourlyArtifact, read_hourly_artifact
from coincast_modelkit.hourly.model import MODEL

log = get_logger("coincast.forecast.hourly")
NOT_TRAINED = "no version of the hourly model is in production yet"
# A version that was refused is tried again after so many looks.
RETRY_LOOKS = 60


@dataclass(frozen=True, slots=True)
class HourlyRegistry:
    """Where versions are and how they are verified."""

    root: Path
    key: bytes | None = None
    require_signature: bool = False


class HourlyVersions:
    """Holds the production version of the hourly model; the last good one stays where a newer is refused."""

    def __init__(self, registry: HourlyRegistry) -> None:
        self._registry = registry
        self._refused: dict[str, int] = {}
        self.current: LoadedHourlyArtifact | None = None
        self.reason = NOT_TRAINED

    async def refresh(self) -> None:
        """Load the production version if it is not the current one."""
        try:
            production = (await asyncio.to_thread(read_aliases, self._registry.root, MODEL)).production
        except (ArtifactError, OSError) as error:
            self.reason = str(error)
            return
        if not production:
            self.current, self.reason = None, NOT_TRAINED
            return
        if self.current is not None and self.current.manifest.version == production:
            return
        if self._refused.get(production, 0) > 0:
            self._refused[production] -= 1
            return
        try:
            self.current = await asyncio.to_thread(
                read_hourly_artifact,
                self._registry.root,
                production,
                key=self._registry.key,
                require_signature=self._registry.require_signature,
            )
            self.reason = ""
            log.info("hourly_version_loaded", version=production)
        except (ArtifactError, OSError) as error:
            self._refused[production] = RETRY_LOOKS
            self.reason = f"{MODEL} {production} was refused: {error}"
            log.warning("hourly_version_refused", version=production, reason=str(error))

    async def watch(self, seconds: float) -> None:
        """Refresh every so many seconds, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)
