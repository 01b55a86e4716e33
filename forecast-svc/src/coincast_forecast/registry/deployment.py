"""The versions deployed for a model, and the traffic split between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Protocol

from coincast_forecast.domain import CHALLENGER, PRODUCTION, Cause, Record, StepFailure
from coincast_forecast.inference.predictor import Predictor
from coincast_modelkit.scenarios import MoveLibrary


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LiveVersion:
    """A loaded and verified version.

    `learnt_until` is the last day of the candles that it was trained on; None for a model without training.
    """

    model: str
    version: str
    predictor: Predictor
    loaded_at: datetime
    created_at: datetime | None = None
    record: Record | None = None
    trained_coins: tuple[str, ...] = ()
    scenarios: MoveLibrary | None = None
    learnt_until: date | None = None

    @property
    def reads_hours(self) -> bool:
        """Return whether the model uses the hours of a day."""
        return getattr(self.predictor.model, "reads_hours", False)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployed versions of one model.

    `absent` is the reason why there is no production version. If the version in production was refused, it is
    the reason why an earlier version replaces it.
    """

    production: LiveVersion | None = None
    challenger: LiveVersion | None = None
    challenger_share: float = 0.0
    shadow: LiveVersion | None = None
    absent: StepFailure = field(
        default_factory=lambda: StepFailure(Cause.NOT_LOADED, "no version is in production yet")
    )

    @property
    def substitution(self) -> StepFailure | None:
        """Return why an earlier version replaces the one in production; None if none does."""
        return self.absent if self.production is not None and self.absent.cause is Cause.REFUSED else None

    def assigned(self, coin_id: str, client_key: str) -> tuple[LiveVersion | None, str]:
        """Return the version and variant for a coin and a caller; they are the same for every request."""
        if self.production is None or self.challenger is None:
            return self.production, PRODUCTION
        fraction = sticky_fraction(f"{self.challenger.model}/{self.challenger.version}", coin_id, client_key)
        if fraction < self.challenger_share:
            return self.challenger, CHALLENGER
        return self.production, PRODUCTION

    def live(self) -> tuple[LiveVersion, ...]:
        """Return the loaded versions of the model."""
        return tuple(v for v in (self.production, self.challenger, self.shadow) if v is not None)


Snapshot = Mapping[str, Deployment]


class DeploymentSource(Protocol):
    """Holds the versions that are deployed now."""

    @property
    def snapshot(self) -> Snapshot:
        """The deployments by name of the model; another object after every change."""
        ...


def any_reads_hours(snapshot: Snapshot) -> bool:
    """Return whether a loaded version uses the hours of a day."""
    return any(version.reads_hours for deployment in snapshot.values() for version in deployment.live())


def sticky_fraction(experiment: str, coin_id: str, client_key: str) -> float:
    """Return a hash in [0, 1): uniform over coins and callers, and independent between experiments."""
    text = "\x1f".join((experiment, coin_id, client_key)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64
