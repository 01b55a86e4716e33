"""Watch the aliases on the volume, and maintain the snapshot of versions that serves requests.

A version enters the snapshot after a child process and then this process have loaded and verified it,
including its golden outputs. A version that fails is refused, and the version before it continues to serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from coincast_chassis.clock import Clock
from coincast_chassis.observability.error_text import without_path
from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.domain import (
    CHALLENGER,
    PRODUCTION,
    SHADOW,
    TECHNICAL,
    TRAINED_MODELS,
    Cause,
    Loaded,
    Refused,
    StepFailure,
)
from coincast_forecast.inference.predictor import Predictor
from coincast_forecast.inference.thread import ThreadStuckError, WorkerThread
from coincast_forecast.registry.deployment import Deployment, LiveVersion, Snapshot
from coincast_forecast.registry.fallback_versions import list_fallback_versions
from coincast_forecast.registry.probe_client import ProbeClient, RefusalCause, VersionRefused
from coincast_forecast.registry.verification import VersionRequest, fingerprint, load_verified
from coincast_forecast.rendering.manifest_metrics import record_of
from coincast_modelkit.artifact import Aliases, ArtifactCorrupt, ArtifactError, LoadedArtifact, read_aliases
from coincast_modelkit.scenarios import MoveLibrary, read_library

log = get_logger("coincast.forecast.registry")
ALIASES = (PRODUCTION, CHALLENGER, SHADOW)
Name = tuple[str, str]


class MakePredictor(Protocol):
    """Builds predictors."""

    def __call__(self, artifact: LoadedArtifact) -> Predictor:
        """Return a predictor for the model of an artifact."""
        ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    refused: Refused
    cause: RefusalCause
    revision: int
    retry_at: float | None


class ModelLoader:
    """Loads versions. `snapshot` is replaced as a whole and never changed in place."""

    def __init__(
        self,
        root: Path,
        technical: LiveVersion,
        make_predictor: MakePredictor,
        clock: Clock,
        *,
        trial_timeout_seconds: float,
        retry_seconds: float,
        key: bytes | None,
        require_signature: bool,
    ) -> None:
        self._root = root
        self._make_predictor = make_predictor
        self._clock = clock
        self._trial_timeout_seconds = trial_timeout_seconds
        self._retry_seconds = retry_seconds
        self._key = key
        self._require_signature = require_signature
        self._worker = WorkerThread("load")
        self._alias_errors: dict[str, str] = {}
        self._versions: dict[Name, LiveVersion] = {}
        self._refusals: dict[Name, _Refusal] = {}
        self._technical = technical
        self._deployments: dict[str, Deployment] = {TECHNICAL: Deployment(production=technical)}
        self.snapshot: Snapshot = dict(self._deployments)

    async def refresh(self) -> None:
        """Read the aliases of every model once; load new versions, and drop those without an alias.

        An error of one model is logged and does not affect the others.
        """
        async with ProbeClient(self._trial_timeout_seconds) as probe:
            for model in TRAINED_MODELS:
                aliases = await asyncio.to_thread(self._read_aliases, model)
                if aliases is None:
                    continue
                try:
                    await self._apply_aliases(model, aliases, probe)
                except Exception:
                    log.exception("model_refresh_failed", model=model)

    async def watch(self, every_seconds: float, first_refresh: asyncio.Event) -> None:
        """Refresh periodically; set `first_refresh` after the first time. Failures are logged."""
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("artifact_refresh_failed")
            first_refresh.set()
            await asyncio.sleep(every_seconds)

    def loaded(self) -> tuple[Loaded, ...]:
        """Return every deployed version under each of its aliases."""
        return tuple(
            Loaded(model, version.version, alias, version.loaded_at, version.created_at)
            for model, deployment in self.snapshot.items()
            for alias in ALIASES
            if (version := getattr(deployment, alias)) is not None
        )

    def refused(self) -> tuple[Refused, ...]:
        """Return the refused versions that an alias points to, and the refused replacements."""
        return tuple(refusal.refused for refusal in self._refusals.values())

    def stop(self) -> None:
        """Stop the threads."""
        self._worker.stop()
        for version in (*self._versions.values(), self._technical):
            version.predictor.stop()

    def _read_aliases(self, model: str) -> Aliases | None:
        """Return a model's aliases; if they cannot be read, log each reason once and return None."""
        try:
            aliases = read_aliases(self._root, model)
            if any(not isinstance(version, str) for version in aliases.named().values()):
                raise ArtifactCorrupt("aliases.json has a version that is not a string")
        except (ArtifactError, OSError) as error:
            reason = without_path(error)
            if self._alias_errors.get(model) != reason:
                self._alias_errors[model] = reason
                log.warning("aliases_unreadable", model=model, error=reason)
            return None
        self._alias_errors.pop(model, None)
        return aliases

    async def _apply_aliases(self, model: str, aliases: Aliases, probe: ProbeClient) -> None:
        named = aliases.named()
        for alias, version in named.items():
            await self._load(model, version, alias, aliases.revision, probe)
        before = self._deployments.get(model, Deployment())
        others = await self._list_fallbacks(model, aliases, before)
        for version in others:
            await self._load(model, version, PRODUCTION, aliases.revision, probe)
            if (model, version) in self._versions:
                break
        after = self._deployment(model, aliases, before, others)
        if after != before or model not in self._deployments:
            self._swap(model, before, after)
        self._drop_unused(model, {*named.values(), *others}, after)

    async def _list_fallbacks(self, model: str, aliases: Aliases, before: Deployment) -> list[str]:
        """Return versions to try if production was refused and no version serves yet."""
        if before.production is not None or (model, aliases.production) not in self._refusals:
            return []
        try:
            return await asyncio.to_thread(list_fallback_versions, self._root, model, aliases.production)
        except (ArtifactError, OSError, ValueError) as error:
            log.warning("earlier_versions_unreadable", model=model, error=without_path(error))
            return []

    async def _load(self, model: str, version: str, alias: str, revision: int, probe: ProbeClient) -> None:
        name = (model, version)
        if name in self._versions or not self._should_retry(name, revision):
            return
        started = self._clock.monotonic()
        try:
            live = await self._probe_and_load(name, probe)
        except VersionRefused as refusal:
            self._refuse(name, refusal, revision)
            return
        self._versions[name] = live
        self._refusals.pop(name, None)
        metrics.LOAD_SECONDS.labels(model).observe(self._clock.monotonic() - started)
        log.info("version_loaded", model=model, version=version, alias=alias)

    async def _probe_and_load(self, name: Name, probe: ProbeClient) -> LiveVersion:
        wanted = VersionRequest(self._root.absolute(), *name, self._key, self._require_signature)
        probed = await probe.load(wanted)
        if self._worker.stuck:
            self._worker = WorkerThread("load")
        try:
            artifact = await self._worker.run(
                lambda: load_verified(wanted), limit_seconds=self._trial_timeout_seconds
            )
        except Exception as error:
            fault = f"it loads in the probe process but not here: {without_path(error)}"
            raise VersionRefused(RefusalCause.FAILED, fault, transient=True) from error
        if fingerprint(artifact) != probed:
            raise VersionRefused(
                RefusalCause.CORRUPT, "its files changed while they were verified", transient=True
            )
        manifest = artifact.manifest
        return LiveVersion(
            model=manifest.model,
            version=manifest.version,
            predictor=self._make_predictor(artifact),
            loaded_at=datetime.fromtimestamp(self._clock.now(), UTC),
            created_at=datetime.fromtimestamp(manifest.created_at, UTC),
            record=record_of(manifest.record),
            trained_coins=manifest.coins,
            scenarios=await self._load_scenarios(artifact),
            learnt_until=date.fromisoformat(manifest.data.to_date),
        )

    async def load_version(self, model: str, version: str) -> LiveVersion:
        """Load and verify a version, with or without an alias.

        Raises:
            VersionRefused: The version failed its verification.
        """
        loaded = self._versions.get((model, version))
        if loaded is not None:
            return loaded
        async with ProbeClient(self._trial_timeout_seconds) as probe:
            return await self._probe_and_load((model, version), probe)

    async def _load_scenarios(self, artifact: LoadedArtifact) -> MoveLibrary | None:
        """Return the scenario library of a version; its digest was checked with the other files.

        If the library cannot be read, the version still forecasts.
        """
        if not artifact.scenarios:
            return None
        try:
            return await self._worker.run(
                lambda: read_library(artifact.scenarios),
                limit_seconds=self._trial_timeout_seconds,
            )
        except (ValueError, TimeoutError, ThreadStuckError) as error:
            manifest = artifact.manifest
            log.warning(
                "scenario_library_unreadable",
                model=manifest.model,
                version=manifest.version,
                error=str(error),
            )
            return None

    def _should_retry(self, name: Name, revision: int) -> bool:
        refusal = self._refusals.get(name)
        if refusal is None or refusal.revision != revision:
            return True
        return refusal.retry_at is not None and self._clock.monotonic() >= refusal.retry_at

    def _refuse(self, name: Name, refusal: VersionRefused, revision: int) -> None:
        model, version = name
        reason = without_path(refusal)
        retry_at = self._clock.monotonic() + self._retry_seconds if refusal.transient else None
        when = datetime.fromtimestamp(self._clock.now(), UTC)
        self._refusals[name] = _Refusal(
            Refused(model, version, reason, when), refusal.cause, revision, retry_at
        )
        metrics.REFUSALS.labels(model, refusal.cause).inc()
        log.error("version_refused", model=model, version=version, cause=refusal.cause, reason=reason)

    def _deployment(
        self, model: str, aliases: Aliases, before: Deployment, others: Sequence[str]
    ) -> Deployment:
        """Return the versions of the aliases that could be loaded.

        If the production version was refused, the one that served before remains, or an earlier one replaces
        it.
        """
        production = self._versions.get((model, aliases.production))
        if production is None and aliases.production:
            loaded = (self._versions.get((model, version)) for version in others)
            production = before.production or next((v for v in loaded if v is not None), None)
        return Deployment(
            production=production,
            challenger=self._versions.get((model, aliases.challenger)),
            challenger_share=aliases.challenger_share,
            shadow=self._versions.get((model, aliases.shadow)),
            absent=self._absent_reason(model, aliases),
        )

    def _absent_reason(self, model: str, aliases: Aliases) -> StepFailure:
        refusal = self._refusals.get((model, aliases.production))
        if refusal is None:
            return Deployment().absent
        sentence = f"version {aliases.production} was refused ({refusal.refused.reason})"
        return StepFailure(Cause.REFUSED, sentence)

    def _swap(self, model: str, before: Deployment, after: Deployment) -> None:
        self._deployments[model] = after
        self.snapshot = dict(self._deployments)
        for alias in ALIASES:
            old, new = getattr(before, alias), getattr(after, alias)
            if old is not None and old is not new:
                metrics.MODEL_INFO.remove(model, alias, old.version)
                metrics.MODEL_CREATED.remove(model, alias)
            if new is not None and old is not new:
                metrics.SWAPS.labels(model, alias).inc()
                metrics.MODEL_INFO.labels(model, alias, new.version).set(1)
                metrics.MODEL_CREATED.labels(model, alias).set(new.created_at.timestamp())
                log.info("version_in_service", model=model, alias=alias, version=new.version)

    def _drop_unused(self, model: str, named: set[str], deployment: Deployment) -> None:
        """Drop versions that have no alias and do not serve.

        Requests in flight still hold references to them until they end.
        """
        serving = set(deployment.live())
        for name, version in list(self._versions.items()):
            if name[0] == model and name[1] not in named and version not in serving:
                del self._versions[name]
        for name in list(self._refusals):
            if name[0] == model and name[1] not in named:
                del self._refusals[name]
