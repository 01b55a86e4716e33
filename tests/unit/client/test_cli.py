"""The `coincast` command: what it sends, what a person sees, and its exit codes; and `coincast import`."""

from __future__ import annotations

import json
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from coincast_client.cli import app, connect, parse_holdings, parse_levels
from coincast_client.errors import Refused, Unreachable
from tests.unit.client import fake_gateway as gw
from tests.unit.client.fake_gateway import FakeGateway, fake_gateway

FIRST = date(2024, 1, 1)


def candles(days: int) -> list[str]:
    return [f"{FIRST + timedelta(days=n)},1,3,0.5,2,{n}" for n in range(days)]


def run_import(folder: Path, var: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coincast_stack", "import", str(folder), "--var-dir", str(var)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
def test_good_files_are_taken_and_rows_put_aside_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines = ["Date, Open, High, Low, Close, Volume", *candles(40), "2205-01-01,1,3,0.5,2,1"]
    (folder / "bitcoin.csv").write_text("\n".join(lines))
    (folder / "broken.csv").write_text("no,such,columns\n1,2,3\n")
    done = run_import(folder, tmp_path / "var")
    assert done.returncode == 1, done.stderr
    assert pq.read_metadata(tmp_path / "var/archive/usd/bitcoin.parquet").num_rows == 40
    assert "rejected: bitcoin.csv line 42: day not closed yet" in done.stdout
    assert "broken.csv lacks the column" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_folder_that_is_none_is_an_error_of_the_request(tmp_path: Path) -> None:
    done = run_import(tmp_path / "nope", tmp_path / "var")
    assert done.returncode == 2
    assert "nope" in done.stderr


def test_the_command_passes_its_options_on() -> None:
    result = CliRunner().invoke(app, ["import", "--help"])
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("texts", "holdings"),
    [
        (["bitcoin=6000"], [{"id": "bitcoin", "value": 6000.0}]),
        (["bitcoin=-6000"], [{"id": "bitcoin", "value": -6000.0}]),
        (["ethereum:1.5"], [{"id": "ethereum", "amount": 1.5}]),
        (
            [" bitcoin = 1e3", "bitcoin:-0.5"],
            [{"id": "bitcoin", "value": 1000.0}, {"id": "bitcoin", "amount": -0.5}],
        ),
        (["bitcoin"], None),
        (["bitcoin="], None),
        (["=5"], None),
        (["bitcoin=ten"], None),
        (["bitcoin=nan"], None),
        (["bitcoin=inf"], None),
        (["bitcoin=1=2"], None),
        (["bitcoin:1:2"], None),
    ],
)
def test_holdings_are_values_or_amounts(texts: list[str], holdings: list[dict[str, object]] | None) -> None:
    if holdings is not None:
        assert parse_holdings(texts) == holdings
        return
    with pytest.raises(ValueError, match=r"is not a holding; write coin=value, .* or coin:amount"):
        parse_holdings(texts)


def test_levels_are_a_list_with_commas() -> None:
    assert parse_levels("95, 97.5") == [95.0, 97.5]
    with pytest.raises(ValueError, match="write it like 95,99"):
        parse_levels("95;99")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unreachable("no answer"), 1),
        (Refused(503, {"detail": "Starting."}), 1),
        (Refused(429, {"detail": "The month is used up."}), 1),
        (Refused(404, {"detail": "No such coin."}), 2),
        (Refused(422, {"detail": "days is too large."}), 2),
        (ValueError("ids is empty."), 2),
    ],
)
def test_exit_code_of_an_error(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, connect("http://127.0.0.1:1", ""):
        raise error
    assert caught.value.exit_code == code
    assert str(error) in capsys.readouterr().err


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with fake_gateway() as served:
        yield served


def run(gateway: FakeGateway, line: str, *, columns: int = 100, **environment: str) -> Result:
    """Run the command for a line of a shell, in a terminal of that many columns."""
    given = {"COLUMNS": str(columns), "COINCAST_URL": gateway.url, **environment}
    return CliRunner().invoke(app, shlex.split(line), env=given, prog_name="coincast")


def words(text: str) -> str:
    """Return a text with single spaces, since a terminal breaks lines at its width."""
    return " ".join(text.split())


def test_module_runs_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["coincast", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("coincast_client", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("coincast ")


def test_help_names_every_command_and_what_it_does() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        described = (command.callback.__doc__ or "").split(";")[0].split()[:4]
        assert f"{name} {' '.join(described)}" in words(result.output)
    assert max(map(len, result.output.splitlines())) <= 80


PRICES = gw.prices(
    gw.price(), gw.price("dogecoin", 1.18e-7, market_cap=None, change_24h_percent=None, age_seconds=30.0)
)


def test_prices_are_sent_for_and_shown_with_their_age(gateway: FakeGateway) -> None:
    gateway.reply("/prices", PRICES)
    result = run(gateway, "prices bitcoin dogecoin --vs usd --key secret")
    assert result.exit_code == 0, result.output
    assert gateway.last.parameters == {"ids": "bitcoin,dogecoin", "vs_currencies": "usd"}
    assert gateway.last.headers["x-api-key"] == "secret"
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["bitcoin", "/", "usd", "108,246", "−1.5", "%", "$2.16", "T", "2", "hours", "ago"] in lines
    assert ["dogecoin", "/", "usd", "1.18e-7", "–", "–", "just", "now"] in lines


def test_key_of_the_environment_is_sent(gateway: FakeGateway) -> None:
    gateway.reply("/prices", PRICES)
    assert run(gateway, "prices bitcoin", COINCAST_API_KEY="from-env").exit_code == 0
    assert gateway.last.headers["x-api-key"] == "from-env"


def test_coin_that_was_not_served_is_named_and_fails_the_command(gateway: FakeGateway) -> None:
    gateway.reply("/prices", gw.prices(gw.price(), errors=[gw.item_error("bitcon", "Unknown.", "bitcoin")]))
    result = run(gateway, "prices bitcoin bitcon")
    assert result.exit_code == 1
    assert "108,246" in result.stdout
    assert "bitcon: Unknown. Did you mean bitcoin?" in result.stdout


def test_problem_is_one_line_on_stderr_with_suggestions_once(gateway: FakeGateway) -> None:
    gateway.refuse("/prices", 404, "No such coin: bitcon.", suggestions=["bitcoin", "bitcoin-cash"])
    result = run(gateway, "prices bitcon", columns=20)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "coincast: No such coin: bitcon. Did you mean bitcoin, bitcoin-cash?\n"
    gateway.refuse("/prices", 404, "No such coin. Did you mean bitcoin?", suggestions=["bitcoin"])
    assert run(gateway, "prices bitcon").stderr.count("bitcoin") == 1


# What each command sends to which path, and something of what it shows.
SHOWN: dict[str, tuple[str, Any, dict[str, str], str]] = {
    "prices bitcoin,ethereum": (
        "/prices",
        gw.prices(gw.price()),
        {"ids": "bitcoin,ethereum", "vs_currencies": "usd"},
        "bitcoin / usd 108,246 −1.5 % $2.16 T 2 hours ago",
    ),
    "coins wrapped sol --limit 5": (
        "/coins",
        gw.coins(("wsol", "wsol", "Wrapped SOL [wormhole]"), total=1_234),
        {"query": "wrapped sol", "limit": "5"},
        "1,234 coins match Id Symbol Name wsol WSOL Wrapped SOL [wormhole]",
    ),
    "history bitcoin --days 2 --vs eur": (
        "/coins/bitcoin/history",
        gw.history(vs_currency="eur"),
        {"days": "2", "vs_currency": "eur"},
        "bitcoin in EUR Day Open High Low Close Volume 2026-01-01 35,500 36,900 35,100 36,000 21.50 B",
    ),
    "history bitcoin --hourly --as-of 2026-01-02": (
        "/coins/bitcoin/history",
        gw.hourly(),
        {"days": "30", "vs_currency": "usd", "interval": "1h", "as_of": "2026-01-02"},
        "2026-01-01 02:00 UTC 108,000",
    ),
    "forecast bitcoin --hours 6 --no-chart --model lstm": (
        "/forecasts",
        gw.forecasts(gw.forecast()),
        {"ids": "bitcoin", "hours": "6", "model": "lstm", "vs_currency": "usd", "levels": "80,95"},
        "bitcoin in 2 days: 36,200 to 37,800 dollars, −2.2 % to +2.2 %, 8 times in 10.",
    ),
    "touch bitcoin 5% -5% --days 2": (
        "/forecasts/touch",
        gw.touch(5, -5),
        {"ids": "bitcoin", "level": "5%,-5%", "days": "2", "model": "auto", "vs_currency": "usd"},
        "bitcoin touches 95,000 (−5.0 %) within 2 days with a chance of 20 %, and closes below it",
    ),
    "models": (
        "/forecasts/models",
        {"models": [gw.model("lightgbm", gw.horizon(1), gw.horizon(7), gw.horizon(30, 60.0))]},
        {},
        "lightgbm v000001 7 d 79.8 % +1.25 %",
    ),
    "accuracy --days 90": (
        "/forecasts/accuracy",
        gw.accuracy(gw.live(7)),
        {"days": "90"},
        "lightgbm v000001 7 d 1,204 79.8 % +1.25 %",
    ),
    "keys": ("/usage", gw.usage(), {"days": "7"}, "bot: 12,345 calls this month, 100,000 a month"),
    "health": (
        "/health/detailed",
        gw.health("degraded"),
        {},
        "market-data degraded market_data is degraded.",
    ),
}


@pytest.mark.parametrize("line", SHOWN)
def test_command_sends_its_options_and_shows_the_reply(line: str, gateway: FakeGateway) -> None:
    path, document, parameters, shown = SHOWN[line]
    gateway.reply(path, document)
    result = run(gateway, line)
    assert result.exit_code == 0, result.output
    assert (gateway.last.path, gateway.last.parameters) == (path, parameters)
    assert shown in words(result.stdout)


@pytest.mark.parametrize("line", SHOWN)
def test_json_is_the_reply_without_anything_else(line: str, gateway: FakeGateway) -> None:
    path, document, _, _ = SHOWN[line]
    gateway.reply(path, document)
    result = run(gateway, f"{line} --json", columns=20)
    assert result.exit_code == 0, result.output
    assert missing_from(json.loads(result.stdout), document) == []


def missing_from(printed: Any, document: Any, place: str = "") -> list[str]:
    """Return where a document has a value that is not printed; more may be printed."""
    if isinstance(document, dict):
        return [
            each
            for name in document
            for each in missing_from(printed[name], document[name], f"{place}.{name}")
        ]
    if isinstance(document, list) and len(document) == len(printed):
        return [
            each
            for number, value in enumerate(document)
            for each in missing_from(printed[number], value, f"{place}.{number}")
        ]
    return [] if printed == document else [place]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("line", [*SHOWN, "risk bitcoin=9000", "forecast bitcoin"])
def test_output_fits_the_terminal(line: str, columns: int, gateway: FakeGateway) -> None:
    gateway.reply("/risk/portfolio", gw.portfolio(*map(gw.risk_level, (90, 95, 97.5, 99))))
    for path, document, _, _ in SHOWN.values():
        gateway.reply(path, document)
    result = run(gateway, line, columns=columns)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= columns


def test_search_without_a_match_fails(gateway: FakeGateway) -> None:
    gateway.reply("/coins", gw.coins())
    result = run(gateway, "coins nothing-like-it")
    assert result.exit_code == 1
    assert "0 coins match" in result.stdout


def test_system_that_is_down_fails_the_command(gateway: FakeGateway) -> None:
    gateway.reply("/health/detailed", gw.health("down"))
    assert run(gateway, "health").exit_code == 1
    assert run(gateway, "health --json").exit_code == 1


def test_forecast_has_a_chart_of_the_days_before_it(gateway: FakeGateway) -> None:
    gateway.reply("/forecasts", gw.forecasts(gw.forecast(), errors=[gw.item_error("nocoin", "Unknown.")]))
    gateway.reply("/coins/bitcoin/history", gw.history())
    result = run(gateway, "forecast bitcoin nocoin --as-of 2026-01-01")
    assert result.exit_code == 1
    assert "• close  ─ median  ░ 95 % ▒ 80 %" in result.stdout
    assert "nocoin: Unknown." in result.stdout
    assert gateway.last.parameters == {
        "days": "60",
        "vs_currency": "usd",
        "as_of": "2026-01-01T00:00:00+00:00",
    }


def test_forecast_is_shown_without_its_chart_if_there_is_no_history(gateway: FakeGateway) -> None:
    gateway.reply("/forecasts", gw.forecasts(gw.forecast()))
    gateway.refuse("/coins/bitcoin/history", 503, "market-data does not answer.")
    result = run(gateway, "forecast bitcoin")
    assert result.exit_code == 0
    assert "8 times in 10" in words(result.stdout)
    assert "• close" not in result.stdout
    assert words(result.stderr) == "coincast: there is no chart of bitcoin: market-data does not answer."


def test_risk_sends_values_and_amounts_and_shows_each_level(gateway: FakeGateway) -> None:
    gateway.reply("/risk/portfolio", gw.portfolio(gw.risk_level(90), gw.risk_level(97.5)))
    line = "risk bitcoin=6000 ethereum:-1.5 --levels 90,97.5 --days 3 --as-of 2026-01-01"
    result = run(gateway, line)
    assert result.exit_code == 0, result.output
    assert gateway.last.method == "POST"
    assert gateway.last.body == {
        "holdings": [{"id": "bitcoin", "value": 6000.0}, {"id": "ethereum", "amount": -1.5}],
        "days": 3, "levels": [90.0, 97.5], "model": "auto", "vs_currency": "usd", "as_of": "2026-01-01",
    }  # fmt: skip
    assert "97.5 times in 100 the loss stays below 975.00; in the other 2.5 it is" in words(result.stdout)
    assert json.loads(run(gateway, f"{line} --json").stdout)["levels"][1]["level_percent"] == 97.5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("risk bitcoin", "'bitcoin' is not a holding; write coin=value"),
        ("risk bitcoin=1 --levels 95;99", "'95;99' is no list of levels; write it like 95,99."),
        ("risk bitcoin=1 --levels nan", "'nan' is no list of levels"),
        ("risk bitcoin=1 --levels 95,inf", "'95,inf' is no list of levels"),
        ("touch bitcoin 5% --bogus", "No such option: --bogus"),
        ("touch bitcoin", "Missing argument"),
        ("forecast bitcoin --days 3 --hours 3", "Give days or hours, not both."),
        (
            "forecast bitcoin --days 31",
            "Invalid value for '--days': Input should be less than or equal to 30",
        ),
        ("prices ,", "ids is empty; give a coin such as 'bitcoin'"),
        ("prices", "Missing argument"),
        ("history a/b", "coin 'a/b' is not valid; it must not be empty or hold / ? # %."),
        (
            "export foo --out x.csv",
            "'foo' is not a table; give one of histories, ledger, accuracy, scenarios.",
        ),
        ("export ledger --out x.xls", "name the file .parquet, .arrow or .csv, or give a format."),
        (
            "export histories bitcoin --out x --format arrow",
            "A folder of candles holds parquet or csv files.",
        ),
        ("export histories --out x", "ids is empty"),
        ("prices bitcoin --url localhost:8000", "'localhost:8000' is not the address of a gateway"),
        ("prices bitcoin --url http://[::1", "'http://[::1' is not the address of a gateway"),
        ("prices bitcoin --url http://", "'http://' is not the address of a gateway"),
        ("prices bitcoin --key schlüssel", "The API key holds a line break or a character outside ASCII"),
        ("prices bitcoin --key 'a\nb'", "The API key holds a line break or a character outside ASCII"),
    ],
)
def test_invalid_request_names_the_fault_before_anything_is_sent(
    line: str, said: str, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(gateway, line)
    assert result.exit_code == 2, result.output
    # A box around an error of the parser breaks its lines.
    assert said in words(result.stderr.replace("│", " "))
    assert "Traceback" not in result.output
    assert gateway.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "option", "most"),
    [
        ("coins bit", "--limit", 250),
        ("history bitcoin", "--days", 10_000),
        ("forecast bitcoin", "--days", 30),
        ("forecast bitcoin", "--hours", 48),
        ("touch bitcoin 5%", "--days", 14),
        ("risk bitcoin=1", "--days", 14),
        ("accuracy", "--days", 365),
        ("keys", "--days", 35),
        ("export histories bitcoin --out x", "--days", 10_000),
    ],
)
def test_number_outside_its_range_names_the_option(
    line: str, option: str, most: int, gateway: FakeGateway
) -> None:
    assert run(gateway, f"{line} {option} {most}").stderr.startswith("coincast: No such path")
    for number in (0, most + 1):
        result = run(gateway, f"{line} {option} {number}")
        assert result.exit_code == 2
        assert f"Invalid value for '{option}'" in words(result.stderr)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<html>", "text/html", "answered 200 with text/html; is it the gateway?"),
        (b"", "", "answered 200 with no content; is it the gateway?"),
        (b"{", gw.JSON, "answered 200 with malformed JSON; is it the gateway?"),
        (b"{}", gw.JSON, "JSON of another form (prices: Field required); is it the gateway, and of the same"),
        (b"[]", gw.JSON, "JSON of another form (the document: Input should be"),
    ],
)
def test_reply_of_another_server_is_no_fault_of_the_request(
    body: bytes, kind: str, said: str, gateway: FakeGateway
) -> None:
    gateway.send("/prices", body, kind)
    result = run(gateway, "prices bitcoin")
    assert result.exit_code == 1
    assert said in words(result.stderr)


UPDATES = gw.events(
    ("prices", gw.prices()),
    ("prices", gw.prices(gw.price(value=10.0), errors=[gw.item_error("eos", "Not yet.")])),
    ("prices", gw.prices(gw.price(value=11.0))),
    ("prices", gw.prices(gw.price("eos", 3.0))),
)


@pytest.mark.parametrize(("updates", "code"), [(1, 1), (2, 1), (3, 0)])
def test_watch_ends_after_its_updates_and_forgets_errors_that_are_over(
    updates: int, code: int, gateway: FakeGateway
) -> None:
    gateway.send("/prices/stream", UPDATES, gw.EVENTS)
    result = run(gateway, f"watch bitcoin eos --updates {updates}")
    assert result.exit_code == code, result.output
    tables = result.stdout.split("Prices")[1:]
    assert len(tables) == updates
    assert ("eos: Not yet." in tables[-1]) == bool(code)
    assert ("11.00" in tables[-1]) == (updates > 1)


def test_watch_prints_an_event_in_each_line_of_json(gateway: FakeGateway) -> None:
    gateway.send("/prices/stream", UPDATES, gw.EVENTS)
    result = run(gateway, "watch bitcoin --updates 2 --json")
    assert [json.loads(line)["prices"][0]["price"] for line in result.stdout.splitlines()] == [10.0, 11.0]


def test_watch_clears_a_terminal_before_each_table(gateway: FakeGateway) -> None:
    gateway.send("/prices/stream", UPDATES, gw.EVENTS)
    result = run(gateway, "watch bitcoin --updates 2", FORCE_COLOR="1", TERM="xterm")
    assert result.stdout.count("\x1b[2J") == 2


def test_watch_says_that_the_stream_ended(gateway: FakeGateway) -> None:
    gateway.send("/prices/stream", UPDATES, gw.EVENTS)
    result = run(gateway, "watch bitcoin")
    assert result.exit_code == 1
    assert "ended the stream; ask again." in result.stderr


CSV = b"# source=live\nid,date,close\nbitcoin,2026-01-01,1\n"


def test_export_says_what_it_wrote(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.send("/export/ledger", CSV, "text/csv; charset=utf-8")
    path = tmp_path / "ledger.csv"
    result = run(gateway, f"export ledger bitcoin --out {path} --from 2026-01-01 --model lstm", columns=300)
    assert result.exit_code == 0, result.output
    assert path.read_bytes() == CSV
    assert result.stdout == f"{path} ({len(CSV)} bytes)\n"
    assert gateway.last.parameters == {
        "format": "csv", "ids": "bitcoin", "from": "2026-01-01", "model": "lstm",
    }  # fmt: skip


def test_export_to_a_folder_names_its_files_and_the_coins_without_one(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    gateway.send("/export/histories", CSV + b"# error: nocoin: Unknown.\n", "text/csv")
    line = f"export histories bitcoin nocoin --out {tmp_path / 'candles'} --format csv --hourly"
    result = run(gateway, line, columns=300)
    assert result.exit_code == 1
    assert result.stdout == f"1 file in {tmp_path / 'candles'}\n"
    assert result.stderr == "coincast: nocoin: Unknown.\n"
    assert [path.name for path in (tmp_path / "candles").iterdir()] == ["bitcoin.csv"]
    assert gateway.last.parameters == {"format": "csv", "ids": "bitcoin,nocoin", "interval": "1h"}


@pytest.mark.parametrize("table", ["ledger", "histories"])
def test_path_that_cannot_be_written_is_named(table: str, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.send(f"/export/{table}", CSV, "text/csv")
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / ("ledger.csv" if table == "ledger" else "candles")
    result = run(gateway, f"export {table} bitcoin --out {out} --format csv", columns=300)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"coincast: cannot write {tmp_path / 'file'}")
    assert "Give --out a path that can be written." in result.stderr


def test_page_of_another_server_does_not_replace_a_file(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.send("/export/ledger", b"<html>", "text/html")
    path = tmp_path / "ledger.parquet"
    path.write_text("earlier")
    result = run(gateway, f"export ledger --out {path}", columns=300)
    assert result.exit_code == 1
    assert "with text/html; is it the gateway?" in result.stderr
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"ledger.parquet": "earlier"}


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("doctor", ["doctor"]),
        ("up --port 9000 --help", ["run", "--port", "9000", "--help"]),
        ("demo --fast", ["demo", "--fast"]),
        ("import folder --var-dir x", ["import", "folder", "--var-dir", "x"]),
    ],
)
def test_commands_of_the_whole_system_are_passed_on_with_their_options(
    line: str, given: list[str], gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        received.append(arguments)
        return 3

    stack = ModuleType("coincast_stack.__main__")
    monkeypatch.setattr(stack, "main", main, raising=False)
    monkeypatch.setitem(sys.modules, "coincast_stack.__main__", stack)
    assert run(gateway, line).exit_code == 3
    assert received == [given]


@pytest.mark.parametrize(
    ("package", "line", "said"),
    [
        ("coincast_stack", "up", "coincast: run needs the whole system; install the package `coincast`."),
        ("mcp", "mcp", "coincast: install the package mcp first: pip install mcp"),
    ],
)
def test_package_that_is_not_installed_is_named(
    package: str, line: str, said: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = run(gateway, line)
    assert (result.exit_code, words(result.stderr)) == (2, said)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("coincast prices ", ["bitcoin", "ethereum"]),
        ("coincast prices bit", ["bitcoin", "bitcoin-cash"]),
        ("coincast forecast bitcoin --model l", ["lightgbm", "lstm"]),
        ("coincast export s", ["scenarios"]),
    ],
)
def test_shell_completes_coins_models_and_tables(
    line: str, expected: list[str], gateway: FakeGateway
) -> None:
    gateway.reply("/markets", gw.markets("bitcoin", "ethereum"))
    gateway.reply(
        "/coins", gw.coins(*((coin, coin, coin) for coin in ("wrapped-bitcoin", "bitcoin", "bitcoin-cash")))
    )
    assert completions(line, gateway.url) == expected


def test_assistant_is_served_over_stdio(gateway: FakeGateway) -> None:
    hello = {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}
    }  # fmt: skip
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    result = CliRunner().invoke(app, ["mcp", "--url", gateway.url], input=f"{sent}\n")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["result"]["serverInfo"] == {
        "name": "coincast",
        "version": metadata.version("coincast-client"),
    }


def test_shell_without_a_gateway_completes_nothing() -> None:
    assert completions("coincast prices b", "http://127.0.0.1:1") == []
    assert completions("coincast prices b", "nonsense") == []


def completions(line: str, url: str) -> list[str]:
    """Return the suggestions for a shell's line whose last word is incomplete."""
    asked = {
        "COINCAST_URL": url, "_COINCAST_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }  # fmt: skip
    result = CliRunner().invoke(app, [], env=asked, prog_name="coincast")
    assert result.exit_code == 0, result.output
    return result.stdout.split()
