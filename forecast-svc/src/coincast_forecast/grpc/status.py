"""Report the models that can be requested and the state of the service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import metadata

from coincast_chassis.clock import Clock
from coincast_forecast import domain
from coincast_forecast.domain import ModelStatus, ServiceStatus, VariantStatus
from coincast_forecast.history.cache import HistoryCache
from coincast_forecast.hourly.versions import HourlyVersions
from coincast_forecast.prediction_log.writer import LedgerWriter
from coincast_forecast.registry.deployment import Deployment, LiveVersion, Snapshot
from coincast_forecast.registry.loader import ModelLoader

DESCRIPTIONS = {
    domain.LIGHTGBM: "Gradient-boosted trees on volatility-scaled returns, pooled over coins.",
    domain.LSTM: "Bidirectional LSTM with attention; Monte-Carlo dropout estimates its uncertainty.",
    domain.ENSEMBLE: "Pool of classical volatility forecasts and boosted trees with learnt weights.",
    domain.TECHNICAL: "Last price with range volatility and empirical residuals; needs no training.",
    domain.AUTO: "The production model with the best recent record for the coin and horizon.",
}


@dataclass(frozen=True, slots=True)
class StatusReporter:
    """Reads the state of the service's parts."""

    clock: Clock
    started_at: float
    histories: HistoryCache
    ledger: LedgerWriter
    registry: ModelLoader
    hourly: HourlyVersions

    def models(self) -> tuple[ModelStatus, ...]:
        """Return all models, with the hourly one and `auto` last.

        No model is ready before a history is cached.
        """
        snapshot, missing_reason = self.registry.snapshot, self.histories.missing_reason
        known = (*domain.TRAINED_MODELS, domain.TECHNICAL)
        models = (
            *(_model(name, snapshot.get(name, Deployment())) for name in known),
            self.hourly.status(),
            _auto(snapshot),
        )
        return tuple(_without_history(each, missing_reason) for each in models) if missing_reason else models

    def status(self) -> ServiceStatus:
        """Return loaded and refused versions, and the state of caches and forecast log."""
        return ServiceStatus(
            version=metadata.version("coincast-forecast"),
            uptime_seconds=self.clock.monotonic() - self.started_at,
            loaded=(*self.registry.loaded(), *self.hourly.loaded()),
            refused=(*self.registry.refused(), *self.hourly.refused()),
            history=self.histories.counts(),
            ledger=self.ledger.counts(),
            market_data_up=self.histories.source_up,
        )


def _model(name: str, deployment: Deployment) -> ModelStatus:
    version = deployment.production
    if version is None:
        return ModelStatus(name, DESCRIPTIONS[name], ready=False, reason=deployment.absent.sentence)
    able = version.predictor.model
    return ModelStatus(
        name=name,
        description=DESCRIPTIONS[name],
        ready=True,
        reason=f"{deployment.substitution.sentence}; {version.version} serves"
        if deployment.substitution
        else "",
        version=version.version,
        created_at=version.created_at,
        max_horizon_days=able.max_horizon_days,
        min_history_days=able.min_history_days,
        trained_coins=version.trained_coins,
        record=version.record,
        variants=tuple(_variants(deployment)),
    )


def _without_history(model: ModelStatus, missing_reason: str) -> ModelStatus:
    if not model.ready:
        return model
    return replace(model, ready=False, reason=f"there is no history of any coin: {missing_reason}")


def _variants(deployment: Deployment) -> list[VariantStatus]:
    share = deployment.challenger_share if deployment.challenger is not None else 0.0
    shares: tuple[tuple[str, LiveVersion | None, float], ...] = (
        (domain.PRODUCTION, deployment.production, 1.0 - share),
        (domain.CHALLENGER, deployment.challenger, share),
        (domain.SHADOW, deployment.shadow, 0.0),
    )
    return [VariantStatus(alias, v.version, part) for alias, v, part in shares if v is not None and v.version]


def _auto(snapshot: Snapshot) -> ModelStatus:
    trained = any(snapshot.get(model, Deployment()).production is not None for model in domain.TRAINED_MODELS)
    reason = "" if trained else "no trained model has a version in production yet; technical answers"
    least = snapshot[domain.TECHNICAL].production
    return ModelStatus(
        domain.AUTO,
        DESCRIPTIONS[domain.AUTO],
        ready=True,
        reason=reason,
        min_history_days=least.predictor.model.min_history_days if least is not None else 0,
    )
