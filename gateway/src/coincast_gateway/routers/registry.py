"""The registry of model versions, and how served forecasts did."""

from __future__ import annotations

from google.protobuf.message import Message

from coincast.training.v1 import training_pb2 as pb
from coincast_gateway.clients.training import TrainingClient
from coincast_gateway.errors.problems import CONFLICT, NOT_FOUND, NOT_READY, UNSUPPORTED
from coincast_gateway.formats.csv import rows_of
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.requests import training as queries
from coincast_gateway.serialization.proto import to_dict
from coincast_gateway.serving.endpoint import BEHIND, Call, Endpoint

FRESH_SECONDS = 5.0
MOVING = (*BEHIND, NOT_FOUND, NOT_READY, CONFLICT, UNSUPPORTED)


class RegistryRoutes:
    """Answers from training-svc's registry and ledger.

    Who may read may list and compare versions: what they say of those that serve stands in /forecasts/models
    as well. What moves an alias, removes a version or names people takes the scope `admin`.
    """

    def __init__(self, training: TrainingClient) -> None:
        self._training = training

    async def accuracy(self, query: queries.AccuracyQuery, call: Call) -> RenderedResponse:
        """The live record, the evaluated one beside it."""
        request = pb.GetAccuracyRequest(model=query.model, id=query.id, days=query.days)
        response = await self._training.backend.call(self._training.record.GetAccuracy, request)
        return render_json(to_dict(response), fresh_seconds=FRESH_SECONDS)

    async def versions(self, query: queries.VersionsQuery, call: Call) -> RenderedResponse:
        """Versions and aliases."""
        return await self._ask("ListVersions", pb.ListVersionsRequest(model=query.model))

    async def compare(self, query: queries.CompareQuery, call: Call) -> RenderedResponse:
        """Two versions side by side."""
        request = pb.CompareVersionsRequest(model=query.model, version_a=query.a, version_b=query.b)
        return await self._ask("CompareVersions", request)

    async def promote(self, query: queries.ModelQuery, call: Call) -> RenderedResponse:
        """Move an alias."""
        body: queries.PromoteBody = call.body
        fields = body.model_dump(exclude_none=True)
        request = pb.PromoteVersionRequest(model=query.model, requested_by=call.requested_by, **fields)
        return await self._ask("PromoteVersion", request)

    async def rollback(self, query: queries.ModelQuery, call: Call) -> RenderedResponse:
        """Production goes back."""
        body: queries.RollbackBody = call.body
        fields = body.model_dump(exclude_none=True)
        request = pb.RollbackModelRequest(model=query.model, requested_by=call.requested_by, **fields)
        return await self._ask("RollbackModel", request)

    async def retire(self, query: queries.ModelQuery, call: Call) -> RenderedResponse:
        """Take a version out of use."""
        body: queries.RetireBody = call.body
        request = pb.RetireVersionRequest(
            model=query.model, requested_by=call.requested_by, **body.model_dump()
        )
        return await self._ask("RetireVersion", request)

    async def clean(self, query: queries.ModelQuery, call: Call) -> RenderedResponse:
        """Remove old versions."""
        body: queries.CleanBody = call.body
        request = pb.CleanVersionsRequest(model=query.model, requested_by=call.requested_by, keep=body.keep)
        return await self._ask("CleanVersions", request)

    async def audit(self, query: queries.AuditQuery, call: Call) -> RenderedResponse:
        """Who moved what."""
        return await self._ask("ListAudit", pb.ListAuditRequest(model=query.model, limit=query.limit))

    async def _ask(self, method: str, request: Message) -> RenderedResponse:
        rpc = getattr(self._training.registry, method)
        return render_json(to_dict(await self._training.backend.call(rpc, request)))

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint(
                path="/forecasts/accuracy",
                name="accuracy",
                tag="forecasts",
                answer=self.accuracy,
                query=queries.AccuracyQuery,
                reply=response_model_for(pb.GetAccuracyResponse),
                problems=(*BEHIND, NOT_FOUND, NOT_READY),
                summary="How served forecasts did once their day had come, beside the evaluated record",
            ),
            Endpoint(
                path="/models",
                name="versions",
                tag="models",
                answer=self.versions,
                query=queries.VersionsQuery,
                reply=response_model_for(pb.ListVersionsResponse),
                kept=False,
                table=rows_of("versions"),
                summary="The versions of each model, and which of them serve",
            ),
            Endpoint(
                path="/models/audit",
                name="audit",
                tag="models",
                answer=self.audit,
                query=queries.AuditQuery,
                reply=response_model_for(pb.ListAuditResponse),
                kept=False,
                scope="admin",
                table=rows_of("entries"),
                summary="Who moved what, when and why",
            ),
            Endpoint(
                path="/models/{model}/compare",
                name="compare",
                tag="models",
                answer=self.compare,
                query=queries.CompareQuery,
                reply=response_model_for(pb.CompareVersionsResponse),
                kept=False,
                problems=(*BEHIND, NOT_FOUND, NOT_READY),
                summary="Two versions side by side, with a paired test on the same forecasts",
            ),
            Endpoint(
                path="/models/{model}/promote",
                name="promote",
                method="POST",
                tag="models",
                answer=self.promote,
                query=queries.ModelQuery,
                body=queries.PromoteBody,
                reply=response_model_for(pb.PromoteVersionResponse),
                kept=False,
                scope="admin",
                problems=MOVING,
                summary="Let an alias name a version; production is guarded by the promotion gate",
            ),
            Endpoint(
                path="/models/{model}/rollback",
                name="rollback",
                method="POST",
                tag="models",
                answer=self.rollback,
                query=queries.ModelQuery,
                body=queries.RollbackBody,
                reply=response_model_for(pb.RollbackModelResponse),
                kept=False,
                scope="admin",
                problems=MOVING,
                summary="Let production name the version before",
            ),
            Endpoint(
                path="/models/{model}/retire",
                name="retire",
                method="POST",
                tag="models",
                answer=self.retire,
                query=queries.ModelQuery,
                body=queries.RetireBody,
                reply=response_model_for(pb.RetireVersionResponse),
                kept=False,
                scope="admin",
                problems=MOVING,
                summary="Take a version out of use; one that an alias names is refused",
            ),
            Endpoint(
                path="/models/{model}/clean",
                name="clean",
                method="POST",
                tag="models",
                answer=self.clean,
                query=queries.ModelQuery,
                body=queries.CleanBody,
                reply=response_model_for(pb.CleanVersionsResponse),
                kept=False,
                scope="admin",
                problems=MOVING,
                summary="Remove old versions; what an alias names, or a rollback needs, stays",
            ),
        ]
