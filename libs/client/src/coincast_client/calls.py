"""Build the calls of all routes of the gateway: method, path, parameters, and schema of the reply.

Both clients use these functions, so that each route is described once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar

from coincast_client import schemas
from coincast_client.base import Reply

Ids = str | Sequence[str]
Moment = str | date | datetime
Model = Literal["auto", "ml_ensemble", "lightgbm", "lstm", "technical"] | str
R = TypeVar("R", bound=Reply)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[R]):
    """One request to the gateway and the schema of its reply."""

    path: str
    schema: type[R]
    method: Literal["GET", "POST", "DELETE"] = "GET"
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def join_ids(ids: Ids) -> str:
    """Return ids as one comma-separated string; each string may hold one id or several with commas.

    Raises:
        ValueError: There is no id.
    """
    names = ids if isinstance(ids, str) else ",".join(ids)
    cleaned = [name.strip() for name in names.split(",") if name.strip()]
    if not cleaned:
        raise ValueError("ids is empty; give a coin such as 'bitcoin', or a list of coins.")
    return ",".join(cleaned)


def path_part(name: str, what: str) -> str:
    """Return a value after checking that it is safe as a single segment of a path.

    Raises:
        ValueError: The value is empty or contains a character that could change the path.
    """
    if not name or any(mark in name for mark in "/?#%") or name in {".", ".."}:
        raise ValueError(f"{what} {name!r} is not valid; it must not be empty or hold / ? # %.")
    return name


def moment_text(moment: Moment) -> str:
    """Return a date or a time in ISO format; a time without zone is taken as UTC."""
    if isinstance(moment, datetime):
        return moment.isoformat() if moment.tzinfo else f"{moment.isoformat()}Z"
    return moment.isoformat() if isinstance(moment, date) else moment


def _only_given(**parameters: str | int | float | None) -> dict[str, str | int | float]:
    return {name.rstrip("_"): value for name, value in parameters.items() if value is not None}


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.10g}" for value in values)


def prices(ids: Ids, vs_currencies: Ids) -> Call[schemas.Prices]:
    """Build the call for spot prices."""
    return Call(
        path="/prices",
        schema=schemas.Prices,
        parameters={"ids": join_ids(ids), "vs_currencies": join_ids(vs_currencies)},
    )


def markets(ids: Ids | None, vs_currency: str, page: int, per_page: int) -> Call[schemas.Markets]:
    """Build the call for coins ordered by market cap, or for the given coins."""
    parameters = _only_given(
        ids=None if ids is None else join_ids(ids), vs_currency=vs_currency, page=page, per_page=per_page
    )
    return Call(path="/markets", schema=schemas.Markets, parameters=parameters)


def coins(query: str, limit: int, page_token: str) -> Call[schemas.Coins]:
    """Build the call that searches the catalogue."""
    parameters = _only_given(query=query, limit=limit, page_token=page_token or None)
    return Call(path="/coins", schema=schemas.Coins, parameters=parameters)


def history(
    coin_id: str,
    *,
    days: int | None,
    vs_currency: str,
    interval: str,
    from_: Moment | None,
    to: Moment | None,
    as_of: Moment | None,
) -> Call[schemas.History]:
    """Build the call for the candles of one coin."""
    parameters = _only_given(
        days=days,
        vs_currency=vs_currency,
        interval=None if interval == "1d" else interval,
        from_=None if from_ is None else moment_text(from_),
        to=None if to is None else moment_text(to),
        as_of=None if as_of is None else moment_text(as_of),
    )
    return Call(
        path=f"/coins/{path_part(coin_id, 'coin')}/history", schema=schemas.History, parameters=parameters
    )


def quality(coin_id: str, vs_currency: str) -> Call[schemas.Quality]:
    """Build the call for the known defects of a history."""
    return Call(
        path=f"/coins/{path_part(coin_id, 'coin')}/quality",
        schema=schemas.Quality,
        parameters={"vs_currency": vs_currency},
    )


def ohlc(coin_id: str, days: int, vs_currency: str) -> Call[schemas.Ohlc]:
    """Build the call for CoinGecko's own candles."""
    return Call(
        path=f"/coins/{path_part(coin_id, 'coin')}/ohlc",
        schema=schemas.Ohlc,
        parameters={"days": days, "vs_currency": vs_currency},
    )


def forecasts(
    ids: Ids,
    *,
    days: int | None,
    hours: int | None,
    model: Model,
    vs_currency: str,
    levels: Sequence[float],
    quantiles: Sequence[float],
    as_of: Moment | None,
) -> Call[schemas.Forecasts]:
    """Build the call for forecasts, by days or by hours.

    Raises:
        ValueError: Both days and hours are given.
    """
    if days is not None and hours is not None:
        raise ValueError("Give days or hours, not both.")
    parameters = _only_given(
        ids=join_ids(ids),
        days=days if hours is None else None,
        hours=hours,
        model=model,
        vs_currency=vs_currency,
        levels=_numbers(levels),
        quantiles=_numbers(quantiles) if quantiles else None,
        as_of=None if as_of is None else moment_text(as_of),
    )
    return Call(path="/forecasts", schema=schemas.Forecasts, parameters=parameters)


def touch(
    ids: Ids,
    level: float | str | Sequence[float | str],
    *,
    days: int,
    model: Model,
    vs_currency: str,
    as_of: Moment | None,
) -> Call[schemas.Touch]:
    """Build the call for touch probabilities; a level is a price, or a move such as `-5%`."""
    levels = [level] if isinstance(level, float | int | str) else list(level)
    return Call(
        path="/forecasts/touch",
        schema=schemas.Touch,
        parameters=_only_given(
            ids=join_ids(ids),
            level=",".join(str(each) for each in levels),
            days=days,
            model=model,
            vs_currency=vs_currency,
            as_of=None if as_of is None else moment_text(as_of),
        ),
    )


def portfolio(
    holdings: Mapping[str, float] | Sequence[Mapping[str, Any]],
    *,
    days: int,
    levels: Sequence[float],
    model: Model,
    vs_currency: str,
    as_of: Moment | None,
) -> Call[schemas.Portfolio]:
    """Build the call for the risk of holdings; a mapping gives the value of each coin."""
    rows = (
        [{"id": coin_id, "value": value} for coin_id, value in holdings.items()]
        if isinstance(holdings, Mapping)
        else [dict(holding) for holding in holdings]
    )
    body = {
        "holdings": rows, "days": days, "levels": list(levels), "model": model, "vs_currency": vs_currency,
    }  # fmt: skip
    if as_of is not None:
        body["as_of"] = moment_text(as_of)
    return Call(path="/risk/portfolio", method="POST", schema=schemas.Portfolio, body=body)


def scenarios(
    ids: Ids, *, days: int, paths: int, model: Model, vs_currency: str, as_of: Moment | None
) -> Call[schemas.Scenarios]:
    """Build the call for joint price paths."""
    return Call(
        path="/forecasts/scenarios",
        schema=schemas.Scenarios,
        parameters=_only_given(
            ids=join_ids(ids),
            days=days,
            paths=paths,
            model=model,
            vs_currency=vs_currency,
            as_of=None if as_of is None else moment_text(as_of),
        ),
    )


def ledger(
    ids: Ids | None,
    *,
    model: str | None,
    from_: Moment | None,
    to: Moment | None,
    horizon: int | None,
    hours: int | None,
    limit: int,
) -> Call[schemas.ForecastLog]:
    """Build the call for forecasts as they were served, with their outcomes."""
    parameters = _only_given(
        ids=None if ids is None else join_ids(ids),
        model=model,
        from_=None if from_ is None else moment_text(from_),
        to=None if to is None else moment_text(to),
        horizon=horizon,
        hours=hours,
        limit=limit,
    )
    return Call(path="/forecasts/ledger", schema=schemas.ForecastLog, parameters=parameters)


def explain(
    coin_id: str, *, days: int, model: Model, features: int, vs_currency: str
) -> Call[schemas.Explanation]:
    """Build the call for the features with the largest contributions to a forecast."""
    return Call(
        path="/forecasts/explain",
        schema=schemas.Explanation,
        parameters={
            "ids": coin_id, "days": days, "model": model, "features": features, "vs_currency": vs_currency,
        },
    )  # fmt: skip


def models() -> Call[schemas.Models]:
    """Build the call for the models and their walk-forward records."""
    return Call(path="/forecasts/models", schema=schemas.Models)


def accuracy(model: str | None, coin_id: str | None, days: int) -> Call[schemas.TrainingGetAccuracyResponse]:
    """Build the call for the accuracy of served forecasts."""
    return Call(
        path="/forecasts/accuracy",
        schema=schemas.TrainingGetAccuracyResponse,
        parameters=_only_given(model=model, ids=coin_id, days=days),
    )


def health() -> Call[schemas.Detailed]:
    """Build the call for the state of every component."""
    return Call(path="/health/detailed", schema=schemas.Detailed)


def ready() -> Call[schemas.Ready]:
    """Build the call for readiness."""
    return Call(path="/health/ready", schema=schemas.Ready)


def usage(days: int) -> Call[schemas.UsageReport]:
    """Build the call for the usage of API keys."""
    return Call(path="/usage", schema=schemas.UsageReport, parameters={"days": days})


def trends(hours: int) -> Call[schemas.Trends]:
    """Build the call for health over time."""
    return Call(path="/health/trends", schema=schemas.Trends, parameters={"hours": hours})


def component(name: str) -> Call[schemas.Component]:
    """Build the call for one component's state."""
    return Call(path=f"/health/components/{path_part(name, 'component')}", schema=schemas.Component)


def versions(model: str | None) -> Call[schemas.TrainingListVersionsResponse]:
    """Build the call for the versions and aliases of a model, or of all."""
    return Call(
        path="/models", schema=schemas.TrainingListVersionsResponse, parameters=_only_given(model=model)
    )


def compare(model: str, a: str, b: str) -> Call[schemas.TrainingCompareVersionsResponse]:
    """Build the call that compares two versions on the forecasts both made."""
    return Call(
        path=f"/models/{path_part(model, 'model')}/compare",
        schema=schemas.TrainingCompareVersionsResponse,
        parameters={"a": a, "b": b},
    )


def audit(model: str | None, limit: int) -> Call[schemas.TrainingListAuditResponse]:
    """Build the call for the audit log of alias changes."""
    return Call(
        path="/models/audit",
        schema=schemas.TrainingListAuditResponse,
        parameters=_only_given(model=model, limit=limit),
    )


def promote(
    model: str,
    version: str,
    *,
    alias: str,
    share: float,
    force: bool,
    reason: str,
    expected_revision: int | None,
) -> Call[schemas.TrainingPromoteVersionResponse]:
    """Build the call that points an alias at a version."""
    return Call(
        path=f"/models/{path_part(model, 'model')}/promote",
        method="POST",
        schema=schemas.TrainingPromoteVersionResponse,
        body={
            "version": version, "alias": alias, "share": share, "force": force, "reason": reason,
            "expected_revision": expected_revision,
        },
    )  # fmt: skip


def rollback(
    model: str, reason: str, expected_revision: int | None
) -> Call[schemas.TrainingRollbackModelResponse]:
    """Build the call that returns production to the previous version."""
    return Call(
        path=f"/models/{path_part(model, 'model')}/rollback",
        method="POST",
        schema=schemas.TrainingRollbackModelResponse,
        body={"reason": reason, "expected_revision": expected_revision},
    )


def retire(model: str, version: str, reason: str) -> Call[schemas.TrainingRetireVersionResponse]:
    """Build the call that retires a version."""
    return Call(
        path=f"/models/{path_part(model, 'model')}/retire",
        method="POST",
        schema=schemas.TrainingRetireVersionResponse,
        body={"version": version, "reason": reason},
    )


def clean(model: str, keep: int) -> Call[schemas.TrainingCleanVersionsResponse]:
    """Build the call that removes old versions."""
    return Call(
        path=f"/models/{path_part(model, 'model')}/clean",
        method="POST",
        schema=schemas.TrainingCleanVersionsResponse,
        body={"keep": keep},
    )


def train(
    model: str,
    ids: Ids,
    *,
    days: int,
    tune_trials: int,
    promote_if_better: bool,
    from_version: str,
    idempotency_key: str,
) -> Call[schemas.TrainingSubmitJobResponse]:
    """Build the call that submits a training job."""
    return Call(
        path="/training/jobs",
        method="POST",
        schema=schemas.TrainingSubmitJobResponse,
        body={
            "model": model,
            "ids": join_ids(ids).split(","),
            "days": days,
            "tune_trials": tune_trials,
            "promote_if_better": promote_if_better,
            "from_version": from_version,
        },
        headers={"idempotency-key": idempotency_key} if idempotency_key else {},
    )


def jobs(model: str | None, limit: int) -> Call[schemas.TrainingListJobsResponse]:
    """Build the call for the training jobs, newest first."""
    return Call(
        path="/training/jobs",
        schema=schemas.TrainingListJobsResponse,
        parameters=_only_given(model=model, limit=limit),
    )


def job(job_id: str) -> Call[schemas.TrainingGetJobResponse]:
    """Build the call for one training job."""
    return Call(path=f"/training/jobs/{path_part(job_id, 'job')}", schema=schemas.TrainingGetJobResponse)


def job_logs(job_id: str, tail: int) -> Call[schemas.TrainingGetJobLogsResponse]:
    """Build the call for the last lines of a job's log."""
    return Call(
        path=f"/training/jobs/{path_part(job_id, 'job')}/logs",
        schema=schemas.TrainingGetJobLogsResponse,
        parameters={"tail": tail},
    )


def job_events(job_id: str) -> Call[schemas.TrainingGetJobResponse]:
    """Build the call for the stream of a job's changes."""
    return Call(
        path=f"/training/jobs/{path_part(job_id, 'job')}/events", schema=schemas.TrainingGetJobResponse
    )


def prices_stream(ids: Ids, vs_currencies: Ids) -> Call[schemas.Prices]:
    """Build the call for the stream of price changes."""
    return replace(prices(ids, vs_currencies), path="/prices/stream")


def cancel_job(job_id: str) -> Call[schemas.TrainingCancelJobResponse]:
    """Build the call that cancels a training job."""
    return Call(
        path=f"/training/jobs/{path_part(job_id, 'job')}",
        method="DELETE",
        schema=schemas.TrainingCancelJobResponse,
    )
