"""The registry of model versions.

Callers with the scope `read` may list and compare versions, whose accuracy is also in /forecasts/models.
Routes that move an alias, remove a version or name people need the scope `admin`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from google.protobuf.message import Message

from coincast.training.v1 import training_pb2 as pb
from coincast_gateway.auth.authenticator import ADMIN, READ, Caller
from coincast_gateway.clients.training import TrainingClient
from coincast_gateway.dependencies import Training
from coincast_gateway.errors.problems import (
    CONFLICT,
    NOT_FOUND,
    NOT_READY,
    UNSUPPORTED,
    service_responses,
)
from coincast_gateway.formats.csv import rows_of
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.requests.training import (
    AuditQuery,
    CleanBody,
    CompareQuery,
    Model,
    PromoteBody,
    RetireBody,
    RollbackBody,
    VersionsQuery,
)
from coincast_gateway.serialization import to_dict

router = APIRouter(tags=["models"])
CHANGE_RESPONSES = service_responses(NOT_FOUND, NOT_READY, CONFLICT, UNSUPPORTED)
ModelName = Annotated[Model, Path()]


async def call_registry(training: TrainingClient, method: str, request: Message) -> RenderedResponse:
    """Call a method of the registry and return its response as JSON.

    Args:
        training: The client of training-svc.
        method: The name of the method of RegistryService.
        request: Its message.

    Raises:
        CoincastError: The call failed.
    """
    rpc = getattr(training.registry, method)
    return render_json(to_dict(await training.backend.call(rpc, request)))


@router.get(
    "/models",
    operation_id="versions",
    summary="The versions of each model, and which of them serve",
    response_model=response_model_for(pb.ListVersionsResponse),
    responses=service_responses(),
    dependencies=[READ],
)
@csv_rows(rows_of("versions"))
async def list_versions(query: Annotated[VersionsQuery, Query()], training: Training) -> RenderedResponse:
    """Return the versions and the aliases."""
    return await call_registry(training, "ListVersions", pb.ListVersionsRequest(model=query.model))


@router.get(
    "/models/audit",
    operation_id="audit",
    summary="Changes of the registry: who moved which alias, when and why",
    response_model=response_model_for(pb.ListAuditResponse),
    responses=service_responses(),
    dependencies=[ADMIN],
)
@csv_rows(rows_of("entries"))
async def list_audit(query: Annotated[AuditQuery, Query()], training: Training) -> RenderedResponse:
    """Return the audit log of the registry, newest first."""
    request = pb.ListAuditRequest(model=query.model, limit=query.limit)
    return await call_registry(training, "ListAudit", request)


@router.get(
    "/models/{model}/compare",
    operation_id="compare",
    summary="Two versions side by side, with a paired test on the same forecasts",
    response_model=response_model_for(pb.CompareVersionsResponse),
    responses=service_responses(NOT_FOUND, NOT_READY),
    dependencies=[READ],
)
async def compare_versions(
    model: ModelName, query: Annotated[CompareQuery, Query()], training: Training
) -> RenderedResponse:
    """Return the records of two versions of one model, and how they differ on the same forecasts."""
    request = pb.CompareVersionsRequest(model=model, version_a=query.a, version_b=query.b)
    return await call_registry(training, "CompareVersions", request)


@router.post(
    "/models/{model}/promote",
    operation_id="promote",
    summary="Set an alias to a version; for production the version must pass the promotion gate",
    response_model=response_model_for(pb.PromoteVersionResponse),
    responses=CHANGE_RESPONSES,
    dependencies=[ADMIN],
)
async def promote_version(
    model: ModelName, body: PromoteBody, training: Training, caller: Caller
) -> RenderedResponse:
    """Set an alias to a version."""
    fields = body.model_dump(exclude_none=True)
    request = pb.PromoteVersionRequest(model=model, requested_by=caller, **fields)
    return await call_registry(training, "PromoteVersion", request)


@router.post(
    "/models/{model}/rollback",
    operation_id="rollback",
    summary="Set production back to its previous version",
    response_model=response_model_for(pb.RollbackModelResponse),
    responses=CHANGE_RESPONSES,
    dependencies=[ADMIN],
)
async def roll_back(
    model: ModelName, training: Training, caller: Caller, body: RollbackBody | None = None
) -> RenderedResponse:
    """Set production back to its previous version."""
    fields = (body or RollbackBody()).model_dump(exclude_none=True)
    request = pb.RollbackModelRequest(model=model, requested_by=caller, **fields)
    return await call_registry(training, "RollbackModel", request)


@router.post(
    "/models/{model}/retire",
    operation_id="retire",
    summary="Take a version out of use, unless an alias names it",
    response_model=response_model_for(pb.RetireVersionResponse),
    responses=CHANGE_RESPONSES,
    dependencies=[ADMIN],
)
async def retire_version(
    model: ModelName, body: RetireBody, training: Training, caller: Caller
) -> RenderedResponse:
    """Take a version out of use."""
    request = pb.RetireVersionRequest(model=model, requested_by=caller, **body.model_dump())
    return await call_registry(training, "RetireVersion", request)


@router.post(
    "/models/{model}/clean",
    operation_id="clean",
    summary="Remove old versions, except those that an alias names or a rollback needs",
    response_model=response_model_for(pb.CleanVersionsResponse),
    responses=CHANGE_RESPONSES,
    dependencies=[ADMIN],
)
async def clean_versions(
    model: ModelName, training: Training, caller: Caller, body: CleanBody | None = None
) -> RenderedResponse:
    """Remove old versions of a model."""
    keep = (body or CleanBody()).keep
    request = pb.CleanVersionsRequest(model=model, requested_by=caller, keep=keep)
    return await call_registry(training, "CleanVersions", request)
