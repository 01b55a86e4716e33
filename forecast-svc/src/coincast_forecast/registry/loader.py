"""Watches the aliases on the volume and keeps the snapshot of versions that requests are served from.

A version goes into the snapshot once it is verified, tried in a child process, loaded, compared with its
golden outputs and warm; a version that fails is refused, and what was served before goes on.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from coincast_chassis.clock import Clock
from coincast_chassis.observability.logs import get_logger
from coincast_forecast import metrics
from coincast_forecast.domain import (
    CHALLENGER,
    PRODUCTION,
    SHADOW,
    TECHNICAL,
    TRAINED_MODELS,
    Loaded,
    Refused,
)
from coincast_forecast.fallback.policy import Cause, StepFailure
from coincast_forecast.inference.predictor import Predictor
from coincast_forecast.inference.thread import WorkerThread
from coincast_forecast.registry.deployment import Deployment, LiveVersion, Snapshot
from coincast_forecast.registry.fallback_versions import list_fallback_versions
from coincast_forecast.registry.probe_client import ProbeClient, RefusalCause, VersionRefused
from coincast_forecast.registry.verification import VersionRequest, fingerprint, load_verified
from coincast_forecast.rendering.manifest_metrics import record_of
from coincast_modelkit.artifact import Aliases, ArtifactError, LoadedArtifact, read_aliases

log = get_logger("coincast.forecast.registry")
ALIASES = (PRODUCTION, CHALLENGER, SHADOW)
Name = tuple[str, str]


class MakePredictor(Protocol):
    """Puts a loaded model behind its batcher."""

    def __call__(self, artifact: LoadedArtifact) -> Predictor:
        """The predictor of this artifact's model."""
        ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    refused: Refused
    cause: RefusalCause
    revision: int
    retry_at: float | None


class ModelLoader:
    """The versions in memory. `snapshot` changes whole, from one moment to the next."""

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
        self._versions: dict[Name, LiveVersion] = {}
        self._refusals: dict[Name, _Refusal] = {}
        self._technical = technical
        self._lineups: dict[str, Deployment] = {TECHNICAL: Deployment(production=technical)}
        self.snapshot: Snapshot = dict(self._lineups)

    async def refresh(self) -> None:
        """Look at every model's aliases once; load what is new, drop what no alias names."""
        async with ProbeClient(self._trial_timeout_seconds) as trial:
            for model in TRAINED_MODELS:
                aliases = await asyncio.to_thread(self._aliases, model)
                if aliases is not None:
                    await self._apply_aliases(model, aliases, trial)

    async def watch(self, every_seconds: float, first_look: asyncio.Event) -> None:
        """Refresh for ever, setting `first_look` after the first time; nothing that fails may end the
        watch.
        """
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("looking at the artifacts failed")
            first_look.set()
            await asyncio.sleep(every_seconds)

    def loaded(self) -> tuple[Loaded, ...]:
        """Every version that serves, under each of its aliases."""
        return tuple(
            Loaded(model, version.version, alias, version.loaded_at, version.created_at)
            for model, lineup in self.snapshot.items()
            for alias in ALIASES
            if (version := getattr(lineup, alias)) is not None
        )

    def refused(self) -> tuple[Refused, ...]:
        """Every version that was refused and is still asked for, by an alias or to stand in for one."""
        return tuple(refusal.refused for refusal in self._refusals.values())

    def stop(self) -> None:
        """Let the threads end."""
        self._worker.stop()
        for version in (*self._versions.values(), self._technical):
            version.predictor.stop()

    def _aliases(self, model: str) -> Aliases | None:
        try:
            return read_aliases(self._root, model)
        except (ArtifactError, OSError) as error:
            log.warning("aliases cannot be read", model=model, error=str(error))
            return None

    async def _apply_aliases(self, model: str, aliases: Aliases, trial: ProbeClient) -> None:
        named = aliases.named()
        for alias, version in named.items():
            await self._load(model, version, alias, aliases.revision, trial)
        before = self._lineups.get(model, Deployment())
        others = await self._list_fallbacks(model, aliases, before)
        for version in others:
            await self._load(model, version, PRODUCTION, aliases.revision, trial)
            if (model, version) in self._versions:
                break
        after = self._lineup(model, aliases, before, others)
        if after != before or model not in self._lineups:
            self._swap(model, before, after)
        self._drop_unused(model, {*named.values(), *others}, after)

    async def _list_fallbacks(self, model: str, aliases: Aliases, before: Deployment) -> list[str]:
        """Versions to try where production was refused and nothing serves yet."""
        if before.production is not None or (model, aliases.production) not in self._refusals:
            return []
        try:
            return await asyncio.to_thread(list_fallback_versions, self._root, model, aliases.production)
        except (ArtifactError, OSError, ValueError) as error:
            log.warning("earlier versions cannot be looked up", model=model, error=str(error))
            return []

    async def _load(self, model: str, version: str, alias: str, revision: int, trial: ProbeClient) -> None:
        name = (model, version)
        if name in self._versions or not self._should_retry(name, revision):
            return
        started = self._clock.monotonic()
        try:
            live = await self._probe_and_load(name, trial)
        except VersionRefused as refusal:
            self._refuse(name, refusal, revision)
            return
        self._versions[name] = live
        self._refusals.pop(name, None)
        metrics.LOAD_SECONDS.labels(model).observe(self._clock.monotonic() - started)
        log.info("version loaded", model=model, version=version, alias=alias)

    async def _probe_and_load(self, name: Name, trial: ProbeClient) -> LiveVersion:
        wanted = VersionRequest(self._root.absolute(), *name, self._key, self._require_signature)
        tried = await trial.load(wanted)
        if self._worker.stuck:
            self._worker = WorkerThread("load")
        try:
            artifact = await self._worker.run(
                lambda: load_verified(wanted), limit_seconds=self._trial_timeout_seconds
            )
        except Exception as error:
            raise VersionRefused(
                RefusalCause.FAILED, f"it loads in a trial but not here: {error}", transient=True
            ) from error
        if fingerprint(artifact) != tried:
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
        )

    def _should_retry(self, name: Name, revision: int) -> bool:
        refusal = self._refusals.get(name)
        if refusal is None or refusal.revision != revision:
            return True
        return refusal.retry_at is not None and self._clock.monotonic() >= refusal.retry_at

    def _refuse(self, name: Name, refusal: VersionRefused, revision: int) -> None:
        model, version = name
        retry_at = self._clock.monotonic() + self._retry_seconds if refusal.transient else None
        when = datetime.fromtimestamp(self._clock.now(), UTC)
        self._refusals[name] = _Refusal(
            Refused(model, version, str(refusal), when), refusal.cause, revision, retry_at
        )
        metrics.REFUSALS.labels(model, refusal.cause).inc()
        log.error("version refused", model=model, version=version, cause=refusal.cause, reason=str(refusal))

    def _lineup(self, model: str, aliases: Aliases, before: Deployment, others: Sequence[str]) -> Deployment:
        """What the aliases ask for, as far as it could be loaded; where production was refused, what served
        before, or an earlier version.
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
            absent=self._absence(model, aliases),
        )

    def _absence(self, model: str, aliases: Aliases) -> StepFailure:
        refusal = self._refusals.get((model, aliases.production))
        if refusal is None:
            return Deployment().absent
        sentence = f"version {aliases.production} was refused ({refusal.refused.reason})"
        return StepFailure(Cause.REFUSED, sentence)

    def _swap(self, model: str, before: Deployment, after: Deployment) -> None:
        self._lineups[model] = after
        self.snapshot = dict(self._lineups)
        for alias in ALIASES:
            old, new = getattr(before, alias), getattr(after, alias)
            if old is not None and old is not new:
                metrics.MODEL_INFO.remove(model, alias, old.version)
                metrics.MODEL_CREATED.remove(model, alias)
            if new is not None and old is not new:
                metrics.SWAPS.labels(model, alias).inc()
                metrics.MODEL_INFO.labels(model, alias, new.version).set(1)
                metrics.MODEL_CREATED.labels(model, alias).set(new.created_at.timestamp())
                log.info("version in service", model=model, alias=alias, version=new.version)

    def _drop_unused(self, model: str, named: set[str], lineup: Deployment) -> None:
        """Drop versions that no alias names and nothing serves; requests in flight keep theirs until they
        end.
        """
        serving = set(lineup.live())
        for name, version in list(self._versions.items()):
            if name[0] == model and name[1] not in named and version not in serving:
                del self._versions[name]
        for name in list(self._refusals):
            if name[0] == model and name[1] not in named:
                del self._refusals[name]
