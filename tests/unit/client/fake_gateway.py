"""A gateway that answers each path with a prepared reply, and the replies it may give.

It is a transport for the client, or a server on a free port for the command.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

JSON, PROBLEM, EVENTS = "application/json", "application/problem+json", "text/event-stream"
Document = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """The reply to every request of one path."""

    body: bytes
    status: int = 200
    kind: str = JSON


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeGateway:
    """The address, the answers by path, and the requests so far; an unknown path is a problem 404."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def reply(self, path: str, document: Any) -> None:
        """Answer a path with JSON."""
        self.answers[path] = Answer(json.dumps(document).encode())

    def refuse(self, path: str, status: int, detail: str, **more: Any) -> None:
        """Answer a path with a problem."""
        problem = {"type": "/problems/x", "status": status, "detail": detail, **more}
        self.answers[path] = Answer(json.dumps(problem).encode(), status, PROBLEM)

    def send(self, path: str, body: bytes, kind: str, status: int = 200) -> None:
        """Answer a path with any content."""
        self.answers[path] = Answer(body, status, kind)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Record a request and return the answer of its path."""
        body = request.read()
        self.requests.append(
            Request(
                request.method,
                request.url.path,
                dict(request.url.params),
                dict(request.headers),
                json.loads(body) if body else None,
            )
        )
        problem = json.dumps({"detail": f"No such path: {request.url.path}."}).encode()
        found = self.answers.get(request.url.path, Answer(problem, 404, PROBLEM))
        return httpx2.Response(found.status, content=found.body, headers={"content-type": found.kind})

    @property
    def transport(self) -> httpx2.MockTransport:
        """A transport for a client that reaches this gateway without a socket."""
        return httpx2.MockTransport(self.answer)

    @property
    def last(self) -> Request:
        """The newest request."""
        return self.requests[-1]


@contextmanager
def fake_gateway() -> Iterator[FakeGateway]:
    """Serve a fake gateway."""
    gateway = FakeGateway()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            received = httpx2.Request(
                self.command, gateway.url + self.path, headers=list(self.headers.items()), content=body
            )
            answer = gateway.answer(received)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gateway.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()


STANDING: Document = {
    "as_of": "2026-01-01T00:00:00Z", "age_seconds": 7200.0, "source": "live", "stale": False, "reason": None,
}  # fmt: skip


def price(coin: str = "bitcoin", value: float = 108_246.4, **changes: Any) -> Document:
    """Return a price."""
    return STANDING | {
        "id": coin, "vs_currency": "usd", "price": value, "market_cap": 2.157e12, "volume_24h": None,
        "change_24h_percent": -1.5, "last_updated_at": "2026-01-01T00:00:00Z",
    } | changes  # fmt: skip


def item_error(coin: str, message: str, *suggestions: str) -> Document:
    """Return the error of one coin."""
    return {
        "id": coin, "kind": "not_found", "message": message, "field": "ids",
        "suggestions": list(suggestions), "retry_after_seconds": None,
    }  # fmt: skip


def prices(*rows: Document, errors: Sequence[Document] = ()) -> Document:
    """Return prices and errors."""
    return {"prices": list(rows), "errors": list(errors)}


def coins(*names: tuple[str, str, str], total: int | None = None) -> Document:
    """Return coins found in the catalogue, each an id, a symbol and a name."""
    found = [{"id": coin, "symbol": symbol, "name": name} for coin, symbol, name in names]
    return STANDING | {
        "coins": found, "total": len(found) if total is None else total, "next_page_token": ""
    }  # fmt: skip


def markets(*ids: str) -> Document:
    """Return coins ordered by market cap."""
    numbers = dict.fromkeys(
        [
            "price", "market_cap", "market_cap_rank", "volume_24h", "high_24h", "low_24h",
            "change_24h_percent", "circulating_supply_coins", "total_supply_coins", "max_supply_coins",
            "all_time_high", "last_updated_at",
        ]
    )  # fmt: skip
    rows = [
        STANDING | numbers | {"id": coin, "symbol": coin[:3], "name": coin, "vs_currency": "usd"}
        for coin in ids
    ]
    return {"markets": rows, "errors": []}


def history(
    coin: str = "bitcoin", *, closes: Sequence[float] = (36_000.0, 37_000.0), **changes: Any
) -> Document:
    """Return daily candles from 1 January 2026 on."""
    candles = [
        {
            "date": f"2026-01-{day:02d}", "open": close - 500, "high": close + 900, "low": close - 900,
            "close": close, "volume": 21_500_000_000.0, "market_cap": None,
        }
        for day, close in enumerate(closes, start=1)
    ]  # fmt: skip
    return STANDING | {
        "id": coin, "vs_currency": "usd", "interval": "1d", "candles": candles, "truncated": False,
        "truncated_reason": None, "missing_dates": [], "completeness": "whole", "partial_reason": None,
        "retry_after_seconds": None, "quality_notes": [], "in_doubt": False,
    } | changes  # fmt: skip


def hourly(hours: int = 3) -> Document:
    """Return hourly candles."""
    candles = [
        {
            "time": f"2026-01-01T{hour:02d}:00:00Z", "open": 108_000.0, "high": 108_500.0, "low": 107_500.0,
            "close": 108_246.0, "volume": 1e9,
        }
        for hour in range(hours)
    ]  # fmt: skip
    return history() | {"interval": "1h", "candles": candles}


def horizon(
    days: int, coverage: float | None = 79.84, skill: float | None = 1.25, **changes: Any
) -> Document:
    """Return the record of one horizon."""
    return {
        "horizon_days": days, "horizon_hours": None, "forecasts": 1204, "mase": None, "mape_percent": None,
        "random_walk_mape_percent": None, "skill_percent": None, "crps_skill_percent": skill,
        "coverage_80_percent": coverage, "coverage_95_percent": None,
    } | changes  # fmt: skip


def record(*rows: Document) -> Document:
    """Return the walk-forward record of a model."""
    return {
        "measured_at": "2026-01-01T00:00:00Z", "test_coins": ["bitcoin"], "test_from_date": "2025-01-01",
        "test_to_date": "2025-12-31", "horizons": list(rows),
    }  # fmt: skip


def forecast(coin: str = "bitcoin", *, days: int = 2, rise: float | None = 0.5, **changes: Any) -> Document:
    """Return a forecast whose intervals widen from day to day."""
    points = [
        {
            "date": f"2026-01-{day + 1:02d}", "horizon_days": day, "price": 37_000.0,
            "intervals": {
                "80": {"lower": 37_000.0 - 400 * day, "upper": 37_000.0 + 400 * day},
                "95": {"lower": 37_000.0 - 700 * day, "upper": 37_000.0 + 700 * day},
            },
            "quantiles": {}, "probability_of_rise": rise, "volatility": None,
        }
        for day in range(1, days + 1)
    ]  # fmt: skip
    return {
        "id": coin, "vs_currency": "usd", "as_of": "2026-01-01T00:00:00Z", "age_seconds": 60.0,
        "last_price": 37_000.0, "model": "auto", "version": "v000001", "served_by": "lightgbm",
        "variant": "production", "degraded": False, "reason": None, "source": "live", "stale": False,
        "points": points, "record": record(horizon(1, 70.0), horizon(days)), "attributions": [],
        "forecast_id": "f1",
    } | changes  # fmt: skip


def forecasts(*rows: Document, errors: Sequence[Document] = ()) -> Document:
    """Return forecasts and errors."""
    return {"forecasts": list(rows), "errors": list(errors)}


def basis(**changes: Any) -> Document:
    """Return what scenarios were made from."""
    return {
        "model": "lightgbm", "version": "v000001", "served_by": "lightgbm", "degraded": False, "reason": "",
        "as_of": "2026-01-01T00:00:00Z", "provenance": STANDING | {"reason": ""}, "scenarios": 1000,
        "first_origin_date": "2022-01-01", "last_origin_date": "2025-12-31", "borrowed_ids": [],
        "record_sentence": "On past days 79.8 % came true.", "live_records": [], "live_sentence": "",
        "recorded": True, "as_of_reason": "", "reconstructed": False,
    } | changes  # fmt: skip


def touch(*percents: float, coin: str = "bitcoin", errors: Sequence[Document] = ()) -> Document:
    """Return touch probabilities of moves in percent."""
    levels = [
        {
            "price": 100_000.0 + 1000 * percent, "percent": percent,
            "days": [
                {
                    "date": f"2026-01-0{day + 1}", "horizon_days": day, "touch_probability": 0.1 * day,
                    "close_beyond_probability": 0.05 * day,
                }
                for day in (1, 2)
            ],
        }
        for percent in percents
    ]  # fmt: skip
    rows = [{"id": coin, "last_price": 100_000.0, "levels": levels}] if percents else []
    return {"basis": basis(), "errors": list(errors), "coins": rows}


def risk_level(percent: float, **changes: Any) -> Document:
    """Return the loss at one level."""
    return {
        "level_percent": percent, "value_at_risk": 10 * percent, "expected_shortfall": 15 * percent,
        "components": [
            {"id": "bitcoin", "expected_shortfall": 1500.0, "share_percent": 106.4},
            {"id": "ethereum", "expected_shortfall": -90.0, "share_percent": -6.4},
        ],
        "refused": "", "tail_scenarios": 50, "tail_episodes": 9, "indicative": False,
        "relative_error_percent": None,
    } | changes  # fmt: skip


def portfolio(*levels: Document, **changes: Any) -> Document:
    """Return the risk of holdings."""
    return {
        "basis": basis(), "errors": [], "vs_currency": "usd", "days": 7, "value": 9000.0,
        "gross_value": 9000.0, "change_quantiles": [], "levels": list(levels),
        "diversification_percent": None,
        "worst": [
            {"origin_date": f"2022-0{month}-11", "change": -2000.0, "change_percent": -22.2}
            for month in range(1, 8)
        ],
        "holdings": [],
    } | changes  # fmt: skip


def model(name: str, *rows: Document, **changes: Any) -> Document:
    """Return a model with its record; without rows it has none."""
    return {
        "name": name, "description": "", "ready": True, "reason": "", "version": "v000001",
        "created_at": None, "max_horizon_days": 30, "min_history_days": 60, "trained_coins": [],
        "record": record(*rows) if rows else None, "variants": [],
    } | changes  # fmt: skip


def live(days: int, **changes: Any) -> Document:
    """Return the record of served forecasts at one horizon."""
    more = {"coverage_80_standard_error": None, "independent_periods": None, "random_walk_mase": None}
    row = horizon(days) | more | {"horizon_hours": 0}
    return {
        "model": "lightgbm", "version": "v000001", "id": "", "variant": "production", "horizon": row,
        "origin_hour": None,
    } | changes  # fmt: skip


def accuracy(*rows: Document) -> Document:
    """Return the accuracy of served forecasts."""
    return {
        "live": list(rows), "evaluated": [], "tests": [], "ledger": None, "by_origin_hour": [], "risk": []
    }  # fmt: skip


def usage(**changes: Any) -> Document:
    """Return the usage of one key."""
    day = {"date": "2026-01-02", "calls": 1_200, "rows": 30_000, "bytes": 4_567_000}
    return {"keys": [{"name": "bot", "month_calls": 12_345, "month_limit": 100_000, "days": [day]} | changes]}


def health(status: str = "ok", **components: str) -> Document:
    """Return the state of the system, and of components by their names."""
    parts = components or {"gateway": "ok", "market_data": status}
    return {
        "status": status, "sentence": "All is well.", "checked_at": "2026-01-01T00:00:00Z",
        "components": [
            {
                "name": name.replace("_", "-"), "status": state, "since": None,
                "sentence": f"{name} is {state}.", "figures": {},
            }
            for name, state in parts.items()
        ],
    }  # fmt: skip


def quality(last_good: str | None = "2026-01-01") -> Document:
    """Return the defects of a history."""
    return {
        "id": "bitcoin", "vs_currency": "usd", "missing_days": 3, "duplicate_points": 0,
        "quarantined_points": 1, "last_good_date": last_good, "notes": ["A jump was put aside."],
    }  # fmt: skip


def events(*sent: tuple[str, Document]) -> bytes:
    """Return server-sent events."""
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in sent).encode()
