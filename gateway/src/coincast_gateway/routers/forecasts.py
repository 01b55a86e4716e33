"""Forecasts, their models, explanations and accuracy."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast.training.v1 import training_pb2 as training_pb
from coincast_chassis.errors import CoincastError, Timeout, Unavailable
from coincast_gateway.auth.authenticator import READ
from coincast_gateway.cache.last_known import LastKnownResponses
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.clients.past_forecasts import past_forecasts
from coincast_gateway.dependencies import Bucket, Config, Forecasts, LastForecasts, Market, Training
from coincast_gateway.errors.partial_results import (
    malformed_id_errors,
    refuse_if_all_failed,
    render_cacheable,
)
from coincast_gateway.errors.problems import NOT_FOUND, NOT_READY, STARTING, service_responses
from coincast_gateway.formats.csv import accuracy_rows, forecast_rows, ledger_rows, rows_of
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.rendering import RenderedResponse, encode_json, render_json, unix_seconds
from coincast_gateway.schemas.from_proto import response_model_for
from coincast_gateway.schemas.parameters import split_ids
from coincast_gateway.schemas.requests.forecasts import (
    ExplainQuery,
    ForecastsQuery,
    LedgerQuery,
    ModelsQuery,
)
from coincast_gateway.schemas.requests.training import AccuracyQuery
from coincast_gateway.schemas.responses import forecasts as schemas
from coincast_gateway.serialization import forecasts_document, to_dict

router = APIRouter(tags=["forecasts"], dependencies=[READ])


@router.get(
    "/forecasts",
    operation_id="forecasts",
    summary="Forecasts of up to 250 coins, 1 to 30 days or 1 to 48 hours ahead, with intervals",
    response_model=schemas.Forecasts,
    responses=service_responses(NOT_FOUND, NOT_READY, STARTING),
)
@cached(shared=True, vary_by=["bucket"])
@csv_rows(forecast_rows)
async def get_forecasts(
    query: Annotated[ForecastsQuery, Query()],
    *,
    forecasts: Forecasts,
    settings: Config,
    bucket: Bucket,
    last_known: LastForecasts,
    training: Training,
) -> RenderedResponse:
    """Return a forecast of each coin; coins that cannot be served are in `errors`.

    With `as_of` the forecasts that were served at that moment are returned, and reconstructed ones for coins
    without a served forecast.

    While the forecast service is down, the last forecast for the same request is served for up to a day, with
    `stale: true` and the reason.
    """
    good, bad = split_ids(query.ids)
    document: dict[str, list[dict[str, Any]]] = {"forecasts": [], "errors": []}
    as_of = None
    if good:
        request = pb.GetForecastsRequest(
            ids=good,
            vs_currency=query.vs_currency,
            days=0 if query.hours else query.days,
            hours=query.hours or 0,
            model=query.model,
            levels_percent=query.levels,
            quantile_probabilities=query.quantiles,
            client_key=bucket,
        )
        key = query.model_dump_json()
        try:
            if query.as_of is not None:
                response = await past_forecasts(request, query.as_of, forecasts=forecasts, training=training)
            else:
                response = await forecasts.forecasts(request)
        except (Unavailable, Timeout) as error:
            return render_last_known(last_known, key, error, settings.forecasts_fresh_seconds)
        document, as_of = forecasts_document(response), oldest_as_of(response)
    errors = [*document["errors"], *malformed_id_errors(bad)]
    refuse_if_all_failed(len(document["forecasts"]), errors)
    body = encode_json({**document, "errors": errors})
    rendered = render_cacheable(body, settings.forecasts_fresh_seconds, as_of)
    # A degraded answer takes the place of none: a coin that a model cannot forecast has no other.
    degraded = any(forecast["degraded"] for forecast in document["forecasts"])
    if good and not (degraded and last_known.find(key)):
        last_known.store(key, body)
    return rendered


def oldest_as_of(response: pb.GetForecastsResponse) -> float | None:
    """Return the UNIX seconds of the oldest close that any of the forecasts is based on."""
    return min((unix_seconds(item.as_of) for item in response.forecasts), default=None)


def render_last_known(
    known: LastKnownResponses, key: str, error: CoincastError, fresh_seconds: float
) -> RenderedResponse:
    """Return the last forecasts that were served for a request, marked as stale with the reason.

    Args:
        known: The last good responses.
        key: The text that identifies the request.
        error: Why there is no current forecast.
        fresh_seconds: How long the response is cached.

    Raises:
        CoincastError: `error`, if no forecast of the last day is known.
    """
    found = known.find(key)
    if found is None:
        raise error
    document, age_seconds = orjson.loads(found[0]), found[1]
    for forecast in document["forecasts"]:
        forecast["stale"] = True
        forecast["age_seconds"] += age_seconds
        then = f" It was degraded then: {forecast['reason']}" if forecast["reason"] else ""
        forecast["reason"] = f"{error.message} This is the forecast given {span(age_seconds)} ago.{then}"
    return render_cacheable(encode_json(document), fresh_seconds)


def span(seconds: float) -> str:
    """Return a span of time in the unit that people would take: `40 s`, `12 minutes`, `5 hours`."""
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} hours"


@router.get(
    "/forecasts/explain",
    operation_id="explain",
    summary="Which features contributed most to one coin's forecast",
    response_model=schemas.Explanation,
    responses=service_responses(NOT_FOUND, NOT_READY, STARTING),
)
@cached(shared=True, vary_by=["bucket"])
async def explain_forecast(
    query: Annotated[ExplainQuery, Query()], forecasts: Forecasts, settings: Config, bucket: Bucket
) -> RenderedResponse:
    """Return one forecast with the features that contributed most to it."""
    request = pb.GetForecastsRequest(
        ids=[query.ids],
        vs_currency=query.vs_currency,
        days=query.days,
        model=query.model,
        attribution_features=query.features,
        client_key=bucket,
    )
    response = await forecasts.forecasts(request)
    document = forecasts_document(response)
    refuse_if_all_failed(len(document["forecasts"]), document["errors"])
    explained = {"forecast": document["forecasts"][0], "kind": "shap"}
    return render_cacheable(encode_json(explained), settings.forecasts_fresh_seconds, oldest_as_of(response))


@router.get(
    "/forecasts/models",
    operation_id="forecast_models",
    summary="The models, with the out-of-sample accuracy of each",
    response_model=schemas.Models,
    responses=service_responses(),
)
@cached()
@csv_rows(rows_of("models"))
async def list_forecast_models(
    query: Annotated[ModelsQuery, Query()], forecasts: Forecasts
) -> RenderedResponse:
    """Return the models that can be requested, each with the accuracy of its serving version."""
    return render_json(to_dict(await forecasts.models()), fresh_seconds=5.0)


@router.get(
    "/forecasts/ledger",
    operation_id="ledger",
    summary="Forecasts as they were served, with their outcomes where known",
    response_model=schemas.ForecastLog,
    responses=service_responses(NOT_FOUND, NOT_READY),
)
@cached()
@csv_rows(ledger_rows)
async def get_ledger(
    query: Annotated[LedgerQuery, Query()], training: Training, market: Market
) -> RenderedResponse:
    """Return one entry for each forecast and horizon, oldest first; logged forecasts are never changed."""
    good, bad = split_ids(query.ids or ())
    if query.ids and not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))
    request = training_pb.StreamForecastLogRequest(
        ids=good,
        model=query.model,
        from_date=query.from_.isoformat() if query.from_ else "",
        to_date=query.to.isoformat() if query.to else "",
        horizon_days=0 if query.hours else query.horizon,
        horizon_hours=query.hours,
        # One more than requested, to know whether the log has more.
        limit=query.limit + 1,
    )
    entries = [to_dict(entry) async for chunk in training.forecast_log(request) for entry in chunk.forecasts]
    errors = (
        malformed_id_errors(bad)
        if entries or not good
        else [*await market.unknown_coins(good), *malformed_id_errors(bad)]
    )
    if errors and len(errors) == len(query.ids or ()):
        refuse_if_all_failed(len(entries), errors)
    document = {"forecasts": entries[: query.limit], "truncated": len(entries) > query.limit}
    return render_json({**document, "errors": errors}, fresh_seconds=5.0)


@router.get(
    "/forecasts/accuracy",
    operation_id="accuracy",
    summary="Accuracy of served forecasts with known outcomes, beside the out-of-sample accuracy",
    response_model=response_model_for(training_pb.GetAccuracyResponse),
    responses=service_responses(NOT_FOUND, NOT_READY),
)
@cached()
@csv_rows(accuracy_rows)
async def get_accuracy(
    query: Annotated[AccuracyQuery, Query()], training: Training, market: Market
) -> RenderedResponse:
    """Return the errors and the coverage of served forecasts, by model and horizon."""
    request = training_pb.GetAccuracyRequest(model=query.model, id=query.ids, days=query.days)
    response = await training.backend.call(training.record.GetAccuracy, request)
    if query.ids and not response.live:
        refuse_if_all_failed(0, await market.unknown_coins([query.ids.lower()]))
    return render_json(to_dict(response), fresh_seconds=5.0)
