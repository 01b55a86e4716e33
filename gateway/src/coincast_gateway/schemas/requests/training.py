"""Requests for training jobs, the model registry and live accuracy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from coincast_gateway.schemas.parameters import (
    CoinId,
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
JobId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$", description="The id that submitting the job returned.")
]
VERSION = r"^[A-Za-z0-9_.\-]{1,64}$"
Version = Annotated[str, Field(pattern=VERSION, description="A version.", examples=["v000001"])]
Model = Annotated[Trainable, Field(description="A model that has versions.")]
Reason = Annotated[str, Field(max_length=500, description="The reason, which is written to the audit log.")]
Revision = Annotated[
    int | None,
    Field(
        ge=0,
        le=2**53,
        description="The revision that you read; if the aliases have changed since, the reply is a conflict.",
    ),
    WholeNumber,
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
        Field(
            ge=1,
            le=365,
            description="Days back. Tests of variants ignore it, since they count from their own start.",
        ),
        PlainInteger,
    ] = 30


class JobsQuery(TableQuery):
    """The latest jobs."""

    model: OptionalModel = ""
    limit: Annotated[
        int, Field(ge=1, le=200, description="The most jobs to return, newest first."), PlainInteger
    ] = 50


class LogsQuery(RequestQuery):
    """The end of a job's log."""

    tail: Annotated[
        int, Field(ge=1, le=10_000, description="The most lines to return, from the end."), PlainInteger
    ] = 1000


class VersionsQuery(TableQuery):
    """Versions and aliases."""

    model: OptionalModel = ""


class CompareQuery(RequestQuery):
    """Two versions of one model."""

    a: Version
    b: Annotated[str, Field(pattern=VERSION, description="The other version.", examples=["v000002"])]


class AuditQuery(TableQuery):
    """Query of the registry's audit log."""

    model: OptionalModel = ""
    limit: Annotated[
        int, Field(ge=1, le=1000, description="The most entries to return, newest first."), PlainInteger
    ] = 100


class Body(BaseModel):
    """Base of all bodies: unknown fields and wrong types are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True)


class JobBody(Body):
    """A training job to submit."""

    model: Model
    ids: Annotated[
        list[CoinId],
        Field(min_length=1, max_length=250, description="CoinGecko ids.", examples=[["bitcoin", "ethereum"]]),
    ]
    days: Annotated[
        int, Field(ge=0, le=10_000, description="Days of history, from 90; 0 means all."), WholeNumber
    ] = 0
    tune_trials: Annotated[
        int,
        Field(ge=0, le=200, description="Trials of the hyperparameter search; 0 skips it."),
        WholeNumber,
    ] = 0
    promote_if_better: Annotated[
        bool, Field(description="Promote the version if it passes the promotion gate.")
    ] = False
    from_version: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z0-9_.\-]{1,64})?$",
            description="Repeat the training of this version, from its lineage; empty trains on new data.",
        ),
    ] = ""


Alias = Literal["production", "challenger", "shadow"]


class PromoteBody(Body):
    """The version that an alias is set to."""

    version: Version
    alias: Annotated[Alias, Field(description="The alias.")] = "production"
    share: Annotated[
        float, Field(ge=0, le=1, strict=False, description="The share of traffic for a challenger, 0 to 1.")
    ] = 0.0
    expected_revision: Revision = None
    force: Annotated[bool, Field(description="Promote even if the version fails the promotion gate.")] = False
    reason: Reason = ""


class RetireBody(Body):
    """A version to be removed from service."""

    version: Version
    reason: Annotated[
        str,
        Field(min_length=1, max_length=500, description="The reason, which is written to the audit log."),
    ]


class CleanBody(Body):
    """The number of versions to retain."""

    keep: Annotated[
        int,
        Field(ge=0, le=1000, description="Number of newest versions to keep; 0 means the configured number."),
        WholeNumber,
    ] = 0


class RollbackBody(Body):
    """A rollback to the previous version."""

    expected_revision: Revision = None
    reason: Reason = ""
