"""Clients of the gateway with a method for each route: `Coincast` blocks, `AsyncCoincast` uses asyncio.

    from coincast_client import Coincast

    with Coincast() as coincast:
        coincast.forecasts("bitcoin", days=7).to_pandas()

Both clients send the calls of `calls.py`, so each route is described once.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeVar

import httpx2
from pydantic import ValidationError

from coincast_client import calls, schemas
from coincast_client.base import Reply
from coincast_client.calls import Call, Ids, Model, Moment
from coincast_client.errors import Refused, UnexpectedReply, Unreachable
from coincast_client.exports import (
    MEDIA_TYPES,
    PATHS,
    ExportedFolder,
    FileFormat,
    Table,
    export_parameters,
    format_of,
    split_by_coin,
    whole_file,
)

DEFAULT_URL = "http://127.0.0.1:8000"
R = TypeVar("R", bound=Reply)
# A stream sends a heartbeat more often than this, so a longer silence means that the connection is dead.
STREAM_SILENCE_SECONDS = 60.0
# Limit between two parts of an export: the gateway may have to fetch a history in between.
EXPORT_SILENCE_SECONDS = 120.0


def parse(reply: httpx2.Response) -> Any:
    """Return the JSON of a reply.

    Raises:
        Refused: The gateway answered with a problem.
        UnexpectedReply: The reply is not JSON, so it probably does not come from the gateway.
    """
    check_media_type(reply, "application/json", "application/problem+json")
    try:
        document = reply.json()
    except ValueError as error:
        raise UnexpectedReply(
            f"{reply.url} answered {reply.status_code} with malformed JSON; is it the gateway?"
        ) from error
    if reply.is_error:
        raise Refused(reply.status_code, document if isinstance(document, dict) else {})
    return document


def check_media_type(reply: httpx2.Response, *expected: str) -> None:
    """Raise an error if a reply has none of the expected media types.

    Raises:
        UnexpectedReply: The reply probably does not come from the gateway.
    """
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if kind not in expected:
        raise UnexpectedReply(
            f"{reply.url} answered {reply.status_code} with {kind or 'no content'}; is it the gateway?"
        )


def validate(schema: type[R], document: Any, url: httpx2.URL) -> R:
    """Return a document as its schema.

    Raises:
        UnexpectedReply: The document is not of this schema, so it comes from another server or version.
    """
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise UnexpectedReply(
            f"{url} answered with JSON of another form ({place}: {first['msg']}); is it the gateway, and of "
            "the same version as this client?"
        ) from error


def connection_options(url: str, api_key: str, timeout_seconds: float) -> dict[str, Any]:
    """Return the connection options of both clients; proxies set in the environment are not used.

    Raises:
        ValueError: The URL is not one of HTTP, or the key holds a character that no header may hold.
    """
    try:
        valid = url.startswith(("http://", "https://")) and bool(httpx2.URL(url).host)
    except httpx2.InvalidURL:
        valid = False
    if not valid:
        raise ValueError(f"{url!r} is not the address of a gateway; give one such as {DEFAULT_URL}.")
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("The API key holds a line break or a character outside ASCII; copy it again.")
    headers = {"accept": "application/json", "user-agent": "coincast-client"}
    if api_key:
        headers["x-api-key"] = api_key
    return {"base_url": url, "headers": headers, "timeout": timeout_seconds, "trust_env": False}


def request_options(call: Call[Any]) -> dict[str, Any]:
    """Return the arguments of httpx's `request` for a call."""
    options: dict[str, Any] = {"params": dict(call.parameters), "headers": dict(call.headers)}
    if call.body is not None:
        options["json"] = call.body
    elif call.method != "GET":
        # The gateway accepts unsafe methods only as JSON, even without a body.
        options["headers"]["content-type"] = "application/json"
    return options


def stream_options(call: Call[Any]) -> dict[str, Any]:
    """Return the arguments of httpx's `stream` for a call whose reply is a stream of events."""
    return {
        "params": dict(call.parameters),
        "headers": {"accept": "text/event-stream"},
        "timeout": STREAM_SILENCE_SECONDS,
    }


def unreachable(base_url: httpx2.URL, error: Exception) -> Unreachable:
    """Return the error for a gateway that does not answer."""
    return Unreachable(f"{base_url} does not answer ({error or type(error).__name__}).")


class EventReader:
    """Reads the lines of server-sent events."""

    def __init__(self) -> None:
        self.name = ""

    def read(self, line: str) -> Any:
        """Return the JSON of a data line, or None for any other line; `name` is that of its event.

        Raises:
            Refused: The event is a problem, which ends the stream.
            UnexpectedReply: The data are not a JSON object.
        """
        if line.startswith("event:"):
            self.name = line.removeprefix("event:").strip()
        if not line.startswith("data:"):
            return None
        try:
            document = json.loads(line.removeprefix("data:").strip() or "{}")
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise UnexpectedReply("The stream holds an event that is not a JSON object; is it the gateway?")
        if self.name == "problem":
            raise Refused(document.get("status", 503), document)
        return document


class Coincast:
    """A client with blocking calls; close it, or use it as a context manager.

    Every method raises `Unreachable`, `Refused` or `UnexpectedReply`.

    Args:
        url: Root URL of the gateway.
        api_key: An API key, if the gateway requires one.
        timeout_seconds: Timeout of one request.
        transport: Replaces the HTTP transport in tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        timeout_seconds: float = 15.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = httpx2.Client(**connection_options(url, api_key, timeout_seconds), transport=transport)

    def get(self, path: str, parameters: dict[str, Any] | None = None) -> Any:
        """Return the JSON of any path, unchanged.

        Raises:
            Unreachable: The gateway does not answer.
            Refused: The gateway answered with an error.
        """
        try:
            return parse(self._http.get(path, params=parameters or {}))
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error

    def _send(self, call: Call[R]) -> R:
        try:
            reply = self._http.request(call.method, call.path, **request_options(call))
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error
        return validate(call.schema, parse(reply), reply.url)

    def prices(self, ids: Ids, *, vs_currencies: Ids = "usd") -> schemas.Prices:
        """Return spot prices of up to 250 coins."""
        return self._send(calls.prices(ids, vs_currencies))

    def markets(
        self, ids: Ids | None = None, *, vs_currency: str = "usd", page: int = 1, per_page: int = 100
    ) -> schemas.Markets:
        """Return coins ordered by market cap, or the given coins."""
        return self._send(calls.markets(ids, vs_currency, page, per_page))

    def coins(self, query: str = "", *, limit: int = 20, page_token: str = "") -> schemas.Coins:
        """Search the catalogue by id, symbol or name; `next_page_token` of a reply continues it."""
        return self._send(calls.coins(query, limit, page_token))

    def history(
        self,
        coin_id: str,
        *,
        days: int | None = None,
        vs_currency: str = "usd",
        interval: Literal["1d", "1h"] = "1d",
        from_: Moment | None = None,
        to: Moment | None = None,
        as_of: Moment | None = None,
    ) -> schemas.History:
        """Return the candles of one coin.

        Args:
            coin_id: A CoinGecko id.
            days: Number of closed days; the default is 30 if `from_` is not given.
            vs_currency: The currency of the prices.
            interval: Daily or hourly candles.
            from_: First day or time, inclusive.
            to: Last day or time, inclusive.
            as_of: A past day or time: return the data that were known then.
        """
        wanted = 30 if days is None and from_ is None else days
        return self._send(
            calls.history(
                coin_id,
                days=wanted,
                vs_currency=vs_currency,
                interval=interval,
                from_=from_,
                to=to,
                as_of=as_of,
            )
        )

    def quality(self, coin_id: str, *, vs_currency: str = "usd") -> schemas.Quality:
        """Return the known defects of the history of one coin."""
        return self._send(calls.quality(coin_id, vs_currency))

    def ohlc(self, coin_id: str, *, days: int = 7, vs_currency: str = "usd") -> schemas.Ohlc:
        """Return CoinGecko's own candles; `days` must be 1, 7, 14, 30, 90, 180 or 365."""
        return self._send(calls.ohlc(coin_id, days, vs_currency))

    def forecasts(
        self,
        ids: Ids,
        *,
        days: int | None = None,
        hours: int | None = None,
        model: Model = "auto",
        vs_currency: str = "usd",
        levels: Sequence[float] = (80, 95),
        quantiles: Sequence[float] = (),
        as_of: Moment | None = None,
    ) -> schemas.Forecasts:
        """Return forecasts of up to 250 coins.

        Args:
            ids: One coin or several.
            days: The longest horizon in days, 1 to 30; the default is 7 if `hours` is not given.
            hours: The longest horizon in hours, 1 to 48.
            model: A model's name, or `auto` for the one with the best recent record.
            vs_currency: The currency of the prices.
            levels: Interval levels in percent.
            quantiles: Probabilities between 0 and 1 whose quantiles are wanted as well.
            as_of: A past day or time: return the forecast that was served then, or one from the data that
                were known then (`reconstructed`). A time selects the newest hour that had ended by then.
        """
        wanted = 7 if days is None and hours is None else days
        return self._send(
            calls.forecasts(
                ids,
                days=wanted,
                hours=hours,
                model=model,
                vs_currency=vs_currency,
                levels=levels,
                quantiles=quantiles,
                as_of=as_of,
            )
        )

    def touch(
        self,
        ids: Ids,
        level: float | str | Sequence[float | str],
        *,
        days: int = 7,
        model: Model = "auto",
        vs_currency: str = "usd",
        as_of: Moment | None = None,
    ) -> schemas.Touch:
        """Return the probability that prices touch a level by each of the coming days.

        Args:
            ids: One coin or several.
            level: A price, a move such as `"-5%"`, or several of either.
            days: The longest horizon, 1 to 14.
            model: A model's name, or `auto`.
            vs_currency: The currency of the prices.
            as_of: A past day or time: return the answer that follows from the data known then.
        """
        return self._send(
            calls.touch(ids, level, days=days, model=model, vs_currency=vs_currency, as_of=as_of)
        )

    def portfolio(
        self,
        holdings: Mapping[str, float] | Sequence[Mapping[str, Any]],
        *,
        days: int = 7,
        levels: Sequence[float] = (90, 95, 97.5, 99),
        model: Model = "auto",
        vs_currency: str = "usd",
        as_of: Moment | None = None,
    ) -> schemas.Portfolio:
        """Return the risk of holdings: value at risk, expected shortfall, contributions, worst cases.

        Args:
            holdings: The value of each coin in `vs_currency`, negative for short: `{"bitcoin": 6000}`; or a
                list of `{"id": ..., "amount": ...}` or `{"id": ..., "value": ...}`.
            days: The horizon, 1 to 14.
            levels: Levels in percent.
            model: A model's name, or `auto`.
            vs_currency: The currency of values and losses.
            as_of: A past day or time: return the answer that follows from the data known then.
        """
        return self._send(
            calls.portfolio(
                holdings, days=days, levels=levels, model=model, vs_currency=vs_currency, as_of=as_of
            )
        )

    def scenarios(
        self,
        ids: Ids,
        *,
        days: int = 7,
        paths: int = 100,
        model: Model = "auto",
        vs_currency: str = "usd",
        as_of: Moment | None = None,
    ) -> schemas.Scenarios:
        """Return joint price paths; path n of every coin follows the same past days.

        Args:
            ids: One coin or several.
            days: The length of a path, 1 to 14.
            paths: The number of paths, 1 to 1000.
            model: A model's name, or `auto`.
            vs_currency: The currency of the prices.
            as_of: A past day or time: return the answer that follows from the data known then.
        """
        return self._send(
            calls.scenarios(ids, days=days, paths=paths, model=model, vs_currency=vs_currency, as_of=as_of)
        )

    def ledger(
        self,
        ids: Ids | None = None,
        *,
        model: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
        horizon: int | None = None,
        hours: int | None = None,
        limit: int = 1000,
    ) -> schemas.ForecastLog:
        """Return forecasts as they were served, oldest first, with their outcomes if known.

        Args:
            ids: One coin or several; None for all.
            model: Only forecasts of this model.
            from_: First day from whose close the forecasts start.
            to: Last day from whose close the forecasts start.
            horizon: Only forecasts at this horizon, in days.
            hours: Only forecasts at this horizon, in hours.
            limit: Maximum number of forecasts.
        """
        return self._send(
            calls.ledger(ids, model=model, from_=from_, to=to, horizon=horizon, hours=hours, limit=limit)
        )

    def explain(
        self,
        coin_id: str,
        *,
        days: int = 1,
        model: Model = "lightgbm",
        features: int = 5,
        vs_currency: str = "usd",
    ) -> schemas.Explanation:
        """Return the features with the largest contributions (SHAP values) to a forecast."""
        return self._send(
            calls.explain(coin_id, days=days, model=model, features=features, vs_currency=vs_currency)
        )

    def models(self) -> schemas.Models:
        """Return the available models with their walk-forward records."""
        return self._send(calls.models())

    def accuracy(
        self, *, model: str | None = None, coin_id: str | None = None, days: int = 30
    ) -> schemas.TrainingGetAccuracyResponse:
        """Return the accuracy of served forecasts that are due."""
        return self._send(calls.accuracy(model, coin_id, days))

    def versions(self, model: str | None = None) -> schemas.TrainingListVersionsResponse:
        """Return the versions and aliases of a model, or of all."""
        return self._send(calls.versions(model))

    def compare(self, model: str, a: str, b: str) -> schemas.TrainingCompareVersionsResponse:
        """Compare two versions on the forecasts that both made."""
        return self._send(calls.compare(model, a, b))

    def audit(self, *, model: str | None = None, limit: int = 50) -> schemas.TrainingListAuditResponse:
        """Return the audit log of alias changes, newest first."""
        return self._send(calls.audit(model, limit))

    def promote(
        self,
        model: str,
        version: str,
        *,
        alias: str = "production",
        share: float = 0.0,
        force: bool = False,
        reason: str = "",
        expected_revision: int | None = None,
    ) -> schemas.TrainingPromoteVersionResponse:
        """Point an alias at a version; the promotion gate may refuse it.

        Args:
            model: Name of the model.
            version: The version.
            alias: production, challenger or shadow.
            share: Share of traffic for a challenger, 0 to 1.
            force: Whether to promote although the gate refuses.
            reason: Text for the audit log.
            expected_revision: A change that came after this revision of the aliases is a conflict.
        """
        return self._send(
            calls.promote(
                model,
                version,
                alias=alias,
                share=share,
                force=force,
                reason=reason,
                expected_revision=expected_revision,
            )
        )

    def rollback(
        self, model: str, *, reason: str = "", expected_revision: int | None = None
    ) -> schemas.TrainingRollbackModelResponse:
        """Return production to the previous version."""
        return self._send(calls.rollback(model, reason, expected_revision))

    def retire(self, model: str, version: str, *, reason: str) -> schemas.TrainingRetireVersionResponse:
        """Retire a version, so that it is no longer served."""
        return self._send(calls.retire(model, version, reason))

    def clean(self, model: str, *, keep: int = 0) -> schemas.TrainingCleanVersionsResponse:
        """Remove old versions that no alias points to."""
        return self._send(calls.clean(model, keep))

    def train(
        self,
        model: str,
        ids: Ids,
        *,
        days: int = 0,
        tune_trials: int = 0,
        promote_if_better: bool = False,
        from_version: str = "",
        idempotency_key: str = "",
    ) -> schemas.TrainingSubmitJobResponse:
        """Submit a training job.

        Args:
            model: Name of the model.
            ids: Coins to train on.
            days: Days of history; 0 for all.
            tune_trials: Number of tuning trials; 0 uses the default parameters.
            promote_if_better: Whether to promote the new version if it passes the promotion gate.
            from_version: Retrain the lineage of this version; empty trains on new data.
            idempotency_key: A repeated request with the same key returns the first job.
        """
        return self._send(
            calls.train(
                model,
                ids,
                days=days,
                tune_trials=tune_trials,
                promote_if_better=promote_if_better,
                from_version=from_version,
                idempotency_key=idempotency_key,
            )
        )

    def jobs(self, *, model: str | None = None, limit: int = 20) -> schemas.TrainingListJobsResponse:
        """Return the training jobs, newest first."""
        return self._send(calls.jobs(model, limit))

    def job(self, job_id: str) -> schemas.TrainingGetJobResponse:
        """Return one training job."""
        return self._send(calls.job(job_id))

    def job_logs(self, job_id: str, *, tail: int = 100) -> schemas.TrainingGetJobLogsResponse:
        """Return the last lines of a job's log."""
        return self._send(calls.job_logs(job_id, tail))

    def cancel_job(self, job_id: str) -> schemas.TrainingCancelJobResponse:
        """Cancel a training job."""
        return self._send(calls.cancel_job(job_id))

    def health(self) -> schemas.Detailed:
        """Return the state of every component, with a sentence for each."""
        return self._send(calls.health())

    def ready(self) -> schemas.Ready:
        """Return whether the system is ready to serve."""
        return self._send(calls.ready())

    def component(self, name: str) -> schemas.Component:
        """Return the state of one component."""
        return self._send(calls.component(name))

    def usage(self, *, days: int = 35) -> schemas.UsageReport:
        """Return calls, rows and bytes per day of the caller's API key; for an administrator, of all keys."""
        return self._send(calls.usage(days))

    def trends(self, *, hours: int = 24) -> schemas.Trends:
        """Return the history of the system's health over the last hours."""
        return self._send(calls.trends(hours))

    def prices_stream(self, ids: Ids, *, vs_currencies: Ids = "usd") -> Iterator[schemas.Prices]:
        """Yield prices as they change; the first item holds the current prices.

        Raises:
            Unreachable: The gateway does not answer, or the connection was lost.
            Refused: The gateway answered with an error.
        """
        for _, document in self._events(calls.prices_stream(ids, vs_currencies)):
            yield validate(schemas.Prices, {"prices": [], "errors": []} | document, self._http.base_url)
        raise self._ended()

    def job_events(self, job_id: str) -> Iterator[schemas.TrainingGetJobResponse]:
        """Yield a training job at each change, until it has ended.

        Raises:
            Unreachable: The gateway does not answer, or the stream broke off.
            Refused: The gateway answered with an error.
        """
        for name, document in self._events(calls.job_events(job_id)):
            yield validate(schemas.TrainingGetJobResponse, document, self._http.base_url)
            if name == "ended":
                return
        raise self._ended()

    def _events(self, call: Call[Any]) -> Iterator[tuple[str, Any]]:
        """Yield the name and the JSON of each event of a stream."""
        reader = EventReader()
        try:
            with self._http.stream("GET", call.path, **stream_options(call)) as reply:
                if reply.is_error:
                    reply.read()
                    parse(reply)
                check_media_type(reply, "text/event-stream")
                for line in reply.iter_lines():
                    if document := reader.read(line):
                        yield reader.name, document
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error

    def _ended(self) -> Unreachable:
        return Unreachable(f"{self._http.base_url} ended the stream; ask again.")

    def export(
        self,
        table: Table,
        path: Path | str,
        *,
        file_format: FileFormat | None = None,
        ids: Ids | None = None,
        **parameters: Any,
    ) -> Path:
        """Download a table of the gateway to a file; return the path of the file.

        Args:
            table: `histories`, `ledger`, `accuracy` or `scenarios`.
            path: The file; an existing one is replaced when the download is complete.
            file_format: `parquet`, `arrow` or `csv`; the default follows from the suffix of the path.
            ids: One coin or several.
            parameters: Further parameters of the table's route, such as `days`, `from_`, `to`, `as_of`,
                `interval`, `model` or `vs_currency`.
        """
        target = Path(path)
        wanted = format_of(target, file_format)
        with whole_file(target) as file:
            self._download(PATHS[table], export_parameters(wanted, ids=ids, **parameters), file)
        return target

    def export_candles(
        self,
        ids: Ids,
        folder: Path | str,
        *,
        file_format: Literal["parquet", "csv"] = "parquet",
        **parameters: Any,
    ) -> ExportedFolder:
        """Download a folder of candles, one file per coin, for `make run DATA=` and `make evaluate DATA=`.

        Args:
            ids: One coin or several, at most 250.
            folder: Folder of the files; it is created if absent.
            file_format: `parquet`, which needs pyarrow, or `csv`.
            parameters: `days`, `from_`, `to`, `as_of`, `interval` (`1h` for hours), `vs_currency`.
        """
        sent = "csv" if file_format == "csv" else "arrow"
        with tempfile.TemporaryFile() as file:
            self._download(PATHS["histories"], export_parameters(sent, ids=ids, **parameters), file)
            return split_by_coin(file, Path(folder), file_format)

    def _download(self, path: str, query: dict[str, str | int | float], file: BinaryIO) -> None:
        try:
            with self._http.stream(
                "GET", path, params=query, headers={"accept": "*/*"}, timeout=EXPORT_SILENCE_SECONDS
            ) as reply:
                if reply.is_error:
                    reply.read()
                    parse(reply)
                check_media_type(reply, MEDIA_TYPES[str(query["format"])])
                for part in reply.iter_bytes():
                    file.write(part)
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncCoincast:
    """A client for asyncio, with the methods of `Coincast`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        timeout_seconds: float = 15.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(
            **connection_options(url, api_key, timeout_seconds), transport=transport
        )

    async def get(self, path: str, parameters: dict[str, Any] | None = None) -> Any:
        """Return the JSON of any path, unchanged.

        Raises:
            Unreachable: The gateway does not answer.
            Refused: The gateway answered with an error.
        """
        try:
            return parse(await self._http.get(path, params=parameters or {}))
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error

    async def _send(self, call: Call[R]) -> R:
        try:
            reply = await self._http.request(call.method, call.path, **request_options(call))
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error
        return validate(call.schema, parse(reply), reply.url)

    async def prices(self, ids: Ids, *, vs_currencies: Ids = "usd") -> schemas.Prices:
        """Return spot prices of up to 250 coins."""
        return await self._send(calls.prices(ids, vs_currencies))

    async def markets(
        self, ids: Ids | None = None, *, vs_currency: str = "usd", page: int = 1, per_page: int = 100
    ) -> schemas.Markets:
        """Return coins ordered by market cap, or the given coins."""
        return await self._send(calls.markets(ids, vs_currency, page, per_page))

    async def coins(self, query: str = "", *, limit: int = 20, page_token: str = "") -> schemas.Coins:
        """Search the catalogue by id, symbol or name; `next_page_token` of a reply continues it."""
        return await self._send(calls.coins(query, limit, page_token))

    async def history(
        self,
        coin_id: str,
        *,
        days: int | None = None,
        vs_currency: str = "usd",
        interval: Literal["1d", "1h"] = "1d",
        from_: Moment | None = None,
        to: Moment | None = None,
        as_of: Moment | None = None,
    ) -> schemas.History:
        """Return the candles of one coin.

        Args:
            coin_id: A CoinGecko id.
            days: Number of closed days; the default is 30 if `from_` is not given.
            vs_currency: The currency of the prices.
            interval: Daily or hourly candles.
            from_: First day or time, inclusive.
            to: Last day or time, inclusive.
            as_of: A past day or time: return the data that were known then.
        """
        wanted = 30 if days is None and from_ is None else days
        return await self._send(
            calls.history(
                coin_id,
                days=wanted,
                vs_currency=vs_currency,
                interval=interval,
                from_=from_,
                to=to,
                as_of=as_of,
            )
        )

    async def quality(self, coin_id: str, *, vs_currency: str = "usd") -> schemas.Quality:
        """Return the known defects of the history of one coin."""
        return await self._send(calls.quality(coin_id, vs_currency))

    async def ohlc(self, coin_id: str, *, days: int = 7, vs_currency: str = "usd") -> schemas.Ohlc:
        """Return CoinGecko's own candles; `days` must be 1, 7, 14, 30, 90, 180 or 365."""
        return await self._send(calls.ohlc(coin_id, days, vs_currency))

    async def forecasts(
        self,
        ids: Ids,
        *,
        days: int | None = None,
        hours: int | None = None,
        model: Model = "auto",
        vs_currency: str = "usd",
        levels: Sequence[float] = (80, 95),
        quantiles: Sequence[float] = (),
        as_of: Moment | None = None,
    ) -> schemas.Forecasts:
        """Return forecasts of up to 250 coins.

        Args:
            ids: One coin or several.
            days: The longest horizon in days, 1 to 30; the default is 7 if `hours` is not given.
            hours: The longest horizon in hours, 1 to 48.
            model: A model's name, or `auto` for the one with the best recent record.
            vs_currency: The currency of the prices.
            levels: Interval levels in percent.
            quantiles: Probabilities between 0 and 1 whose quantiles are wanted as well.
            as_of: A past day or time: return the forecast that was served then, or one from the data that
                were known then (`reconstructed`). A time selects the newest hour that had ended by then.
        """
        wanted = 7 if days is None and hours is None else days
        return await self._send(
            calls.forecasts(
                ids,
                days=wanted,
                hours=hours,
                model=model,
                vs_currency=vs_currency,
                levels=levels,
                quantiles=quantiles,
                as_of=as_of,
            )
        )

    async def touch(
        self,
        ids: Ids,
        level: float | str | Sequence[float | str],
        *,
        days: int = 7,
        model: Model = "auto",
        vs_currency: str = "usd",
        as_of: Moment | None = None,
    ) -> schemas.Touch:
        """Return the probability that prices touch a level by each of the coming days.

        Args:
            ids: One coin or several.
            level: A price, a move such as `"-5%"`, or several of either.
            days: The longest horizon, 1 to 14.
            model: A model's name, or `auto`.
            vs_currency: The currency of the prices.
            as_of: A past day or time: return the answer that follows from the data known then.
        """
        return await self._send(
            calls.touch(ids, level, days=days, model=model, vs_currency=vs_currency, as_of=as_of)
        )

    async def portfolio(
        self,
        holdings: Mapping[str, float] | Sequence[Mapping[str, Any]],
        *,
        days: int = 7,
        levels: Sequence[float] = (90, 95, 97.5, 99),
        model: Model = "auto",
        vs_currency: str = "usd",
        as_of: Moment | None = None,
    ) -> schemas.Portfolio:
        """Return the risk of holdings: value at risk, expected shortfall, contributions, worst cases.

        Args:
            holdings: The value of each coin in `vs_currency`, negative for short: `{"bitcoin": 6000}`; or a
                list of `{"id": ..., "amount": ...}` or `{"id": ..., "value": ...}`.
            days: The horizon, 1 to 14.
            levels: Levels in percent.
            model: A model's name, or `auto`.
            vs_currency: The currency of values and losses.
            as_of: A past day or time: return the answer that follows from the data known then.
        """
        return await self._send(
            calls.portfolio(
                holdings, days=days, levels=levels, model=model, vs_currency=vs_currency, as_of=as_of
            )
        )

    async def scenarios(
        self,
        ids: Ids,
        *,
        days: int = 7,
        paths: int = 100,
        model: Model = "auto",
        vs_currency: str = "usd",
        as_of: Moment | None = None,
    ) -> schemas.Scenarios:
        """Return joint price paths; path n of every coin follows the same past days.

        Args:
            ids: One coin or several.
            days: The length of a path, 1 to 14.
            paths: The number of paths, 1 to 1000.
            model: A model's name, or `auto`.
            vs_currency: The currency of the prices.
            as_of: A past day or time: return the answer that follows from the data known then.
        """
        return await self._send(
            calls.scenarios(ids, days=days, paths=paths, model=model, vs_currency=vs_currency, as_of=as_of)
        )

    async def ledger(
        self,
        ids: Ids | None = None,
        *,
        model: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
        horizon: int | None = None,
        hours: int | None = None,
        limit: int = 1000,
    ) -> schemas.ForecastLog:
        """Return forecasts as they were served, oldest first, with their outcomes if known.

        Args:
            ids: One coin or several; None for all.
            model: Only forecasts of this model.
            from_: First day from whose close the forecasts start.
            to: Last day from whose close the forecasts start.
            horizon: Only forecasts at this horizon, in days.
            hours: Only forecasts at this horizon, in hours.
            limit: Maximum number of forecasts.
        """
        return await self._send(
            calls.ledger(ids, model=model, from_=from_, to=to, horizon=horizon, hours=hours, limit=limit)
        )

    async def explain(
        self,
        coin_id: str,
        *,
        days: int = 1,
        model: Model = "lightgbm",
        features: int = 5,
        vs_currency: str = "usd",
    ) -> schemas.Explanation:
        """Return the features with the largest contributions (SHAP values) to a forecast."""
        return await self._send(
            calls.explain(coin_id, days=days, model=model, features=features, vs_currency=vs_currency)
        )

    async def models(self) -> schemas.Models:
        """Return the available models with their walk-forward records."""
        return await self._send(calls.models())

    async def accuracy(
        self, *, model: str | None = None, coin_id: str | None = None, days: int = 30
    ) -> schemas.TrainingGetAccuracyResponse:
        """Return the accuracy of served forecasts that are due."""
        return await self._send(calls.accuracy(model, coin_id, days))

    async def versions(self, model: str | None = None) -> schemas.TrainingListVersionsResponse:
        """Return the versions and aliases of a model, or of all."""
        return await self._send(calls.versions(model))

    async def compare(self, model: str, a: str, b: str) -> schemas.TrainingCompareVersionsResponse:
        """Compare two versions on the forecasts that both made."""
        return await self._send(calls.compare(model, a, b))

    async def audit(self, *, model: str | None = None, limit: int = 50) -> schemas.TrainingListAuditResponse:
        """Return the audit log of alias changes, newest first."""
        return await self._send(calls.audit(model, limit))

    async def promote(
        self,
        model: str,
        version: str,
        *,
        alias: str = "production",
        share: float = 0.0,
        force: bool = False,
        reason: str = "",
        expected_revision: int | None = None,
    ) -> schemas.TrainingPromoteVersionResponse:
        """Point an alias at a version; the promotion gate may refuse it.

        Args:
            model: Name of the model.
            version: The version.
            alias: production, challenger or shadow.
            share: Share of traffic for a challenger, 0 to 1.
            force: Whether to promote although the gate refuses.
            reason: Text for the audit log.
            expected_revision: A change that came after this revision of the aliases is a conflict.
        """
        return await self._send(
            calls.promote(
                model,
                version,
                alias=alias,
                share=share,
                force=force,
                reason=reason,
                expected_revision=expected_revision,
            )
        )

    async def rollback(
        self, model: str, *, reason: str = "", expected_revision: int | None = None
    ) -> schemas.TrainingRollbackModelResponse:
        """Return production to the previous version."""
        return await self._send(calls.rollback(model, reason, expected_revision))

    async def retire(self, model: str, version: str, *, reason: str) -> schemas.TrainingRetireVersionResponse:
        """Retire a version, so that it is no longer served."""
        return await self._send(calls.retire(model, version, reason))

    async def clean(self, model: str, *, keep: int = 0) -> schemas.TrainingCleanVersionsResponse:
        """Remove old versions that no alias points to."""
        return await self._send(calls.clean(model, keep))

    async def train(
        self,
        model: str,
        ids: Ids,
        *,
        days: int = 0,
        tune_trials: int = 0,
        promote_if_better: bool = False,
        from_version: str = "",
        idempotency_key: str = "",
    ) -> schemas.TrainingSubmitJobResponse:
        """Submit a training job.

        Args:
            model: Name of the model.
            ids: Coins to train on.
            days: Days of history; 0 for all.
            tune_trials: Number of tuning trials; 0 uses the default parameters.
            promote_if_better: Whether to promote the new version if it passes the promotion gate.
            from_version: Retrain the lineage of this version; empty trains on new data.
            idempotency_key: A repeated request with the same key returns the first job.
        """
        return await self._send(
            calls.train(
                model,
                ids,
                days=days,
                tune_trials=tune_trials,
                promote_if_better=promote_if_better,
                from_version=from_version,
                idempotency_key=idempotency_key,
            )
        )

    async def jobs(self, *, model: str | None = None, limit: int = 20) -> schemas.TrainingListJobsResponse:
        """Return the training jobs, newest first."""
        return await self._send(calls.jobs(model, limit))

    async def job(self, job_id: str) -> schemas.TrainingGetJobResponse:
        """Return one training job."""
        return await self._send(calls.job(job_id))

    async def job_logs(self, job_id: str, *, tail: int = 100) -> schemas.TrainingGetJobLogsResponse:
        """Return the last lines of a job's log."""
        return await self._send(calls.job_logs(job_id, tail))

    async def cancel_job(self, job_id: str) -> schemas.TrainingCancelJobResponse:
        """Cancel a training job."""
        return await self._send(calls.cancel_job(job_id))

    async def health(self) -> schemas.Detailed:
        """Return the state of every component, with a sentence for each."""
        return await self._send(calls.health())

    async def ready(self) -> schemas.Ready:
        """Return whether the system is ready to serve."""
        return await self._send(calls.ready())

    async def component(self, name: str) -> schemas.Component:
        """Return the state of one component."""
        return await self._send(calls.component(name))

    async def usage(self, *, days: int = 35) -> schemas.UsageReport:
        """Return calls, rows and bytes per day of the caller's API key; for an administrator, of all keys."""
        return await self._send(calls.usage(days))

    async def trends(self, *, hours: int = 24) -> schemas.Trends:
        """Return the history of the system's health over the last hours."""
        return await self._send(calls.trends(hours))

    async def prices_stream(self, ids: Ids, *, vs_currencies: Ids = "usd") -> AsyncIterator[schemas.Prices]:
        """Yield prices as they change; the first item holds the current prices.

        Raises:
            Unreachable: The gateway does not answer, or the connection was lost.
            Refused: The gateway answered with an error.
        """
        async for _, document in self._events(calls.prices_stream(ids, vs_currencies)):
            yield validate(schemas.Prices, {"prices": [], "errors": []} | document, self._http.base_url)
        raise self._ended()

    async def job_events(self, job_id: str) -> AsyncIterator[schemas.TrainingGetJobResponse]:
        """Yield a training job at each change, until it has ended.

        Raises:
            Unreachable: The gateway does not answer, or the stream broke off.
            Refused: The gateway answered with an error.
        """
        async for name, document in self._events(calls.job_events(job_id)):
            yield validate(schemas.TrainingGetJobResponse, document, self._http.base_url)
            if name == "ended":
                return
        raise self._ended()

    async def _events(self, call: Call[Any]) -> AsyncIterator[tuple[str, Any]]:
        """Yield the name and the JSON of each event of a stream."""
        reader = EventReader()
        try:
            async with self._http.stream("GET", call.path, **stream_options(call)) as reply:
                if reply.is_error:
                    await reply.aread()
                    parse(reply)
                check_media_type(reply, "text/event-stream")
                async for line in reply.aiter_lines():
                    if document := reader.read(line):
                        yield reader.name, document
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error

    def _ended(self) -> Unreachable:
        return Unreachable(f"{self._http.base_url} ended the stream; ask again.")

    async def export(
        self,
        table: Table,
        path: Path | str,
        *,
        file_format: FileFormat | None = None,
        ids: Ids | None = None,
        **parameters: Any,
    ) -> Path:
        """Download a table of the gateway to a file; return the path of the file.

        Args:
            table: `histories`, `ledger`, `accuracy` or `scenarios`.
            path: The file; an existing one is replaced when the download is complete.
            file_format: `parquet`, `arrow` or `csv`; the default follows from the suffix of the path.
            ids: One coin or several.
            parameters: Further parameters of the table's route, such as `days`, `from_`, `to`, `as_of`,
                `interval`, `model` or `vs_currency`.
        """
        target = Path(path)
        wanted = format_of(target, file_format)
        with whole_file(target) as file:
            await self._download(PATHS[table], export_parameters(wanted, ids=ids, **parameters), file)
        return target

    async def export_candles(
        self,
        ids: Ids,
        folder: Path | str,
        *,
        file_format: Literal["parquet", "csv"] = "parquet",
        **parameters: Any,
    ) -> ExportedFolder:
        """Download a folder of candles, one file per coin, for `make run DATA=` and `make evaluate DATA=`.

        Args:
            ids: One coin or several, at most 250.
            folder: Folder of the files; it is created if absent.
            file_format: `parquet`, which needs pyarrow, or `csv`.
            parameters: `days`, `from_`, `to`, `as_of`, `interval` (`1h` for hours), `vs_currency`.
        """
        sent = "csv" if file_format == "csv" else "arrow"
        with tempfile.TemporaryFile() as file:
            await self._download(PATHS["histories"], export_parameters(sent, ids=ids, **parameters), file)
            return await asyncio.to_thread(split_by_coin, file, Path(folder), file_format)

    async def _download(self, path: str, query: dict[str, str | int | float], file: BinaryIO) -> None:
        try:
            async with self._http.stream(
                "GET", path, params=query, headers={"accept": "*/*"}, timeout=EXPORT_SILENCE_SECONDS
            ) as reply:
                if reply.is_error:
                    await reply.aread()
                    parse(reply)
                check_media_type(reply, MEDIA_TYPES[str(query["format"])])
                async for part in reply.aiter_bytes():
                    file.write(part)
        except httpx2.HTTPError as error:
            raise unreachable(self._http.base_url, error) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
