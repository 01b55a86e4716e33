"""The gateway's interface as methods, for threads (`Coincast`) and for asyncio (`AsyncCoincast`)."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx2

from coincast_client.errors import Refused, UnexpectedReply, Unreachable
from coincast_client.models import Forecasts, Health, History, Model, Prices

DEFAULT_URL = "http://127.0.0.1:8000"
Parameters = Mapping[str, str | int]


def prices_call(ids: Sequence[str], vs_currencies: Sequence[str]) -> tuple[str, Parameters]:
    """Path and parameters of `prices`."""
    return "/prices", {"ids": ",".join(ids), "vs_currencies": ",".join(vs_currencies)}


def forecasts_call(
    ids: Sequence[str], days: int, model: str, vs_currency: str, levels: Sequence[float]
) -> tuple[str, Parameters]:
    """Path and parameters of `forecasts`."""
    wanted = ",".join(f"{level:g}" for level in levels)
    named: Parameters = {
        "ids": ",".join(ids),
        "days": days,
        "model": model,
        "vs_currency": vs_currency,
        "levels": wanted,
    }
    return "/forecasts", named


def history_call(coin_id: str, days: int, vs_currency: str) -> tuple[str, Parameters]:
    """Path and parameters of `history`; an id that could leave its place in the path is refused."""
    if not coin_id or any(mark in coin_id for mark in "/?#%"):
        raise ValueError(f"not a coin id: {coin_id!r}")
    return f"/coins/{coin_id}/history", {"days": days, "vs_currency": vs_currency}


def read(reply: httpx2.Response) -> Any:
    """The JSON of a reply. Raises Refused for a problem, UnexpectedReply for what is not the gateway's."""
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if kind not in ("application/json", "application/problem+json"):
        raise UnexpectedReply(
            f"{reply.url} answered {reply.status_code} with {kind or 'nothing'}; is it the gateway?"
        )
    document = reply.json()
    if reply.is_error:
        raise Refused(reply.status_code, document if isinstance(document, dict) else {})
    return document


def settings(url: str, api_key: str, timeout_seconds: float) -> dict[str, Any]:
    """What both clients open their connections with. Proxies of the environment are not used."""
    headers = {"accept": "application/json", "user-agent": "coincast-client"}
    if api_key:
        headers["x-api-key"] = api_key
    return {"base_url": url, "headers": headers, "timeout": timeout_seconds, "trust_env": False}


class Coincast:
    """A client for threads; close it, or use it as a context manager.

    Raises Unreachable, Refused or UnexpectedReply. `transport` is the seam for tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        timeout_seconds: float = 15.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = httpx2.Client(**settings(url, api_key, timeout_seconds), transport=transport)

    def get(self, path: str, parameters: Parameters | None = None) -> Any:
        """Any path's JSON, as it came."""
        try:
            reply = self._http.get(path, params=dict(parameters or {}))
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"{self._http.base_url} does not answer ({error or type(error).__name__})."
            ) from error
        return read(reply)

    def prices(self, ids: Sequence[str], *, vs_currencies: Sequence[str] = ("usd",)) -> Prices:
        """Spot prices of up to 250 coins."""
        return Prices.read(self.get(*prices_call(ids, vs_currencies)))

    def forecasts(
        self,
        ids: Sequence[str],
        *,
        days: int = 7,
        model: str = "auto",
        vs_currency: str = "usd",
        levels: Sequence[float] = (80, 95),
    ) -> Forecasts:
        """Forecasts of up to 250 coins, 1 to 30 days ahead; `levels` in percent."""
        return Forecasts.read(self.get(*forecasts_call(ids, days, model, vs_currency, levels)))

    def history(self, coin_id: str, *, days: int = 30, vs_currency: str = "usd") -> History:
        """Daily candles of one coin."""
        return History.read(self.get(*history_call(coin_id, days, vs_currency)))

    def models(self) -> list[Model]:
        """The models that can be asked for, with their record."""
        return [Model.read(row) for row in self.get("/forecasts/models")["models"]]

    def health(self) -> Health:
        """How every part does."""
        return Health.read(self.get("/health/detailed"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class AsyncCoincast:
    """As `Coincast`, for asyncio."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        timeout_seconds: float = 15.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(**settings(url, api_key, timeout_seconds), transport=transport)

    async def get(self, path: str, parameters: Parameters | None = None) -> Any:
        """Any path's JSON, as it came."""
        try:
            reply = await self._http.get(path, params=dict(parameters or {}))
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"{self._http.base_url} does not answer ({error or type(error).__name__})."
            ) from error
        return read(reply)

    async def prices(self, ids: Sequence[str], *, vs_currencies: Sequence[str] = ("usd",)) -> Prices:
        """Spot prices of up to 250 coins."""
        return Prices.read(await self.get(*prices_call(ids, vs_currencies)))

    async def forecasts(
        self,
        ids: Sequence[str],
        *,
        days: int = 7,
        model: str = "auto",
        vs_currency: str = "usd",
        levels: Sequence[float] = (80, 95),
    ) -> Forecasts:
        """Forecasts of up to 250 coins, 1 to 30 days ahead; `levels` in percent."""
        return Forecasts.read(await self.get(*forecasts_call(ids, days, model, vs_currency, levels)))

    async def history(self, coin_id: str, *, days: int = 30, vs_currency: str = "usd") -> History:
        """Daily candles of one coin."""
        return History.read(await self.get(*history_call(coin_id, days, vs_currency)))

    async def models(self) -> list[Model]:
        """The models that can be asked for, with their record."""
        return [Model.read(row) for row in (await self.get("/forecasts/models"))["models"]]

    async def health(self) -> Health:
        """How every part does."""
        return Health.read(await self.get("/health/detailed"))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Closes at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()
