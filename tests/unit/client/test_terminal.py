"""Replies in a terminal: tables, sentences, and the forecast as a chart of characters."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from rich.console import Console

from coincast_client.schemas import (
    Bounds,
    Coins,
    Detailed,
    Forecast,
    History,
    Models,
    Point,
    Portfolio,
    Prices,
    Touch,
    TrainingGetAccuracyResponse,
    UsageReport,
)
from coincast_client.terminal import (
    HEIGHT_ROWS,
    Fan,
    draw_fan,
    headline,
    open_console,
    record_sentence,
    sentence,
    show_accuracy,
    show_coins,
    show_forecast,
    show_health,
    show_history,
    show_models,
    show_prices,
    show_risk,
    show_touch,
    show_usage,
)
from tests.unit.client import fake_gateway as gw

FAN = Fan(
    closes=[100.0 + day for day in range(60)],
    medians=[159.0] * 7,
    bands=[
        [(150.0 - day, 170.0 + day) for day in range(7)],
        [(155.0 - day, 165.0 + day) for day in range(7)],
    ],
    names=("2026-01-01", "now", "2026-03-08"),
    levels=("95", "80"),
)


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_chart_fits_its_columns_and_the_legend_stands_below_the_data(columns: int) -> None:
    lines = draw_fan(FAN, columns).plain.split("\n")
    assert max(map(len, lines)) <= min(columns, 100)
    assert len(lines) == HEIGHT_ROWS + 2
    assert "• close" in lines[-1]
    assert all("close" not in line for line in lines[:-1])


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_forecast_takes_a_third_of_the_width(columns: int) -> None:
    line = max(draw_fan(FAN, columns).plain.split("\n")[:HEIGHT_ROWS], key=len)
    past, ahead = line.split("│")
    assert len(ahead) / (len(past) + len(ahead)) > 1 / 3


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_axis_of_time_ends_with_the_last_day_and_says_where_the_forecast_begins(columns: int) -> None:
    lines = draw_fan(FAN, columns).plain.split("\n")
    axis = lines[HEIGHT_ROWS]
    assert len(axis) == columns
    assert axis.endswith(" 2026-03-08")
    assert axis.index("now") + 1 == lines[0].index("│")


def test_axis_labels_differ() -> None:
    lines = draw_fan(FAN, 80).plain.split("\n")
    labels = [line.split()[0] for line in (lines[0], lines[HEIGHT_ROWS // 2], lines[HEIGHT_ROWS - 1])]
    assert len(set(labels)) == 3
    assert (labels[0], labels[-1]) == ("176.00", "100.00")


def test_constant_price_is_drawn() -> None:
    flat = Fan([5.0] * 10, [5.0], [[(5.0, 5.0)]], ("a", "now", "b"), ("80",))
    assert "•" in draw_fan(flat, 60).plain


@pytest.mark.parametrize("columns", [60, 80])
def test_usage_names_each_key_its_limit_and_its_days(columns: int) -> None:
    report = UsageReport.model_validate(
        {
            "keys": [
                {
                    "name": "dashboard",
                    "month_calls": 12_345,
                    "month_limit": 100_000,
                    "days": [{"date": "2026-01-02", "calls": 1_200, "rows": 30_000, "bytes": 4_567_000}],
                },
                {"name": "bot", "month_calls": 0, "month_limit": None, "days": []},
            ]
        }
    )
    console = Console(width=columns, record=True, file=io.StringIO())
    show_usage(console, report)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= columns
    for words in (
        "dashboard: 12,345 calls this month",
        "100,000 a month",
        "2026-01-02",
        "1,200",
        "30,000",
        "4,567",
    ):
        assert words in text
    assert "bot: 0 calls this month, no limit" in text


def live_record(hours: int, coverage: float | None, *, origin: int | None, forecasts: int = 40) -> dict:
    horizon = {"horizon_days": 0, "horizon_hours": hours, "forecasts": forecasts, "mase": None,
               "random_walk_mase": None,
               "mape_percent": None, "random_walk_mape_percent": None, "skill_percent": None,
               "crps_skill_percent": None, "coverage_80_percent": coverage, "coverage_95_percent": None,
               "coverage_80_standard_error": None, "independent_periods": None}  # fmt: skip
    return {"model": "intraday", "version": "v000001", "id": "", "variant": "production",
            "horizon": horizon, "origin_hour": origin}  # fmt: skip


def test_accuracy_shows_horizons_in_hours_and_the_hours_of_the_start() -> None:
    reply = TrainingGetAccuracyResponse.model_validate(
        {
            "live": [live_record(6, 79.0, origin=None)],
            "evaluated": [],
            "tests": [],
            "ledger": None,
            # Two versions of one hour are weighted by their forecasts.
            "by_origin_hour": [
                live_record(6, 90.0, origin=9),
                live_record(6, 60.0, origin=9, forecasts=20),
                live_record(24, 81.0, origin=9),
                live_record(6, 70.0, origin=14),
                live_record(24, None, origin=14),
            ],
            "risk": [],
        }
    )
    out = io.StringIO()
    show_accuracy(Console(file=out, width=80), reply)
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["6", "h"] in [line[2:4] for line in lines if line[:1] == ["intraday"]]
    rows = {line[0]: line[1:] for line in lines if line and line[0].endswith(":00")}
    assert rows["09:00"][0].startswith("80")
    assert rows["14:00"][0].startswith("70")
    assert "No served risk answer has been scored yet." in out.getvalue()


def risk_record(
    kind: str, chances: tuple[float, float] | None, level: float | None, **changes: object
) -> dict:
    """A record of served risk answers as the gateway sends it."""
    low, high = chances or (None, None)
    values = {"kind": kind, "horizon_days": 7, "probability_from": low, "probability_to": high,
              "level_percent": level, "statements": 1204, "promised_percent": 80.25,
              "observed_percent": 79.04, "standard_error_percent": 5.12, "independent_periods": 12,
              "brier": None, "brier_skill_percent": None, "loss_over_shortfall": None,
              "from_date": "2026-01-01", "to_date": "2026-03-31", "served_by": ""}  # fmt: skip
    return values | changes


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            risk_record("touch", (0.0, 1.0), None),
            ["touched", "all", "7", "d", "1,204", "80.2", "±", "5.1", "%", "79.0", "%"],
        ),
        (
            risk_record("close_beyond", (0.0, 1.0), None, served_by="technical", standard_error_percent=None),
            ["closed", "beyond", "technical", "7", "d", "1,204", "80.2", "%", "79.0", "%"],
        ),
        (risk_record("exceedance", None, 97.5), ["lost", "more", "than", "the", "97.5", "%", "VaR", "all"]),
        # One tenth of the chances: the whole is shown, the tenths are in the reply.
        (risk_record("touch", (0.2, 0.3), None), []),
    ],
)
def test_accuracy_shows_how_risk_answers_came_true(record: dict, words: list[str]) -> None:
    reply = TrainingGetAccuracyResponse.model_validate(
        {"live": [], "evaluated": [], "tests": [], "ledger": None, "by_origin_hour": [], "risk": [record]}
    )
    out = io.StringIO()
    show_accuracy(Console(file=out, width=100), reply)
    found = [line.split() for line in out.getvalue().splitlines()]
    assert any(line[: len(words)] == words for line in found) if words else "touched" not in out.getvalue()


@pytest.mark.parametrize("sentences", [("On past days.", "Since they were served."), ("", "None so far.")])
def test_a_touch_says_how_such_answers_did_before_and_since_they_were_served(
    sentences: tuple[str, str],
) -> None:
    basis = {
        "model": "lightgbm", "version": "v000001", "served_by": "lightgbm", "degraded": False, "reason": "",
        "as_of": None, "provenance": None, "scenarios": 1000, "first_origin_date": "2022-01-01",
        "last_origin_date": "2024-12-31", "borrowed_ids": [], "record_sentence": sentences[0],
        "live_records": [], "live_sentence": sentences[1], "recorded": True, "as_of_reason": "",
        "reconstructed": False,
    }  # fmt: skip
    day = {"date": "2025-01-02", "horizon_days": 1, "touch_probability": 0.2, "close_beyond_probability": 0.1}
    level = {"price": 105.0, "percent": 5.0, "days": [day]}
    coin = {"id": "bitcoin", "last_price": 100.0, "levels": [level]}
    reply = Touch.model_validate({"basis": basis, "errors": [], "coins": [coin]})
    out = io.StringIO()
    show_touch(Console(file=out, width=200), reply)
    for said in filter(None, sentences):
        assert said in out.getvalue()


def test_a_touch_of_a_past_moment_says_so() -> None:
    basis = {
        "model": "lightgbm", "version": "v000001", "served_by": "lightgbm", "degraded": False, "reason": "",
        "as_of": "2025-08-16T00:00:00Z", "provenance": None, "scenarios": 1000,
        "first_origin_date": "2022-01-01", "last_origin_date": "2024-12-31", "borrowed_ids": [],
        "record_sentence": "", "live_records": [], "live_sentence": "", "recorded": False,
        "as_of_reason": "", "reconstructed": True,
    }  # fmt: skip
    out = io.StringIO()
    show_touch(
        Console(file=out, width=200), Touch.model_validate({"basis": basis, "errors": [], "coins": []})
    )
    assert "As of 2025-08-16 00:00 UTC, made later from the data known then." in out.getvalue()


@pytest.mark.parametrize("columns", [60, 80])
def test_forecast_of_hours_names_the_time_of_each(columns: int) -> None:
    bounds = {"80": {"lower": 90.0, "upper": 110.0}, "95": {"lower": 80.0, "upper": 120.0}}
    points: list[dict[str, Any]] = [
        {
            "date": date(2026, 1, 2),
            "horizon_hours": hour,
            "closes_at": datetime(2026, 1, 2, 13 + hour, tzinfo=UTC),
            "price": 100.0,
            "intervals": {level: Bounds.model_validate(each) for level, each in bounds.items()},
            "probability_of_rise": 0.5,
        }
        for hour in (1, 2)
    ]
    shown: dict[str, Any] = {
        "id": "bitcoin",
        "vs_currency": "usd",
        "as_of": datetime(2026, 1, 2, 13, tzinfo=UTC),
        "last_price": 100.0,
        "served_by": "intraday",
        "version": "v1",
        "source": "archive",
        "points": [Point.model_construct(**point) for point in points],
        "record": None,
        "degraded": False,
        "stale": False,
        "reconstructed": False,
    }
    forecast = Forecast.model_construct(**shown)
    out = io.StringIO()
    show_forecast(Console(file=out, width=columns), forecast, None)
    assert "2026-01-02 14:00 UTC" in out.getvalue()
    assert "2026-01-02 15:00 UTC" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= columns


def shown(show: Callable[..., None], *given: Any, columns: int = 100, colours: bool = False) -> str:
    """Return what is printed in a terminal of that many columns."""
    out = io.StringIO()
    console = Console(
        file=out, width=columns, force_terminal=colours, color_system="standard" if colours else None
    )
    show(console, *given)
    assert colours or max(map(len, out.getvalue().splitlines()), default=0) <= columns
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def prices(*rows: gw.Document, errors: Sequence[gw.Document] = ()) -> Prices:
    return Prices.model_validate(gw.prices(*rows, errors=errors))


def forecast(**changes: Any) -> Forecast:
    return Forecast.model_validate(gw.forecast(**changes))


@pytest.mark.parametrize(
    ("change", "styled"),
    [(1.5, "\x1b[32m+1.5 %"), (-1.5, "\x1b[31m−1.5 %"), (0.0, " 0.0 %"), (None, "–")],
)
def test_change_is_green_above_zero_and_red_below(change: float | None, styled: str) -> None:
    text = shown(show_prices, prices(gw.price(change_24h_percent=change)), columns=120, colours=True)
    assert styled in text
    assert ("\x1b[3" in text.splitlines()[-1]) == bool(change)


def test_wide_table_says_of_each_price_how_old_it_is_and_where_it_is_from() -> None:
    rows = [gw.price("a", stale=True, age_seconds=90_000.0), gw.price("b", source="sandbox", age_seconds=1.0)]
    lines = shown(show_prices, prices(*rows)).splitlines()
    assert lines[2].endswith("1 day ago, stale")
    assert lines[3].endswith("just now, sandbox")


def test_narrow_table_says_it_below_once_for_each_reason() -> None:
    rows = [
        gw.price("a", stale=True, reason="CoinGecko is slow."),
        gw.price("b", stale=True, reason="CoinGecko is slow."),
        gw.price("c", stale=True, source="sandbox"),
        gw.price("d"),
    ]
    lines = shown(show_prices, prices(*rows), columns=60).splitlines()
    assert [line.rstrip() for line in lines[6:]] == [
        "Sandbox data: these are not market prices.",
        "Stale: CoinGecko is slow.",
        "Stale: no reason was given.",
    ]


def test_suggestions_are_not_repeated() -> None:
    errors = [
        gw.item_error("bitcon", "Unknown.", "bitcoin", "bitcoin-cash", "bitcoin-2", "bitcoin-3"),
        gw.item_error("etherum", "Unknown. Did you mean ethereum?", "ethereum"),
        gw.item_error("eos", "Not ready."),
    ]
    assert shown(show_prices, prices(errors=errors)).splitlines()[-3:] == [
        "bitcon: Unknown. Did you mean bitcoin, bitcoin-cash, bitcoin-2?",
        "etherum: Unknown. Did you mean ethereum?",
        "eos: Not ready.",
    ]


@pytest.mark.parametrize(
    "name", ["Wrapped SOL [wormhole]", "[/b]", "[link=http://x]y[/link]", ":smile:", "a\\[b]"]
)
def test_name_of_a_coin_is_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    reply = Coins.model_validate(gw.coins(("x", "x[dim]", name)))
    show_coins(open_console(), reply)
    text = capsys.readouterr().out
    assert "1 coin matches" in text
    assert name in text
    assert "X[DIM]" in text


def test_name_of_a_coin_cannot_command_the_terminal() -> None:
    reply = Coins.model_validate(gw.coins(("x", "x\r", "red \x1b[31m\x07\u202e\nnext")))
    line = shown(show_coins, reply).splitlines()[-1]
    assert line.rstrip() == "x   X       red  [31m   next"


def test_history_says_that_it_is_cut_and_stale() -> None:
    document = gw.history(
        truncated=True, truncated_reason="The plan allows 365 days.", stale=True, source="sandbox"
    )
    lines = shown(show_history, History.model_validate(document)).splitlines()
    assert lines[-3:] == [
        "Sandbox data: these are not market prices.",
        "Stale: no reason was given.",
        "The plan allows 365 days.",
    ]


@pytest.mark.parametrize(
    ("rise", "said"),
    [
        (None, "Direction: no better than a coin toss."),
        (0.51, "Direction: no better than a coin toss."),
        (0.55, "Chance of a rise: 55 %."),
        (0.4, "Chance of a rise: 40 %."),
    ],
)
def test_direction_is_named_only_if_it_is_better_than_a_coin_toss(rise: float | None, said: str) -> None:
    assert sentence(forecast(rise=rise)).endswith(said)


def test_forecast_without_the_usual_level_names_its_own() -> None:
    document = gw.forecast(days=1, vs_currency="chf")
    document["points"][0]["intervals"] = {"95": {"lower": 90.0, "upper": 110.0}}
    assert "90.00 to 110.00 CHF" in sentence(Forecast.model_validate(document))
    assert "95 times in 100" in sentence(Forecast.model_validate(document))


def test_record_is_that_of_the_nearest_horizon() -> None:
    rows = [gw.horizon(1, 71.0), gw.horizon(0, 72.0, horizon_hours=12), gw.horizon(14, 73.0)]
    for days, said in ((1, "71.0 % of 1,204 earlier 80 % intervals for 1 day "), (9, "73.0 % of 1,204")):
        assert record_sentence(forecast(days=days, record=gw.record(*rows))).startswith(said)
    document = gw.forecast(days=1, record=gw.record(*rows))
    document["points"][0] |= {"horizon_days": 0, "horizon_hours": 10, "closes_at": "2026-01-01T10:00:00Z"}
    hourly = Forecast.model_validate(document)
    assert record_sentence(hourly).startswith("72.0 % of 1,204 earlier 80 % intervals for 12 hours")
    assert sentence(hourly).startswith("bitcoin in 10 hours: ")


@pytest.mark.parametrize("record", [None, gw.record(), gw.record(gw.horizon(2, None))])
def test_forecast_without_a_record_says_nothing_of_one(record: gw.Document | None) -> None:
    assert record_sentence(forecast(record=record)) == ""
    assert "earlier" not in shown(show_forecast, forecast(record=record), None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"degraded": True, "reason": "The model has expired."}, "Degraded: The model has expired."),
        ({"degraded": True, "stale": True}, "Degraded: no reason was given."),
        ({"stale": True, "reason": "The history is a day old."}, "Stale: The history is a day old."),
    ],
)
def test_forecast_that_is_degraded_or_stale_says_so(changes: dict[str, Any], said: str) -> None:
    last = shown(show_forecast, forecast(**changes), None).splitlines()[-1]
    assert last == said if said else last.startswith("2026-01-03")


def test_headline_says_if_a_forecast_is_from_the_sandbox_or_made_later() -> None:
    assert headline(forecast()) == "lightgbm v000001, from 37,000 at 2026-01-01 00:00 UTC"
    assert headline(forecast(version="", served_by="technical")).startswith("technical, from 37,000")
    assert headline(forecast(source="sandbox", reconstructed=True)).endswith(
        "UTC, sandbox data, made later from the data known then"
    )


def test_chart_stands_between_the_sentence_and_the_table_unless_it_is_too_narrow() -> None:
    past = History.model_validate(gw.history(closes=[36_000.0, 37_000.0]))
    text = shown(show_forecast, forecast(), past, columns=80)
    assert text.index("8 times in 10") < text.index("• close") < text.index("Median")
    assert "2026-01-01" in text
    assert "• close" not in shown(show_forecast, forecast(), past, columns=39)
    empty = History.model_validate(gw.history(closes=[]))
    assert "• close" not in shown(show_forecast, forecast(), empty)


def test_chart_names_the_moment_of_an_earlier_forecast() -> None:
    past = History.model_validate(gw.history(closes=[36_000.0, 37_000.0]))
    out = io.StringIO()
    show_forecast(Console(file=out, width=80), forecast(), past, earlier=True)
    axes = [line.split() for line in out.getvalue().splitlines() if line.startswith(" ") and "2026" in line]
    assert axes == [["2026-01-01", "2026-01-01", "00:00", "2026-01-03"]]


def test_chart_of_hours_starts_at_an_hour() -> None:
    past = History.model_validate(gw.hourly())
    assert "2026-01-01 00:00 UTC" in shown(show_forecast, forecast(), past)


def test_level_that_a_coin_touches_is_above_or_below_the_last_price() -> None:
    text = words(shown(show_touch, Touch.model_validate(gw.touch(5, -5)), columns=200))
    assert "touches 105,000 (+5.0 %) within 2 days with a chance of 20 %, and closes above it on" in text
    assert "touches 95,000 (−5.0 %) within 2 days with a chance of 20 %, and closes below it on" in text


def risk(*levels: gw.Document, **changes: Any) -> Portfolio:
    return Portfolio.model_validate(gw.portfolio(*levels, **changes))


def test_risk_is_said_of_the_level_next_to_95_percent() -> None:
    text = words(shown(show_risk, risk(*map(gw.risk_level, (90, 94, 97)))))
    assert text.startswith(
        "Worth 9,000 dollars. Over 7 days, 94 times in 100 the loss stays below 940.00; in the other 6 it is "
        "1,410 on average."
    )
    assert "bitcoin 1,500 106.4 % ethereum −90.00 −6.4 %" in text
    assert text.count("−22.2 %") == 5


def test_risk_names_the_levels_without_a_figure_and_those_with_few_cases() -> None:
    nothing: gw.Document = {"value_at_risk": None, "expected_shortfall": None, "components": []}
    reply = risk(
        gw.risk_level(90, indicative=True, relative_error_percent=12.5),
        gw.risk_level(95, indicative=True),
        gw.risk_level(99, refused="Too few cases.", **nothing),
        errors=[gw.item_error("nocoin", "Unknown.")],
    )
    text = words(shown(show_risk, reply))
    assert "99 % – –" in text
    assert "90 %: indicative only, ± 12.5 %. 95 %: indicative only. 99 %: Too few cases." in text
    assert text.endswith("nocoin: Unknown.")


def test_risk_without_any_figure_has_no_sentence_and_no_contributions() -> None:
    nothing: gw.Document = {"value_at_risk": None, "expected_shortfall": None, "components": []}
    text = shown(show_risk, risk(gw.risk_level(99, refused="Too few cases.", **nothing)))
    assert text.startswith("Losses")
    assert "Contributions" not in text


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (None, ""),
        (gw.basis(degraded=True, reason="One coin is borrowed."), "Degraded: One coin is borrowed."),
        (gw.basis(degraded=True), "Degraded: no reason was given."),
        (
            gw.basis(provenance=gw.STANDING | {"source": "sandbox", "reason": ""}),
            "Sandbox data: these are not market prices.",
        ),
    ],
)
def test_risk_says_what_its_scenarios_lack(basis: gw.Document | None, said: str) -> None:
    last = shown(show_risk, risk(gw.risk_level(95), basis=basis)).splitlines()[-1]
    assert last == said if said else last.startswith("2022-05-11")


def test_model_is_shown_at_its_longest_horizon_up_to_a_week_or_at_its_last() -> None:
    intraday = [gw.horizon(0, 75.0, horizon_hours=hours) for hours in (6, 24)]
    rows = [
        gw.model("lightgbm", gw.horizon(1), gw.horizon(7, 78.0), gw.horizon(30)),
        gw.model("intraday", *intraday),
        gw.model("lstm", version="", ready=False, reason="It is not trained."),
    ]
    lines = [words(line) for line in shown(show_models, Models.model_validate({"models": rows})).splitlines()]
    assert lines[2:] == [
        "lightgbm v000001 7 d 78.0 % +1.25 %",
        "intraday v000001 24 h 75.0 % +1.25 %",
        "lstm – – – –",
        "lstm: It is not trained.",
    ]


def test_accuracy_before_anything_was_scored_says_so() -> None:
    text = shown(show_accuracy, TrainingGetAccuracyResponse.model_validate(gw.accuracy()))
    assert "No served forecast has been scored yet." in text


def test_usage_before_any_call_says_so() -> None:
    assert shown(show_usage, UsageReport(keys=[])) == "No key has made a call.\n"


def test_state_of_each_component_has_its_colour() -> None:
    reply = Detailed.model_validate(gw.health("down", gateway="ok", forecast="degraded", redis="down"))
    text = shown(show_health, reply, colours=True)
    for state in ("\x1b[32mok", "\x1b[33mdegraded", "\x1b[31mdown"):
        assert state in text
    assert "The system is down" in text
