"""Forecasts, the models that make them, and what moved them."""

from __future__ import annotations

from typing import Any

import orjson

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_gateway.clients.forecast import ForecastClient
from coincast_gateway.errors.partial_results import malformed, refuse_if_all_failed, render_cacheable
from coincast_gateway.errors.problems import NOT_FOUND, NOT_READY, STARTING
from coincast_gateway.formats.csv import forecast_rows, rows_of
from coincast_gateway.rendering import RenderedResponse, render_json
from coincast_gateway.schemas.fields import split_ids
from coincast_gateway.schemas.requests.forecasts import ExplainQuery, ForecastsQuery
from coincast_gateway.schemas.requests.market import NoQuery
from coincast_gateway.schemas.responses import forecasts as shapes
from coincast_gateway.serialization.forecasts import forecasts_document, oldest_as_of
from coincast_gateway.serialization.proto import to_dict
from coincast_gateway.serving.endpoint import BEHIND, Call, Endpoint
from coincast_gateway.settings import Settings


class ForecastRoutes:
    """Answers from forecast-svc."""

    def __init__(self, forecasting: ForecastClient, settings: Settings) -> None:
        self._forecasting = forecasting
        self._fresh_seconds = settings.forecasts_fresh_seconds

    async def forecasts(self, query: ForecastsQuery, call: Call) -> RenderedResponse:
        """Forecasts of many coins; a coin that cannot be served comes back in errors."""
        good, bad = split_ids(query.ids)
        document: dict[str, list[dict[str, Any]]] = {"forecasts": [], "errors": []}
        as_of = None
        if good:
            request = pb.GetForecastsRequest(
                ids=good,
                vs_currency=query.vs_currency,
                days=query.days,
                model=query.model,
                levels_percent=query.levels,
                quantile_probabilities=query.quantiles,
                client_key=call.client_key,
            )
            response = await self._forecasting.forecasts(request)
            document, as_of = forecasts_document(response), oldest_as_of(response)
        errors = [*document["errors"], *malformed(bad)]
        refuse_if_all_failed(len(document["forecasts"]), errors)
        return render_cacheable(orjson.dumps({**document, "errors": errors}), self._fresh_seconds, as_of)

    async def explain(self, query: ExplainQuery, call: Call) -> RenderedResponse:
        """One forecast with its most telling features."""
        request = pb.GetForecastsRequest(
            ids=[query.id],
            vs_currency=query.vs_currency,
            days=query.days,
            model=query.model,
            attribution_features=query.features,
            client_key=call.client_key,
        )
        response = await self._forecasting.forecasts(request)
        document = forecasts_document(response)
        refuse_if_all_failed(len(document["forecasts"]), document["errors"])
        explained = {"forecast": document["forecasts"][0], "kind": "shap"}
        return render_cacheable(orjson.dumps(explained), self._fresh_seconds, oldest_as_of(response))

    async def models(self, query: NoQuery, call: Call) -> RenderedResponse:
        """The models that can be asked for."""
        response = await self._forecasting.models()
        return render_json(to_dict(response), fresh_seconds=5.0)

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint(
                path="/forecasts",
                name="forecasts",
                tag="forecasts",
                answer=self.forecasts,
                query=ForecastsQuery,
                reply=shapes.Forecasts,
                shared=True,
                problems=(*BEHIND, NOT_FOUND, NOT_READY, STARTING),
                table=forecast_rows,
                by_caller=True,
                summary="Forecasts of up to 250 coins, 1 to 30 days ahead, with intervals",
            ),
            Endpoint(
                path="/forecasts/models",
                name="forecast_models",
                tag="forecasts",
                answer=self.models,
                query=NoQuery,
                reply=shapes.Models,
                table=rows_of("models"),
                summary="The models, and how well each did out of sample",
            ),
            Endpoint(
                path="/forecasts/explain",
                name="explain",
                tag="forecasts",
                answer=self.explain,
                query=ExplainQuery,
                reply=shapes.Explanation,
                shared=True,
                problems=(*BEHIND, NOT_FOUND, NOT_READY, STARTING),
                by_caller=True,
                summary="What moved one coin's forecast",
            ),
        ]
