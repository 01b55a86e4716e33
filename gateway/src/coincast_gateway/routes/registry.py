"""The registry of model versions, and how served forecasts did."""

from google.protobuf.message import Message

from coincast.training.v1 import training_pb2 as pb
from coincast_gateway.encode.plain import plain
from coincast_gateway.models.derived import shape_of
from coincast_gateway.problems import CONFLICT, NOT_FOUND, NOT_READY, UNSUPPORTED
from coincast_gateway.queries import training as queries
from coincast_gateway.replies import Reply, json_reply
from coincast_gateway.services.training import Training
from coincast_gateway.serving.endpoint import BEHIND, Call, Endpoint
from coincast_gateway.serving.tables import rows_of

FRESH_SECONDS = 5.0
MOVING = (*BEHIND, NOT_FOUND, NOT_READY, CONFLICT, UNSUPPORTED)


class RegistryRoutes:
    """Answers from training-svc's registry and ledger.

    Who may read may list and compare versions: what they say of those that serve stands in /forecasts/models
    as well. What moves an alias, removes a version or names people takes the scope `admin`.
    """

    def __init__(self, training: Training) -> None:
        self._training = training

    async def accuracy(self, query: queries.AccuracyQuery, call: Call) -> Reply:
        """The live record, the evaluated one beside it."""
        request = pb.GetAccuracyRequest(model=query.model, id=query.id, days=query.days)
        response = await self._training.backend.call(self._training.record.GetAccuracy, request)
        return json_reply(plain(response), fresh_seconds=FRESH_SECONDS)

    async def versions(self, query: queries.VersionsQuery, call: Call) -> Reply:
        """Versions and aliases."""
        return await self._ask("ListVersions", pb.ListVersionsRequest(model=query.model))

    async def compare(self, query: queries.CompareQuery, call: Call) -> Reply:
        """Two versions side by side."""
        request = pb.CompareVersionsRequest(model=query.model, version_a=query.a, version_b=query.b)
        return await self._ask("CompareVersions", request)

    async def promote(self, query: queries.ModelQuery, call: Call) -> Reply:
        """Move an alias."""
        body: queries.PromoteBody = call.body
        fields = body.model_dump(exclude_none=True)
        request = pb.PromoteVersionRequest(model=query.model, requested_by=call.requested_by, **fields)
        return await self._ask("PromoteVersion", request)

    async def rollback(self, query: queries.ModelQuery, call: Call) -> Reply:
        """Production goes back."""
        body: queries.RollbackBody = call.body
        fields = body.model_dump(exclude_none=True)
        request = pb.RollbackModelRequest(model=query.model, requested_by=call.requested_by, **fields)
        return await self._ask("RollbackModel", request)

    async def retire(self, query: queries.ModelQuery, call: Call) -> Reply:
        """Take a version out of use."""
        body: queries.RetireBody = call.body
        request = pb.RetireVersionRequest(
            model=query.model, requested_by=call.requested_by, **body.model_dump()
        )
        return await self._ask("RetireVersion", request)

    async def clean(self, query: queries.ModelQuery, call: Call) -> Reply:
        """Remove old versions."""
        body: queries.CleanBody = call.body
        request = pb.CleanVersionsRequest(model=query.model, requested_by=call.requested_by, keep=body.keep)
        return await self._ask("CleanVersions", request)

    async def audit(self, query: queries.AuditQuery, call: Call) -> Reply:
        """Who moved what."""
        return await self._ask("ListAudit", pb.ListAuditRequest(model=query.model, limit=query.limit))

    async def _ask(self, method: str, request: Message) -> Reply:
        rpc = getattr(self._training.registry, method)
        return json_reply(plain(await self._training.backend.call(rpc, request)))

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint(
                path="/forecasts/accuracy",
                name="accuracy",
                tag="forecasts",
                answer=self.accuracy,
                query=queries.AccuracyQuery,
                reply=shape_of(pb.GetAccuracyResponse),
                problems=(*BEHIND, NOT_FOUND, NOT_READY),
                summary="How served forecasts did once their day had come, beside the evaluated record",
            ),
            Endpoint(
                path="/models",
                name="versions",
                tag="models",
                answer=self.versions,
                query=queries.VersionsQuery,
                reply=shape_of(pb.ListVersionsResponse),
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
                reply=shape_of(pb.ListAuditResponse),
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
                reply=shape_of(pb.CompareVersionsResponse),
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
                reply=shape_of(pb.PromoteVersionResponse),
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
                reply=shape_of(pb.RollbackModelResponse),
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
                reply=shape_of(pb.RetireVersionResponse),
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
                reply=shape_of(pb.CleanVersionsResponse),
                kept=False,
                scope="admin",
                problems=MOVING,
                summary="Remove old versions; what an alias names, or a rollback needs, stays",
            ),
        ]
