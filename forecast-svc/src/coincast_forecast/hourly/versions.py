"""Versions of the hourly model: the one in production, and earlier ones for past forecasts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from coincast_chassis.clock import Clock, steady_clock
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_forecast.domain import PRODUCTION, Loaded, ModelStatus, Refused, VariantStatus
from coincast_forecast.rendering.manifest_metrics import record_of
from coincast_modelkit.artifact import ArtifactError, list_versions, read_aliases, read_manifest
from coincast_modelkit.artifact.hourly import LoadedHourlyArtifact, read_hourly_artifact
from coincast_modelkit.artifact.layout import number_of
from coincast_modelkit.hourly.model import MAX_HORIZON_HOURS, MODEL

log = get_logger("coincast.forecast.hourly")
DESCRIPTION = (
    "Regression of hourly volatility on many spans, 1 to 48 hours ahead; used for requests with `hours`."
)
NOT_TRAINED = "no version of the hourly model is in production yet"
# A refused version is tried again after this many refreshes.
RETRY_LOOKS = 60
# Loaded versions besides the one in production.
KEPT_VERSIONS = 3


@dataclass(frozen=True, slots=True)
class HourlyRegistry:
    """Folder of the versions, and the options of their verification."""

    root: Path
    key: bytes | None = None
    require_signature: bool = False


class ProductionVersion(Protocol):
    """Holds the version of the hourly model that is in production."""

    @property
    def current(self) -> LoadedHourlyArtifact | None:
        """The version; None if there is none."""
        ...


class HistoricalHourlyVersions:
    """Finds and loads the newest version of the hourly model that was trained by a past day."""

    def __init__(self, registry: HourlyRegistry, production: ProductionVersion) -> None:
        self._registry = registry
        self._production = production
        self._until: dict[str, date | None] = {}
        self._loaded: Lru[str, LoadedHourlyArtifact] = Lru(KEPT_VERSIONS)

    async def learnt_by(self, day: date) -> LoadedHourlyArtifact | str:
        """Return the newest version that was trained on no later day, or the reason why there is none."""
        current = self._production.current
        if current is not None and date.fromisoformat(current.manifest.data.to_date) <= day:
            return current
        return await asyncio.to_thread(self._find, day)

    def _find(self, day: date) -> LoadedHourlyArtifact | str:
        try:
            versions = sorted(list_versions(self._registry.root, MODEL), key=number_of, reverse=True)
        except (ArtifactError, OSError, ValueError) as error:
            log.warning("versions_unreadable", model=MODEL, error=without_path(error))
            versions = []
        for version in versions:
            if version not in self._until:
                self._until[version] = self._read_until(version)
            until = self._until[version]
            if until is not None and until <= day and (artifact := self._load(version)) is not None:
                return artifact
        return f"no version of {MODEL} was trained only on days up to {day}"

    def _read_until(self, version: str) -> date | None:
        try:
            manifest, _ = read_manifest(self._registry.root, MODEL, version)
            return date.fromisoformat(manifest.data.to_date)
        except (ArtifactError, OSError, ValueError):
            return None

    def _load(self, version: str) -> LoadedHourlyArtifact | None:
        found = self._loaded.get(version)
        if found is not None:
            return found
        try:
            artifact = read_hourly_artifact(
                self._registry.root,
                version,
                key=self._registry.key,
                require_signature=self._registry.require_signature,
            )
        except (ArtifactError, OSError) as error:
            self._until[version] = None
            log.warning("hourly_version_refused", version=version, reason=without_path(error))
            return None
        self._loaded.put(version, artifact)
        return artifact


class HourlyVersions:
    """Holds the production version of the hourly model; the last one remains if a newer one is refused."""

    def __init__(self, registry: HourlyRegistry, clock: Clock | None = None) -> None:
        self._registry = registry
        self._clock = clock or steady_clock()
        self._loaded_at = 0.0
        self._refusal: Refused | None = None
        self._refused: dict[str, int] = {}
        self.current: LoadedHourlyArtifact | None = None
        self.reason = NOT_TRAINED

    async def refresh(self) -> None:
        """Load the production version if it is not the current one."""
        try:
            production = (await asyncio.to_thread(read_aliases, self._registry.root, MODEL)).production
        except (ArtifactError, OSError) as error:
            self.reason = without_path(error)
            return
        if not production:
            self.current, self.reason = None, NOT_TRAINED
            return
        if self.current is not None and self.current.manifest.version == production:
            self.reason, self._refusal = "", None
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
            self.reason, self._refusal = "", None
            self._loaded_at = self._clock.now()
            log.info("hourly_version_loaded", version=production)
        except (ArtifactError, OSError) as error:
            self._refused[production] = RETRY_LOOKS
            self.reason = f"{MODEL} {production} was refused: {without_path(error)}"
            self._refusal = Refused(
                MODEL, production, without_path(error), datetime.fromtimestamp(self._clock.now(), UTC)
            )
            log.warning("hourly_version_refused", version=production, reason=without_path(error))

    def loaded(self) -> tuple[Loaded, ...]:
        """Return the loaded version, if any."""
        if self.current is None:
            return ()
        manifest = self.current.manifest
        return (
            Loaded(
                model=MODEL,
                version=manifest.version,
                alias=PRODUCTION,
                loaded_at=datetime.fromtimestamp(self._loaded_at, UTC),
                created_at=datetime.fromtimestamp(manifest.created_at, UTC),
            ),
        )

    def refused(self) -> tuple[Refused, ...]:
        """Return the production version if it failed its verification."""
        return () if self._refusal is None else (self._refusal,)

    def status(self) -> ModelStatus:
        """Return the state of the hourly model for the list of models."""
        if self.current is None:
            return ModelStatus(MODEL, DESCRIPTION, ready=False, reason=self.reason, max_horizon_days=0)
        manifest = self.current.manifest
        return ModelStatus(
            name=MODEL,
            description=DESCRIPTION,
            ready=True,
            reason=f"{self.reason}; {manifest.version} serves" if self.reason else "",
            version=manifest.version,
            created_at=datetime.fromtimestamp(manifest.created_at, UTC),
            max_horizon_days=0,
            max_horizon_hours=MAX_HORIZON_HOURS,
            min_history_days=1,
            trained_coins=tuple(manifest.coins),
            record=record_of(manifest.record),
            variants=(VariantStatus(PRODUCTION, manifest.version, 1.0),),
        )

    async def watch(self, seconds: float) -> None:
        """Refresh at a fixed interval until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)
