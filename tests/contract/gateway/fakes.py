"""The three services as the gateway's tests need them: in process, over real gRPC, told what to do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import grpc.aio
import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.forecast.v1 import forecast_pb2_grpc as fc_rpc
from coincast.market.v1 import market_pb2 as mk
from coincast.market.v1 import market_pb2_grpc as mk_rpc
from coincast.training.v1 import training_pb2 as tr
from coincast.training.v1 import training_pb2_grpc as tr_rpc
from coincast_chassis.app import ServiceApp, Servicer
from coincast_chassis.errors import CoincastError, Conflict, NotFound
from coincast_chassis.run import serve as serve_grpc
from coincast_chassis.settings import ServiceSettings
from coincast_gateway.server import serve
from coincast_gateway.settings import Settings
from coincast_market_data.many import answers

AS_OF = 1_700_000_000
COINS = {"bitcoin": 37_000.0, "ethereum": 2_000.0, "tether": 1.0}
STANDING = {
    "as_of": "2023-11-14T22:13:20Z",
    "age_seconds": 1.5,
    "source": "sandbox",
    "stale": False,
    "reason": None,
}


def provenance() -> common.Provenance:
    return common.Provenance(
        as_of=Timestamp(seconds=AS_OF), age_seconds=1.5, source=common.SOURCE_SANDBOX, stale=False, reason=""
    )


def item_error(coin_id: str) -> dict[str, Any]:
    return {
        "id": coin_id,
        "kind": "not_found",
        "message": f"No coin has the id {coin_id}.",
        "field": "ids",
        "suggestions": ["bitcoin"],
        "retry_after_seconds": None,
    }


VERSION = tr.ModelVersion(
    model="lightgbm", version="v000001", created_at=Timestamp(seconds=AS_OF), coins=["bitcoin"]
)
TABLE = tr.AliasTable(model="lightgbm", revision=3, production_version="v000001")


@dataclass
class Script:
    """What the fakes do: which error each service answers with, how long it takes, what it was asked."""

    error: CoincastError | None = None
    delay_seconds: float = 0.0
    calls: list[Any] = field(default_factory=list)

    async def play(self, request: Any) -> None:
        self.calls.append(request)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.error is not None:
            raise self.error


class FakeMarket(mk_rpc.MarketDataServiceServicer):
    def __init__(self) -> None:
        self.script = Script()
        self.documents: dict[str, Any] = {"ping": {"gecko_says": "(V3) To the Moon!"}}

    async def GetPrices(self, request: mk.GetPricesRequest, context: Any) -> mk.GetPricesResponse:
        await self.script.play(request)
        currencies = list(request.vs_currencies) or ["usd"]
        prices = [self._price(i, c) for i in request.ids if i in COINS for c in currencies]
        errors = [item_error(i) for i in request.ids if i not in COINS]
        body = orjson.dumps({"prices": prices, "errors": errors})
        return mk.GetPricesResponse(json=body, provenance=provenance())

    def GetPricesForMany(
        self, request: mk.GetPricesForManyRequest, context: Any
    ) -> AsyncIterator[mk.GetPricesForManyResponse]:
        return answers(request.questions, lambda question: self.GetPrices(question, context))

    @staticmethod
    def _price(coin_id: str, currency: str) -> dict[str, Any]:
        return {
            "id": coin_id,
            "vs_currency": currency,
            "price": COINS[coin_id],
            "market_cap": None,
            "volume_24h": 1e9,
            "change_24h_percent": 1.5,
            "last_updated_at": "2023-11-14T22:13:20Z",
            **STANDING,
        }

    async def GetMarkets(self, request: mk.GetMarketsRequest, context: Any) -> mk.GetMarketsResponse:
        await self.script.play(request)
        names = list(mk.Market.DESCRIPTOR.fields_by_name)
        wanted = [i for i in request.ids if i in COINS] if request.ids else list(COINS)
        markets = [
            {
                **dict.fromkeys(names),
                "id": i,
                "symbol": i[:3],
                "name": i.title(),
                "vs_currency": request.vs_currency,
                **STANDING,
            }
            for i in wanted
        ]
        errors = [item_error(i) for i in request.ids if i not in COINS]
        body = orjson.dumps({"markets": markets, "errors": errors})
        return mk.GetMarketsResponse(json=body, provenance=provenance())

    async def ListCoins(self, request: mk.ListCoinsRequest, context: Any) -> mk.ListCoinsResponse:
        await self.script.play(request)
        found = [mk.Coin(id=i, symbol=i[:3], name=i.title()) for i in COINS if request.query.lower() in i]
        return mk.ListCoinsResponse(
            coins=found[: request.limit or 100], total=len(found), provenance=provenance()
        )

    async def ListVsCurrencies(self, request: Any, context: Any) -> mk.ListVsCurrenciesResponse:
        await self.script.play(request)
        return mk.ListVsCurrenciesResponse(vs_currencies=["usd", "eur"], provenance=provenance())

    async def GetHistory(self, request: mk.GetHistoryRequest, context: Any) -> mk.GetHistoryResponse:
        await self.script.play(request)
        if request.id not in COINS:
            raise NotFound(f"No coin has the id {request.id}.", field="id", suggestions=["bitcoin"])
        count = min(request.days, 60)
        days = [date(2023, 11, 13) - timedelta(days=count - 1 - i) for i in range(count)]
        rest = {"open": None, "high": None, "low": None, "volume": 1e9, "market_cap": None}
        candles = [
            {"date": d.isoformat(), "close": 36_500.0 + 400 * math.sin(i), **rest} for i, d in enumerate(days)
        ]
        document = {
            "id": request.id,
            "vs_currency": request.vs_currency,
            "candles": candles,
            "truncated": False,
            "truncated_reason": None,
            "missing_dates": [],
            **STANDING,
        }
        return mk.GetHistoryResponse(json=orjson.dumps(document))

    async def GetOhlc(self, request: mk.GetOhlcRequest, context: Any) -> mk.GetOhlcResponse:
        await self.script.play(request)
        if request.id not in COINS:
            raise NotFound(f"No coin has the id {request.id}.", field="id", suggestions=["bitcoin"])
        candle = mk.OhlcCandle(closed_at=Timestamp(seconds=AS_OF), open=1, high=3, low=1, close=2)
        return mk.GetOhlcResponse(
            id=request.id, vs_currency=request.vs_currency, candles=[candle], provenance=provenance()
        )

    async def GetDocument(self, request: mk.GetDocumentRequest, context: Any) -> mk.GetDocumentResponse:
        await self.script.play(request)
        document = self.documents.get(request.path)
        if document is None:
            raise NotFound("coin not found", field="id")
        return mk.GetDocumentResponse(
            json=orjson.dumps(document), provenance=provenance(), fresh_for_seconds=5.0
        )

    async def GetStatus(self, request: Any, context: Any) -> mk.GetStatusResponse:
        await self.script.play(request)
        return mk.GetStatusResponse(
            upstream="sandbox", plan="demo", redis_up=True, version="1", uptime_seconds=3
        )


def forecast_of(coin_id: str, request: fc.GetForecastsRequest) -> fc.Forecast:
    levels = list(request.levels_percent) or [80.0, 95.0]
    points = [
        fc.ForecastPoint(
            date=f"2023-11-{14 + day:02d}" if day < 16 else "2023-12-01",
            horizon_days=day,
            price=37_000.0,
            intervals=[
                fc.Interval(level_percent=lv, lower=37_000 - 10 * lv, upper=37_000 + 10 * lv) for lv in levels
            ],
            quantiles=[
                fc.Quantile(probability=p, price=36_000 + 1000 * p) for p in request.quantile_probabilities
            ],
            probability_of_rise=0.5,
            volatility=fc.VolatilityOutlook(annualised_percent=50.0),
        )
        for day in range(1, (request.days or 7) + 1)
    ]
    horizons = [fc.HorizonRecord(horizon_days=7, forecasts=100, mase=0.9, crps_skill_percent=3.0)]
    return fc.Forecast(
        id=coin_id,
        vs_currency=request.vs_currency or "usd",
        as_of=Timestamp(seconds=AS_OF),
        last_price=37_000.0,
        model=request.model or "auto",
        version="v000001",
        served_by="lightgbm",
        provenance=provenance(),
        points=points,
        record=fc.Record(measured_at=Timestamp(seconds=AS_OF), test_coins="bitcoin", horizons=horizons),
        attributions=[
            fc.Attribution(feature="rv_30", value=0.5, contribution=0.1, output="volatility", horizon_days=7)
        ][: request.attribution_features],
        variant="production",
        forecast_id="f1",
    )


class FakeForecast(fc_rpc.ForecastServiceServicer):
    def __init__(self) -> None:
        self.script = Script()
        self.ready = True
        self.challenger_share = 0.0

    async def GetForecasts(self, request: fc.GetForecastsRequest, context: Any) -> fc.GetForecastsResponse:
        await self.script.play(request)
        errors = [
            common.ItemError(
                id=i,
                kind=common.ERROR_KIND_NOT_FOUND,
                message=f"No coin has the id {i}.",
                field="ids",
                suggestions=["bitcoin"],
            )
            for i in request.ids
            if i not in COINS
        ]
        return fc.GetForecastsResponse(
            forecasts=[forecast_of(i, request) for i in request.ids if i in COINS], errors=errors
        )

    async def ListModels(self, request: Any, context: Any) -> fc.ListModelsResponse:
        await self.script.play(request)
        variants = [fc.Variant(alias="production", version="v000001", share=1 - self.challenger_share)]
        if self.challenger_share:
            variants.append(fc.Variant(alias="challenger", version="v000002", share=self.challenger_share))
        model = fc.Model(
            name="lightgbm",
            description="Trees.",
            ready=self.ready,
            reason="" if self.ready else "No artifact.",
            version="v000001",
            created_at=Timestamp(seconds=AS_OF),
            max_horizon_days=30,
            min_history_days=90,
            variants=variants,
        )
        return fc.ListModelsResponse(models=[model])

    async def GetStatus(self, request: Any, context: Any) -> fc.GetStatusResponse:
        await self.script.play(request)
        return fc.GetStatusResponse(version="1", uptime_seconds=2, market_data_up=True)


class FakeTraining(
    tr_rpc.TrainingServiceServicer, tr_rpc.RegistryServiceServicer, tr_rpc.AccuracyServiceServicer
):
    def __init__(self) -> None:
        self.script = Script()
        self.jobs: dict[str, tr.Job] = {}
        # What a watched job becomes; None ends a watch after its first word.
        self.pushes: asyncio.Queue[tr.Job | CoincastError] | None = None

    async def GetStatus(self, request: Any, context: Any) -> tr.GetStatusResponse:
        await self.script.play(request)
        return tr.GetStatusResponse(version="1", uptime_seconds=1, redis_up=True)

    async def SubmitJob(self, request: tr.SubmitJobRequest, context: Any) -> tr.SubmitJobResponse:
        await self.script.play(request)
        job_id = f"job-{request.idempotency_key or len(self.jobs)}"
        job = self.jobs.setdefault(
            job_id, tr.Job(job_id=job_id, spec=request.spec, state=tr.JOB_STATE_QUEUED)
        )
        job.requested_by = request.requested_by
        return tr.SubmitJobResponse(job=job)

    def _job(self, job_id: str) -> tr.Job:
        if job_id not in self.jobs:
            raise NotFound(f"No job has the id {job_id}.", field="job_id")
        return self.jobs[job_id]

    async def GetJob(self, request: tr.GetJobRequest, context: Any) -> tr.GetJobResponse:
        return tr.GetJobResponse(job=self._job(request.job_id))

    async def ListJobs(self, request: tr.ListJobsRequest, context: Any) -> tr.ListJobsResponse:
        await self.script.play(request)
        return tr.ListJobsResponse(jobs=list(self.jobs.values())[: request.limit])

    async def WatchJob(self, request: tr.WatchJobRequest, context: Any) -> AsyncIterator[tr.WatchJobResponse]:
        """The job as it is, then each push; the stream ends with the job, or where nobody pushes."""
        job = tr.Job()
        job.CopyFrom(self._job(request.job_id))
        yield tr.WatchJobResponse(job=job)
        while job.state in (tr.JOB_STATE_QUEUED, tr.JOB_STATE_RUNNING) and self.pushes is not None:
            pushed = await self.pushes.get()
            if isinstance(pushed, CoincastError):
                raise pushed
            job.MergeFrom(pushed)
            yield tr.WatchJobResponse(job=job)

    async def CancelJob(self, request: tr.CancelJobRequest, context: Any) -> tr.CancelJobResponse:
        self._job(request.job_id).state = tr.JOB_STATE_CANCELLED
        return tr.CancelJobResponse(job=self._job(request.job_id))

    async def GetJobLogs(self, request: tr.GetJobLogsRequest, context: Any) -> tr.GetJobLogsResponse:
        self._job(request.job_id)
        return tr.GetJobLogsResponse(lines=["fitting"][: request.tail])

    async def ListVersions(self, request: tr.ListVersionsRequest, context: Any) -> tr.ListVersionsResponse:
        await self.script.play(request)
        return tr.ListVersionsResponse(versions=[VERSION], tables=[TABLE])

    async def CompareVersions(
        self, request: tr.CompareVersionsRequest, context: Any
    ) -> tr.CompareVersionsResponse:
        for version in (request.version_a, request.version_b):
            if version != VERSION.version:
                raise NotFound(f"{request.model} has no version {version}.", field="a")
        test = tr.PairedTest(horizon_days=7, loss="crps", forecasts=10, p_value=0.5)
        return tr.CompareVersionsResponse(
            a=VERSION, b=VERSION, tests=[test], verdict="The data does not tell."
        )

    async def PromoteVersion(
        self, request: tr.PromoteVersionRequest, context: Any
    ) -> tr.PromoteVersionResponse:
        await self.script.play(request)
        if request.HasField("expected_revision") and request.expected_revision != TABLE.revision:
            raise Conflict("The aliases moved to revision 3.", field="expected_revision")
        return tr.PromoteVersionResponse(table=TABLE, verdict="Better.")

    async def RollbackModel(self, request: tr.RollbackModelRequest, context: Any) -> tr.RollbackModelResponse:
        await self.script.play(request)
        return tr.RollbackModelResponse(table=TABLE)

    async def RetireVersion(self, request: tr.RetireVersionRequest, context: Any) -> tr.RetireVersionResponse:
        await self.script.play(request)
        if request.version == TABLE.production_version:
            raise Conflict(f"{request.model} {request.version} is production.", field="version")
        return tr.RetireVersionResponse(version=VERSION)

    async def CleanVersions(self, request: tr.CleanVersionsRequest, context: Any) -> tr.CleanVersionsResponse:
        await self.script.play(request)
        return tr.CleanVersionsResponse(removed=["v000000"], table=TABLE)

    async def ListAudit(self, request: tr.ListAuditRequest, context: Any) -> tr.ListAuditResponse:
        entry = tr.AuditEntry(
            at=Timestamp(seconds=AS_OF), model="lightgbm", action="promote", to_version="v000001"
        )
        return tr.ListAuditResponse(entries=[entry])

    async def GetAccuracy(self, request: tr.GetAccuracyRequest, context: Any) -> tr.GetAccuracyResponse:
        await self.script.play(request)
        horizon = fc.HorizonRecord(horizon_days=7, forecasts=12, mase=0.95, coverage_80_percent=float("nan"))
        live = tr.LiveRecord(
            model="lightgbm", version="v000001", id="bitcoin", variant="production", horizon=horizon
        )
        return tr.GetAccuracyResponse(
            live=[live], ledger=tr.LedgerStatus(stored_forecasts=12, scored_forecasts=12)
        )


@dataclass
class World:
    """The gateway's address, and the fakes behind it."""

    url: str
    market: FakeMarket
    forecast: FakeForecast
    training: FakeTraining
    targets: dict[str, str]


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """A gateway on a free port over three fakes."""
    market, forecast, training = FakeMarket(), FakeForecast(), FakeTraining()
    async with AsyncExitStack() as stack:
        add_market, add_forecast = (
            mk_rpc.add_MarketDataServiceServicer_to_server,
            fc_rpc.add_ForecastServiceServicer_to_server,
        )
        serving = {
            "market_target": _served(add_market, market, "coincast.market.v1.MarketDataService"),
            "forecast_target": _served(add_forecast, forecast, "coincast.forecast.v1.ForecastService"),
            "training_target": _training(training),
        }
        targets = {name: await stack.enter_async_context(each) for name, each in serving.items()}
        given = {
            "redis_url": "",
            "port": 0,
            "metrics_port": 0,
            "not_serving_seconds": 0,
            **targets,
            **settings,
        }
        url = await stack.enter_async_context(serve(Settings(**given)))
        yield World(url, market, forecast, training, targets)


@asynccontextmanager
async def _served(add: Any, servicer: Any, name: str) -> AsyncIterator[str]:
    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp([Servicer(add, servicer, name)])

    async with serve_grpc(
        name, ServiceSettings(port=0, not_serving_seconds=0, drain_seconds=0), build
    ) as address:
        yield address


@asynccontextmanager
async def _training(servicer: FakeTraining) -> AsyncIterator[str]:
    async def build(settings: ServiceSettings, stack: AsyncExitStack) -> ServiceApp:
        return ServiceApp(
            [
                Servicer(
                    tr_rpc.add_TrainingServiceServicer_to_server,
                    servicer,
                    "coincast.training.v1.TrainingService",
                ),
                Servicer(
                    tr_rpc.add_RegistryServiceServicer_to_server,
                    servicer,
                    "coincast.training.v1.RegistryService",
                ),
                Servicer(
                    tr_rpc.add_AccuracyServiceServicer_to_server,
                    servicer,
                    "coincast.training.v1.AccuracyService",
                ),
            ]
        )

    async with serve_grpc(
        "training", ServiceSettings(port=0, not_serving_seconds=0, drain_seconds=0), build
    ) as address:
        yield address


__all__ = ["AS_OF", "COINS", "FakeForecast", "FakeMarket", "FakeTraining", "World", "grpc", "world"]
