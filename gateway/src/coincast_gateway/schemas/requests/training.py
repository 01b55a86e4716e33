"""Requests for training jobs, the model registry and the live record."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from coincast_gateway.schemas.fields import (
    ModelSpelling,
    PlainInteger,
    RenamedQuery,
    RequestQuery,
    TableQuery,
    WholeNumber,
)

Trainable = Annotated[Literal["lightgbm", "lstm", "ml_ensemble", "intraday"], ModelSpelling]
OptionalModel = Annotated[
    Literal["", "lightgbm", "lstm", "ml_ensemble", "intraday", "technical"],
    ModelSpelling,
    Field(description="Empty means every model."),
]
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$", description="As submitting it gave it.")]
VERSION = r"^[A-Za-z0-9_.\-]{1,64}$"
Version = Annotated[str, Field(pattern=VERSION, description="A version.", examples=["v000001"])]
Model = Annotated[Trainable, Field(description="A model that has versions.")]
Reason = Annotated[str, Field(max_length=500, description="Why; it is kept in the audit.")]
Revision = Annotated[
    int | None, Field(ge=0, le=2**53, description="The one you saw; a later one conflicts."), WholeNumber
]


class AccuracyQuery(RenamedQuery, TableQuery):
    """Query of the accuracy of served forecasts, scored once their day has closed."""

    old_names: ClassVar[dict[str, str]] = {"id": "ids"}

    model: OptionalModel = ""
    ids: Annotated[
        str,
        Field(
            max_length=128,
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._\-]{0,127})?$",
            description="One CoinGecko id; empty means every coin. `id` is accepted as well.",
        ),
    ] = ""
    days: Annotated[
        int,
        Field(ge=1, le=365, description="Days of the record. Tests of variants keep their own start."),
        PlainInteger,
    ] = 30


class JobsQuery(RequestQuery):
    """The latest jobs."""

    model: OptionalModel = ""
    limit: Annotated[int, Field(ge=1, le=200, description="Jobs, newest first."), PlainInteger] = 50


class LogsQuery(RequestQuery):
    """The end of a job's log."""

    tail: Annotated[int, Field(ge=1, le=10_000, description="Lines from the end."), PlainInteger] = 1000


class VersionsQuery(RequestQuery):
    """Versions and aliases."""

    model: OptionalModel = ""


class CompareQuery(RequestQuery):
    """Two versions of one model."""

    a: Version
    b: Annotated[str, Field(pattern=VERSION, description="Another.", examples=["v000002"])]


class AuditQuery(RequestQuery):
    """Query of the registry's audit log."""

    model: OptionalModel = ""
    limit: Annotated[int, Field(ge=1, le=1000, description="Entries, newest first."), PlainInteger] = 100


class Body(BaseModel):
    """The base of every body: unknown fields and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class JobBody(Body):
    """A training job to submit."""

    model: Model
    ids: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._\-]{0,127}$")]],
        Field(min_length=1, max_length=250, description="CoinGecko ids.", examples=[["bitcoin", "ethereum"]]),
    ]
    days: Annotated[
        int, Field(ge=0, le=10_000, description="Days of history, from 90; 0 means all."), WholeNumber
    ] = 0
    tune_trials: Annotated[
        int, Field(ge=0, le=200, description="Trials of the tuner; 0 tunes nothing."), WholeNumber
    ] = 0
    promote_if_better: Annotated[bool, Field(description="Promote where the gate allows it.")] = False
    from_version: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z0-9_.\-]{1,64})?$",
            description="Retrain this lineage; empty trains on new data.",
        ),
    ] = ""


Alias = Literal["production", "challenger", "shadow"]


class PromoteBody(Body):
    """The version that an alias is set to."""

    version: Version
    alias: Annotated[Alias, Field(description="Which alias.")] = "production"
    share: Annotated[float, Field(ge=0, le=1, strict=False, description="Share of a challenger.")] = 0.0
    expected_revision: Revision = None
    force: Annotated[bool, Field(description="Pass the gate in spite of its verdict.")] = False
    reason: Reason = ""


class RetireBody(Body):
    """A version to be removed from service."""

    version: Version
    reason: Annotated[str, Field(min_length=1, max_length=500, description="Why; it is kept in the audit.")]


class CleanBody(Body):
    """The number of versions to retain."""

    keep: Annotated[
        int,
        Field(ge=0, le=1000, description="Number of newest versions to keep; 0 takes the configured number."),
        WholeNumber,
    ] = 0


class RollbackBody(Body):
    """A rollback to the previous version."""

    expected_revision: Revision = None
    reason: Reason = ""
