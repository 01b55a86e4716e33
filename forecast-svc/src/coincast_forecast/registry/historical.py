"""Versions for past forecasts: those that were trained on no day after the requested one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import date
from pathlib import Path

from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_chassis.resilience.bounded_cache import Lru
from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_forecast.domain import TECHNICAL, Cause, StepFailure
from coincast_forecast.registry.deployment import Deployment, DeploymentSource, LiveVersion, Snapshot
from coincast_forecast.registry.probe_client import VersionRefused
from coincast_modelkit.artifact import ArtifactError, list_versions, read_manifest
from coincast_modelkit.artifact.layout import number_of

log = get_logger("coincast.forecast.registry")
# Loaded versions besides the deployed ones; an ensemble takes tens of megabytes.
KEPT_VERSIONS = 3
Name = tuple[str, str]


class HistoricalVersions:
    """Finds and loads, for each model, the newest version that was trained by a past day.

    Args:
        root: The folder of the artifacts.
        deployments: The versions that are deployed now.
        load: Loads and verifies a version; raises VersionRefused.
        wait_seconds: How long a request waits for a version that is being loaded.
    """

    def __init__(
        self,
        root: Path,
        *,
        deployments: DeploymentSource,
        load: Callable[[str, str], Awaitable[LiveVersion]],
        wait_seconds: float,
    ) -> None:
        self._root = root
        self._deployments = deployments
        self._load = load
        self._wait_seconds = wait_seconds
        self._until: dict[Name, date | None] = {}
        self._loaded: Lru[Name, LiveVersion] = Lru(KEPT_VERSIONS)
        self._flights: dict[Name, asyncio.Task[LiveVersion]] = {}

    async def snapshot_of(self, models: Iterable[str], day: date) -> Snapshot:
        """Return deployments of the models and of technical, with versions that were trained by the day."""
        deployments: dict[str, Deployment] = {TECHNICAL: self._deployments.snapshot[TECHNICAL]}
        for model in models:
            if model not in deployments:
                deployments[model] = await self._deployment(model, day)
        return deployments

    async def aclose(self) -> None:
        """Cancel the loads in flight."""
        await cancel_and_wait(list(self._flights.values()))

    async def _deployment(self, model: str, day: date) -> Deployment:
        serving = self._deployments.snapshot.get(model, Deployment()).production
        if serving is not None and serving.learnt_until is not None and serving.learnt_until <= day:
            return Deployment(production=serving)
        try:
            names = await asyncio.to_thread(lambda: list(self._learnt_by(model, day)))
        except (ArtifactError, OSError, ValueError) as error:
            log.warning("versions_unreadable", model=model, error=without_path(error))
            names = []
        for name in names:
            found = await self._version(name)
            if isinstance(found, LiveVersion):
                return Deployment(production=found)
            if found.cause is Cause.TIMED_OUT:
                return Deployment(absent=found)
        sentence = f"no version of it was trained only on days up to {day}"
        return Deployment(absent=StepFailure(Cause.NOT_LOADED, sentence))

    def _learnt_by(self, model: str, day: date) -> Iterator[Name]:
        """Yield the versions on the volume that were trained by the day, newest first."""
        for version in sorted(list_versions(self._root, model), key=number_of, reverse=True):
            name = (model, version)
            if name not in self._until:
                self._until[name] = self._read_until(name)
            until = self._until[name]
            if until is not None and until <= day:
                yield name

    def _read_until(self, name: Name) -> date | None:
        try:
            manifest, _ = read_manifest(self._root, *name)
            return date.fromisoformat(manifest.data.to_date)
        except (ArtifactError, OSError, ValueError):
            return None

    async def _version(self, name: Name) -> LiveVersion | StepFailure:
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded
        task = self._flights.get(name)
        if task is None:
            task = self._flights[name] = asyncio.create_task(self._load_into_cache(name))
            task.add_done_callback(lambda _: self._flights.pop(name, None))
        done, _ = await asyncio.wait([task], timeout=self._wait_seconds)
        if not done:
            return StepFailure(Cause.TIMED_OUT, f"version {name[1]} is still being loaded: retry")
        try:
            return task.result()
        except VersionRefused as refusal:
            self._until[name] = None
            log.warning("version_refused", model=name[0], version=name[1], reason=str(refusal))
            return StepFailure(Cause.REFUSED, f"version {name[1]} was refused")

    async def _load_into_cache(self, name: Name) -> LiveVersion:
        version = await self._load(*name)
        self._loaded.put(name, version)
        return version
