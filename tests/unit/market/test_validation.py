"""Bad data is quarantined and counted, never served or stored; good data beside it is served."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coincast_chassis.errors import Exhausted, InvalidInput, NotFound
from coincast_market_data.coingecko.client import parse_json
from coincast_market_data.coingecko.error_mapping import (
    DEFAULT_RETRY_AFTER_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    BadData,
    BeyondPlanReach,
    Cause,
    UpstreamFailure,
    error_from_reply,
    error_in_document,
    parse_retry_after,
)
from coincast_market_data.coingecko.parser import (
    Point,
    clean_series,
    drop_jumps,
    parse_markets,
    parse_ohlc,
    parse_quotes,
)
from coincast_market_data.history.candle_builder import build_candles, days_between, last_closed_day, midnight
from coincast_market_data.validation.outliers import OutlierDetector
from coincast_market_data.validation.sanitizer import PayloadSanitizer

NOW = datetime(2025, 9, 1, 13, 0, tzinfo=UTC).timestamp()
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"usd": float("nan")}, "not_finite"),
        ({"usd": float("inf")}, "not_finite"),
        ({"usd": -1}, "not_positive"),
        ({"usd": 0}, "not_positive"),
        ({"usd": "12"}, "not_a_number"),
        ({"usd": True}, "not_a_number"),
        ({"usd": [1]}, "not_a_number"),
        (7, "not_a_number"),
        ({"usd": 5, "last_updated_at": NOW + 3600}, "absurd_clock"),
        ({"usd": 5, "last_updated_at": 3}, "absurd_clock"),
    ],
)
def test_a_price_that_cannot_be_true_is_rejected_and_its_neighbour_is_not(row: object, reason: str) -> None:
    good, bad = parse_quotes({"a": row, "b": {"usd": 2.5}}, ["a", "b", "c"], ["usd"], NOW)
    assert bad["a", "usd"].reason == reason
    neighbour = good["b", "usd"]
    assert neighbour is not None and neighbour.price == 2.5
    assert good["c", "usd"] is None, "absent is unknown, not bad"


def test_figures_that_are_not_given_are_absent_not_zero() -> None:
    row = {"usd": 1.0, "usd_market_cap": 0, "usd_24h_vol": None, "usd_24h_change": float("nan")}
    good, _ = parse_quotes({"a": row}, ["a"], ["usd"], NOW)
    quote = good["a", "usd"]
    assert quote is not None
    assert (quote.market_cap, quote.volume_24h, quote.change_24h_percent) == (None, None, None)


@given(JSON)
def test_no_document_breaks_the_parsers_or_yields_a_bad_price(document: object) -> None:
    for parse in (
        lambda: list(parse_quotes(document, ["a", "b"], ["usd"], NOW)[0].values()),
        lambda: parse_markets(document, "usd", NOW)[0],
        lambda: parse_ohlc(document, NOW)[0],
        lambda: clean_series(document, NOW)[0],
    ):
        try:
            found = list(parse())
        except BadData:
            continue
        for item in found:
            price = None if item is None else getattr(item, "price", getattr(item, "close", None))
            assert price is None or (math.isfinite(price) and price > 0)


def test_nan_in_the_text_breaks_only_its_point() -> None:
    good, bad = parse_quotes(
        parse_json(b'{"a":{"usd":NaN},"b":{"usd":1e999},"c":{"usd":3}}'), "abc", ["usd"], NOW
    )
    assert {pair[0] for pair in bad} == {"a", "b"}
    third = good["c", "usd"]
    assert third is not None and third.price == 3
    with pytest.raises(BadData):
        parse_json(b'{"a":{"usd":1')


def series(prices: list[list[float]], caps: object = None, volumes: object = None) -> dict[str, object]:
    return {"prices": prices, "market_caps": caps or [], "total_volumes": volumes or []}


def hourly(days: int, until: float = NOW, price: float = 100.0) -> list[list[float]]:
    start = midnight(last_closed_day(until) - timedelta(days=days - 1))
    hours = int((until - start) // 3600)
    return [[(start + hour * 3600) * 1000, price + hour % 24] for hour in range(hours + 1)]


def test_arrays_of_unequal_length_are_joined_on_time() -> None:
    rows = hourly(1)[:3]
    points, findings = clean_series(series(rows, [[rows[1][0], 7.0]], [[rows[2][0], 9.0], [1, 1]]), NOW)
    assert findings.unequal
    assert [(p.market_cap, p.volume) for p in points] == [(None, None), (7.0, None), (None, 9.0)]


def test_unsorted_and_duplicate_points() -> None:
    rows = hourly(1)[:4]
    points, findings = clean_series(series([rows[2], rows[0], rows[1], rows[1], rows[3]]), NOW)
    assert [p.at * 1000 for p in points] == [row[0] for row in rows]
    assert findings.duplicates == 1
    assert findings.unsorted
    twice = [rows[0], rows[1], [rows[1][0], 555.0], rows[2]]
    points, findings = clean_series(series(twice), NOW)
    assert len(points) == 2, "two prices for one moment: both are rejected"
    assert findings.quarantined["contradiction"] == 1


def test_the_future_is_not_data() -> None:
    rows = [*hourly(1), [(NOW + 86_400) * 1000, 1.0]]
    _, findings = clean_series(series(rows), NOW)
    assert findings.quarantined["absurd_clock"] == 1


@pytest.mark.parametrize("factor", [11.0, 1000.0, 1 / 11])
@pytest.mark.parametrize("index", [0, 1, 50, 98])
def test_a_lone_tenfold_jump_is_dropped(factor: float, index: int) -> None:
    points = [Point(n, 100.0 + n % 7) for n in range(100)]
    points[index] = Point(index, points[index].price * factor)
    assert [p.at for p in drop_jumps(points)] == [n for n in range(100) if n != index]


def test_a_true_collapse_is_kept() -> None:
    points = [Point(n, 100.0 if n < 50 else 5.0) for n in range(100)]
    assert len(drop_jumps(points)) == 100


def test_hourly_points_make_whole_candles_and_the_open_day_none() -> None:
    points, _ = clean_series(series(hourly(3)), NOW)
    candles = build_candles(points, last_closed_day(NOW))
    assert [c.day for c in candles] == days_between(date(2025, 8, 29), date(2025, 8, 31))
    assert [(c.open, c.high, c.low, c.close) for c in candles] == [(100.0, 123.0, 100.0, 100.0)] * 3


def test_daily_points_make_closes_of_the_day_before_and_no_range() -> None:
    first = midnight(date(2025, 1, 1))
    rows = [[(first + n * 86_400) * 1000, 100.0 + n] for n in range(200)]
    points, _ = clean_series(series([*rows, [NOW * 1000, 1.5 * 100]]), NOW)
    candles = build_candles(points, last_closed_day(NOW))
    assert candles[0].day == date(2024, 12, 31)
    assert (candles[1].open, candles[1].close, candles[1].high) == (100.0, 101.0, None)
    assert not candles[1].is_whole


def test_a_day_with_holes_gives_a_close_but_no_range_and_without_its_end_nothing() -> None:
    rows = hourly(3)
    holes = [row for n, row in enumerate(rows) if not 26 <= n < 36]
    candles = build_candles(clean_series(series(holes), NOW)[0], last_closed_day(NOW))
    assert [c.is_whole for c in candles] == [True, False, True]
    cut = [row for n, row in enumerate(rows) if not 40 <= n < 49]
    days = [c.day.day for c in build_candles(clean_series(series(cut), NOW)[0], last_closed_day(NOW))]
    assert days == [29, 31], "its close is not known: the day is missing, not guessed"


def test_before_0035_the_day_that_just_ended_is_not_closed() -> None:
    at = datetime(2025, 9, 1, 0, 34, tzinfo=UTC).timestamp()
    assert last_closed_day(at) == date(2025, 8, 30)
    assert last_closed_day(at + 120) == date(2025, 8, 31)


def test_a_jumping_spot_price_waits_for_confirmation() -> None:
    guard, pair = OutlierDetector(), ("a", "usd")
    assert guard.plausible(pair, 100.0, NOW)
    assert not guard.plausible(pair, 1500.0, NOW + 30)
    assert guard.plausible(pair, 101.0, NOW + 60), "it was a slip"
    assert not guard.plausible(pair, 5.0, NOW + 90)
    assert not guard.plausible(pair, 5.1, NOW + 120)
    assert not guard.plausible(pair, 90_000.0, NOW + 150), "two slips that differ confirm nothing"
    assert not guard.plausible(pair, 5.0, NOW + 180)
    assert not guard.plausible(pair, 5.2, NOW + 240)
    assert guard.plausible(pair, 4.9, NOW + 301), "said for two minutes: it is a collapse"
    assert guard.plausible(pair, 900.0, NOW + 86_400), "a day later nothing is known"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, DEFAULT_RETRY_AFTER_SECONDS),
        ("", DEFAULT_RETRY_AFTER_SECONDS),
        ("119", 119.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("-1", DEFAULT_RETRY_AFTER_SECONDS),
        ("nan", DEFAULT_RETRY_AFTER_SECONDS),
        ("inf", DEFAULT_RETRY_AFTER_SECONDS),
        ("soon", DEFAULT_RETRY_AFTER_SECONDS),
        ("86400", 86_400.0),
        ("9999999999", MAX_RETRY_AFTER_SECONDS),
        ("Mon, 01 Sep 2025 13:02:00 GMT", 120.0),
        ("Mon, 01 Sep 2025 12:00:00 GMT", 0.0),
        ("Mon, 99 Sep 2025 12:00:00 GMT", DEFAULT_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after_in_every_form(value: str | None, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == pytest.approx(seconds)


@given(st.text(max_size=40))
def test_no_retry_after_breaks(value: str) -> None:
    assert 0 <= parse_retry_after(value, NOW) <= MAX_RETRY_AFTER_SECONDS


BODIES = [
    b'{"status":{"error_code":%d,"error_message":"why"}}',
    b'{"error":{"status":{"timestamp":"t","error_code":%d,"error_message":"why"}}}',
    b'{"timestamp":"t","error_code":%d,"status":{"error_message":"why"}}',
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (429, 429, Exhausted),
        (200, 429, Exhausted),
        (401, 10012, BeyondPlanReach),
        (400, 10005, BeyondPlanReach),
        (401, 10002, Cause.MISSING_KEY),
        (400, 10010, Cause.WRONG_HOST),
        (400, 10011, Cause.WRONG_HOST),
        (200, 500, Cause.SERVER_ERROR),
        (200, 401, Cause.INVALID_KEY),
    ],
)
def test_error_bodies_with_codes(body: bytes, status: int, code: int, error: type[Exception] | Cause) -> None:
    found = error_from_reply(status, body % code, {}, NOW)
    assert (found.cause if isinstance(found, UpstreamFailure) else type(found)) == error
    assert "why" in found.message
    assert error_in_document(json.loads(body % code))


@pytest.mark.parametrize(
    "document",
    [{"bitcoin": {"usd": 1.0}}, {}, [], {"status": "live"}, {"error": None}, {"status": {"usd": 1.0}}, None],
)
def test_a_document_is_no_error(document: object) -> None:
    assert not error_in_document(document)


@pytest.mark.parametrize("text", ["You've exceeded your monthly quota", "Insufficient credits remaining"])
def test_used_up_credits_are_no_limit_of_the_minute(text: str) -> None:
    body = json.dumps({"status": {"error_code": 429, "error_message": text}}).encode()
    found = error_from_reply(429, body, {}, NOW)
    assert isinstance(found, UpstreamFailure)
    assert found.cause is Cause.CREDITS_USED_UP


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b'{"error":"coin not found"}', NotFound),
        (422, b'{"error":"bad"}', InvalidInput),
        (414, b"", InvalidInput),
        (200, b"Throttled", Exhausted),
        (401, b'{"error":"invalid api key"}', Cause.INVALID_KEY),
        (403, b"<html>error 1020</html>", Cause.FORBIDDEN),
        (503, b"\xff\xfe", Cause.SERVER_ERROR),
        (302, b"", Cause.NOT_COINGECKO),
        (500, json.dumps({"status": []}).encode(), Cause.SERVER_ERROR),
    ],
)
def test_the_other_bodies(status: int, body: bytes, error: type[Exception] | Cause) -> None:
    found = error_from_reply(status, body, {}, NOW)
    assert (found.cause if isinstance(found, UpstreamFailure) else type(found)) == error
    assert "<html>" not in found.message


def test_a_limit_without_retry_after_means_a_minute() -> None:
    assert error_from_reply(429, b"Throttled", {}, NOW).retry_after_seconds == 60.0


BAD_PRICES = [float("nan"), float("inf"), -1.0, "12", True]


@pytest.mark.parametrize("bad", BAD_PRICES)
def test_documents_pass_on_without_what_cannot_be_true(bad: object) -> None:
    noted: list[tuple[str, str, str]] = []
    cleaner = PayloadSanitizer(lambda coin, currency, text: noted.append((coin, currency, text)))
    rows = [
        {"id": "a", "current_price": 5.0},
        {"id": "b", "current_price": bad},
        {"id": "c", "current_price": None},
    ]
    markets = cleaner.sanitize("coins/markets", {"vs_currency": "eur"}, rows, NOW)
    assert [row["id"] for row in markets] == ["a", "c"]
    coin = {"id": "a", "market_data": {"current_price": {"usd": 5.0, "eur": bad}, "total_volume": {"usd": 0}}}
    for path in ("coins/a", "coins/a/history"):
        document = cleaner.sanitize(path, {}, coin, NOW)
        assert document == {
            "id": "a",
            "market_data": {"current_price": {"usd": 5.0}, "total_volume": {"usd": 0}},
        }
    named = cleaner.sanitize(
        "simple/price", {"symbols": "a"}, {"a": {"usd": bad, "eur": 2.0, "eur_24h_vol": 0}}, NOW
    )
    assert named == {"a": {"eur": 2.0, "eur_24h_vol": 0}}
    assert {(coin, currency) for coin, currency, _ in noted} == {("b", "eur"), ("a", "eur"), ("a", "usd")}


def test_zeros_and_nulls_of_coingecko_pass_on() -> None:
    noted: list[str] = []
    cleaner = PayloadSanitizer(lambda _coin, _currency, text: noted.append(text))
    rows = [{"id": "a", "current_price": 0, "atl": 0.0, "total_volume": 0}]
    assert cleaner.sanitize("coins/markets", {"vs_currency": "usd"}, rows, NOW) == rows
    coin = {"id": "a", "market_data": {"current_price": {"usd": 5.0}, "atl": {"btc": 0, "usd": 0.1}}}
    assert cleaner.sanitize("coins/a", {}, coin, NOW) == coin
    named = {"A": {"usd": 0, "usd_24h_vol": 0, "usd_24h_change": None}}
    assert cleaner.sanitize("simple/price", {"names": "A"}, named, NOW) == named
    stamps = [round((NOW - 3600 * n) * 1000) for n in (4, 3, 2, 1)]
    chart = {
        "prices": [[stamps[0], 1.0], [stamps[1], None], [stamps[2], 0], [stamps[3], 1.1]],
        "market_caps": [[stamp, 0] for stamp in stamps],
        "total_volumes": [[stamp, None] for stamp in stamps],
    }
    assert cleaner.sanitize("coins/a/market_chart", {"vs_currency": "usd"}, chart, NOW) == chart
    assert noted == [] or all("not_" in text for text in noted)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_the_newest_point_keeps_its_place(order: tuple[int, int, int]) -> None:
    stamps = [round((NOW - 300 * n) * 1000) for n in (3, 2, 1)]
    points = [[stamps[n], 1.0 + n / 100] for n in order]
    chart = dict.fromkeys(("prices", "market_caps", "total_volumes"), points)
    cleaner = PayloadSanitizer(lambda *_: None)
    assert cleaner.sanitize("coins/a/market_chart", {}, chart, NOW)["prices"] == points


@pytest.mark.parametrize(
    "document", [None, [], {}, "x", 3, [None, 3, {"id": 7}], {"market_data": 3}, {"a": 3}]
)
@pytest.mark.parametrize(
    "path", ["coins/markets", "coins/a", "coins/a/history", "simple/price", "ping", "coins/list"]
)
def test_documents_of_any_shape_are_cleaned_without_an_error(path: str, document: object) -> None:
    cleaned = PayloadSanitizer(lambda *_: None).sanitize(path, {}, document, NOW)
    assert type(cleaned) is type(document)
