"""Joint scenarios, touch probabilities, and the risk of a portfolio."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from coincast.common.v1.common_pb2 import ItemError
from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_gateway.auth.authenticator import READ
from coincast_gateway.cache.response_cache import cached
from coincast_gateway.dependencies import Config, Forecasts
from coincast_gateway.errors.partial_results import (
    malformed_id_errors,
    refuse_if_all_failed,
    render_cacheable,
)
from coincast_gateway.errors.problems import (
    INVALID,
    NOT_FOUND,
    NOT_READY,
    STARTING,
    UNSUPPORTED,
    reject,
    service_responses,
)
from coincast_gateway.formats.csv import described
from coincast_gateway.formats.negotiation import csv_rows
from coincast_gateway.rendering import RenderedResponse, encode_json, unix_seconds
from coincast_gateway.schemas.parameters import split_ids
from coincast_gateway.schemas.requests.risk import MAX_VALUES, PortfolioBody, ScenariosQuery, TouchQuery
from coincast_gateway.schemas.responses import risk as schemas
from coincast_gateway.serialization import item_error, to_dict

router = APIRouter(tags=["risk"], dependencies=[READ])
RESPONSES = service_responses(NOT_FOUND, NOT_READY, STARTING)


@described
def touch_rows(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each coin, level and day."""
    for coin in document["coins"]:
        for level in coin["levels"]:
            head = {"id": coin["id"], "last_price": coin["last_price"]}
            head |= {"level_price": level["price"], "level_percent": level["percent"]}
            for day in level["days"]:
                yield {**head, **day}


@described
def scenario_rows(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each coin, path and day."""
    for coin in document["coins"]:
        for path, origin in enumerate(document["origin_dates"]):
            for day, date in enumerate(document["dates"]):
                yield {
                    "id": coin["id"],
                    "path": path + 1,
                    "origin_date": origin,
                    "date": date,
                    **{name[:-1]: coin[name][path][day] for name in ("closes", "highs", "lows")},
                }


@router.get(
    "/forecasts/touch",
    operation_id="touch",
    summary="The chance that prices touch a level within each of the coming days",
    response_model=schemas.Touch,
    responses=RESPONSES,
)
@cached(shared=True)
@csv_rows(touch_rows)
async def get_touch(
    query: Annotated[TouchQuery, Query()], forecasts: Forecasts, settings: Config
) -> RenderedResponse:
    """Return, for each level and day, the probabilities of a touch by that day and of a close beyond it.

    With `as_of` they are those of that past moment, made from what was known then; the log and the live
    records do not include them.
    """
    good, bad = split_ids(query.ids)
    refuse_malformed(good, bad)
    request = pb.EstimateTouchRequest(
        ids=good,
        vs_currency=query.vs_currency,
        levels=[pb.TouchLevel(**{kind: number}) for kind, number in query.level],
        days=query.days,
        model=query.model,
    )
    if query.as_of is not None:
        request.as_of_time.FromDatetime(query.as_of)
    response = await forecasts.touch(request)
    document = {**to_dict(response), "errors": errors_of(response.errors, bad)}
    as_of = unix_seconds(response.basis.as_of)
    return render_cacheable(encode_json(document), settings.forecasts_fresh_seconds, as_of)


@router.get(
    "/forecasts/scenarios",
    operation_id="scenarios",
    summary="Joint price paths of several coins, built from past days",
    response_model=schemas.Scenarios,
    responses=RESPONSES,
)
@cached()
@csv_rows(scenario_rows)
async def get_scenarios(
    query: Annotated[ScenariosQuery, Query()], forecasts: Forecasts, settings: Config
) -> RenderedResponse:
    """Return paths whose prices on each day follow the forecast and whose joint moves follow past days."""
    good, bad = split_ids(query.ids)
    refuse_malformed(good, bad)
    values = len(good) * query.days * query.paths
    if values > MAX_VALUES:
        raise reject(
            INVALID,
            f"{len(good)} coins x {query.days} days x {query.paths} paths are {values:,} values; "
            "ask for fewer.",
            field="paths",
            allowed=f"at most {MAX_VALUES:,} values; {MAX_VALUES // (len(good) * query.days)} paths here",
        )
    request = pb.SimulatePathsRequest(
        ids=good, vs_currency=query.vs_currency, days=query.days, paths=query.paths, model=query.model
    )
    if query.as_of is not None:
        request.as_of_time.FromDatetime(query.as_of)
    basis, failed, coins = None, [], []
    async for message in forecasts.paths(request):
        if message.HasField("basis"):
            basis, failed = message.basis, list(message.errors)
        else:
            coins.append(message.coin)
    assert basis is not None  # noqa: S101 - the first message of the contract
    day = basis.as_of.ToDatetime(dt.UTC).date()
    document = {
        "basis": to_dict(basis),
        "days": query.days,
        "dates": [(day + dt.timedelta(days=ahead)).isoformat() for ahead in range(query.days)],
        "origin_dates": list(coins[0].origin_dates) if coins else [],
        "coins": [coin_document(coin) for coin in coins],
        "errors": errors_of(failed, bad),
    }
    as_of = unix_seconds(basis.as_of)
    return render_cacheable(encode_json(document), settings.forecasts_fresh_seconds, as_of)


@router.post(
    "/risk/portfolio",
    operation_id="portfolio",
    summary="How much holdings can lose: value at risk, expected shortfall, contributions, worst cases",
    response_model=schemas.Portfolio,
    responses=RESPONSES | service_responses(UNSUPPORTED),
)
async def assess_portfolio(body: Annotated[PortfolioBody, Body()], forecasts: Forecasts) -> RenderedResponse:
    """Return the loss distribution of the holdings; those that cannot be priced are in `errors`."""
    request = pb.AssessPortfolioRequest(
        holdings=[
            pb.Holding(id=each.id, amount=each.amount)
            if each.amount is not None
            else pb.Holding(id=each.id, value=each.value or 0.0)
            for each in body.holdings
        ],
        vs_currency=body.vs_currency,
        days=body.days,
        levels_percent=body.levels,
        model=body.model,
    )
    if body.as_of is not None:
        request.as_of_time.FromDatetime(body.as_of)
    response = await forecasts.portfolio(request)
    document = {**to_dict(response), "errors": errors_of(response.errors, [])}
    return render_cacheable(encode_json(document), 0.0, unix_seconds(response.basis.as_of))


def refuse_malformed(good: list[str], bad: list[str]) -> None:
    """Raise the problem of malformed ids if the request has no other.

    Raises:
        ProblemException: All ids are malformed.
    """
    if not good:
        refuse_if_all_failed(0, malformed_id_errors(bad))


def errors_of(errors: Iterable[ItemError], bad: list[str]) -> list[dict[str, Any]]:
    """Return the errors of coins and of malformed ids."""
    return [*[item_error(each) for each in errors], *malformed_id_errors(bad)]


def coin_document(coin: pb.CoinPaths) -> dict[str, Any]:
    """Return the paths of one coin; `closes`, `highs` and `lows` are lists of shape (paths, days)."""

    def by_path(values: Any) -> list[list[float]]:
        flat = list(values)
        return [flat[start : start + coin.days] for start in range(0, len(flat), coin.days)]

    return {
        "id": coin.id,
        "last_price": coin.last_price,
        **{name: by_path(getattr(coin, name)) for name in ("closes", "highs", "lows")},
    }
