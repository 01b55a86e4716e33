"""Domain types of training: specs, jobs, outcomes and audit entries. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MODELS = ("lightgbm", "lstm", "ml_ensemble")
# Models that a separate pipeline trains on hourly candles.
HOURLY_MODELS = ("intraday",)
TRAINED_MODELS = (*MODELS, *HOURLY_MODELS)
ALIASES = ("production", "challenger", "shadow")


class JobState(StrEnum):
    """State of a job in its life cycle."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """Return whether the job has reached a final state."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """A training request; `from_version` repeats the training of that version."""

    model: str
    ids: tuple[str, ...]
    days: int = 0
    tune_trials: int = 0
    promote_if_better: bool = False
    from_version: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A training request and its result. Times are UNIX seconds."""

    job_id: str
    spec: TrainingSpec
    state: JobState
    submitted_at: float
    requested_by: str
    progress: float = 0.0
    stage: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    remaining_seconds: float | None = None
    version: str = ""
    error: str = ""
    promotion: str = ""
    attempt: int = 0
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a training run."""

    version: str
    promoted: bool
    promotion: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change of an alias or a version: who, when, from, to and why."""

    at: float
    requested_by: str
    model: str
    action: str
    alias: str
    from_version: str
    to_version: str
    reason: str
    revision: int
    forced: bool = False
