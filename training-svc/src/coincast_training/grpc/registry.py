"""gRPC servicer of the model registry."""

from __future__ import annotations

import asyncio

import grpc.aio
import structlog

from coincast.training.v1 import training_pb2 as pb
from coincast.training.v1 import training_pb2_grpc
from coincast_chassis.errors import InvalidInput, NotReady
from coincast_training.domain import TRAINED_MODELS
from coincast_training.grpc import proto_mapping
from coincast_training.grpc.jobs import within
from coincast_training.registry.registry import Registry

log = structlog.get_logger(__name__)
Context = grpc.aio.ServicerContext[object, object]
MAX_ENTRIES, DEFAULT_ENTRIES = 1000, 100
MAX_KEEP = 1000


class RegistryServicer(training_pb2_grpc.RegistryServiceServicer):
    """Serve the registry over gRPC. Its files and locks block, so each call runs in a thread."""

    def __init__(self, registry: Registry, *, keep_versions: int) -> None:
        self._registry, self._keep_versions = registry, keep_versions

    async def ListVersions(  # noqa: N802, D102 - the contract names it
        self, request: pb.ListVersionsRequest, context: Context
    ) -> pb.ListVersionsResponse:
        return await asyncio.to_thread(
            self._list, [_model(request.model)] if request.model else list(TRAINED_MODELS)
        )

    def _list(self, models: list[str]) -> pb.ListVersionsResponse:
        reply = pb.ListVersionsResponse()
        for model in models:
            try:
                table = self._registry.table(model)
            except NotReady as error:
                if len(models) == 1:
                    raise
                # The aliases of one model must not hide the versions of the others.
                log.warning("aliases_unreadable", model=model, reason=error.message)
                continue
            reply.tables.append(proto_mapping.table_to_pb(model, table))
            versions = self._registry.versions.list(model)
            reply.versions.extend(
                proto_mapping.version_to_pb(version, table) for version in reversed(versions)
            )
        return reply

    async def CompareVersions(  # noqa: N802, D102 - the contract names it
        self, request: pb.CompareVersionsRequest, context: Context
    ) -> pb.CompareVersionsResponse:
        model = _model(request.model)
        comparison = await asyncio.to_thread(
            self._registry.compare, model, request.version_a, request.version_b
        )
        return proto_mapping.comparison_to_pb(comparison, self._registry.table(model))

    async def PromoteVersion(  # noqa: N802, D102 - the contract names it
        self, request: pb.PromoteVersionRequest, context: Context
    ) -> pb.PromoteVersionResponse:
        moved = await asyncio.to_thread(
            self._registry.promote,
            _model(request.model),
            request.version,
            alias=request.alias or "production",
            share=request.share,
            expected_revision=_revision(request),
            force=request.force,
            reason=request.reason,
            requested_by=request.requested_by,
        )
        return pb.PromoteVersionResponse(
            table=proto_mapping.table_to_pb(request.model, moved.table), verdict=moved.verdict
        )

    async def RollbackModel(  # noqa: N802, D102 - the contract names it
        self, request: pb.RollbackModelRequest, context: Context
    ) -> pb.RollbackModelResponse:
        table = await asyncio.to_thread(
            self._registry.rollback,
            _model(request.model),
            reason=request.reason,
            requested_by=request.requested_by,
            expected_revision=_revision(request),
        )
        return pb.RollbackModelResponse(table=proto_mapping.table_to_pb(request.model, table))

    async def RetireVersion(  # noqa: N802, D102 - the contract names it
        self, request: pb.RetireVersionRequest, context: Context
    ) -> pb.RetireVersionResponse:
        version = await asyncio.to_thread(
            self._registry.retire,
            _model(request.model),
            request.version,
            reason=request.reason,
            requested_by=request.requested_by,
        )
        return pb.RetireVersionResponse(
            version=proto_mapping.version_to_pb(version, self._registry.table(request.model))
        )

    async def CleanVersions(  # noqa: N802, D102 - the contract names it
        self, request: pb.CleanVersionsRequest, context: Context
    ) -> pb.CleanVersionsResponse:
        model, keep = _model(request.model), within(request.keep, MAX_KEEP, self._keep_versions, "keep")
        removed = await asyncio.to_thread(
            self._registry.clean, model, keep=keep, requested_by=request.requested_by
        )
        return pb.CleanVersionsResponse(
            removed=removed, table=proto_mapping.table_to_pb(model, self._registry.table(model))
        )

    async def ListAudit(self, request: pb.ListAuditRequest, context: Context) -> pb.ListAuditResponse:  # noqa: N802, D102 - the contract names it
        limit = within(request.limit, MAX_ENTRIES, DEFAULT_ENTRIES, "limit")
        model = _model(request.model) if request.model else ""
        entries = await asyncio.to_thread(lambda: list(self._registry.audit.entries(model)))
        return pb.ListAuditResponse(
            entries=[proto_mapping.audit_to_pb(entry) for entry in entries[: -limit - 1 : -1]]
        )


def _model(name: str) -> str:
    """Validate the name of a model, since it becomes part of a path."""
    if name not in TRAINED_MODELS:
        raise InvalidInput(
            f"model must be one of {', '.join(TRAINED_MODELS)}; it is {name!r}.", field="model"
        )
    return name


def _revision(request: pb.PromoteVersionRequest | pb.RollbackModelRequest) -> int | None:
    return request.expected_revision if request.HasField("expected_revision") else None
