"""The web page in headless Chromium: keyboard, themes, phone, slow line, hostile names, failing services."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
    expect,
)

from coincast.common.v1 import common_pb2 as common
from coincast.forecast.v1 import forecast_pb2 as fc
from coincast.market.v1 import market_pb2 as mk
from coincast_chassis.errors import Unavailable
from tests.contract.gateway.fake_forecast import REFUSED
from tests.contract.gateway.fake_script import STANDING, provenance
from tests.contract.gateway.fakes import World, world

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 60_000
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Routes that a gateway without the newer services answers with a problem; the page must bear it in silence.
OPTIONAL = ("/prices/stream", "/quality", "/api/v3/coins/markets")
SLOW_BYTES_PER_SECOND = 50_000
MOST_SCRIPT_BYTES = 400_000
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
]


@pytest_asyncio.fixture(loop_scope="module")
async def there() -> AsyncIterator[World]:
    async with world() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests: each start takes a second of processor time."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The browser; pages, storage and cookies of a test end with it."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


def watch(page: Page, url: str) -> list[str]:
    """Collect what goes wrong on a page: errors of scripts, blocked content, requests to other hosts."""
    wrong: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        expected = "Failed to load resource" in message.text and any(
            part in message.location.get("url", "") for part in OPTIONAL
        )
        if message.type == "error" and not expected:
            wrong.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            wrong.append(f"request to another host: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", on_request)
    return wrong


async def open_page(browser: Browser, url: str, address: str = "/", **options: Any) -> tuple[Page, list[str]]:
    """Open the page and wait until its first sentence stands."""
    context: BrowserContext = await browser.new_context(**options)
    page = await context.new_page()
    wrong = watch(page, url)
    await page.goto(url + address, wait_until="domcontentloaded", timeout=90_000)
    return page, wrong


async def opened(browser: Browser, url: str, **options: Any) -> tuple[Page, list[str]]:
    """Open the first view and wait for its sentence and chart."""
    page, wrong = await open_page(browser, url, **options)
    await expect(page.locator("#said")).to_contain_text("In 7 days", timeout=WAIT_MS)
    await expect(page.locator("#fan svg path.history")).to_have_count(1, timeout=WAIT_MS)
    return page, wrong


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_first_view_says_what_is_forecast_and_how_such_statements_did(
    there: World, browser: Browser, theme: str
) -> None:
    page, wrong = await opened(browser, there.url, color_scheme=theme)
    said = await page.inner_text("#said")
    assert said.startswith("In 7 days: 36,200 to 37,800 dollars, −2 % to +2 %, 8 times in 10.")
    assert "no better than a coin toss" in said
    record = await page.inner_text("#kept")
    assert "80 % intervals" in record or "CRPS" in record
    assert await page.locator("#fan path.band").count() == 2
    assert await page.is_visible("#sandbox")
    assert not await page.is_visible("#attribution")
    assert await page.evaluate("document.documentElement.dataset.theme") == theme
    # The price may come later than the forecast, and changes.
    await expect(page).to_have_title(re.compile(r"^Bitcoin \$37,00\d · Coincast$"), timeout=WAIT_MS)
    await expect(page.locator("#coin-price")).to_have_text(re.compile(r"^\$37,00\d$"), timeout=WAIT_MS)
    first = page.locator("#watch-list li:first-child .watch-price")
    await expect(first).to_contain_text("$37,00", timeout=WAIT_MS)
    assert wrong == []


@pytest.mark.parametrize("view", ["coin", "risk", "models", "health"])
async def test_every_view_names_coingecko_where_its_prices_are_shown(
    there: World, browser: Browser, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    live = provenance()
    live.source = common.SOURCE_LIVE
    monkeypatch.setattr("tests.contract.gateway.fake_market.provenance", lambda: live)
    monkeypatch.setitem(STANDING, "source", "live")
    page, _ = await open_page(browser, there.url, f"/#view={view}&coin=bitcoin")
    link = page.locator("#attribution a")
    await expect(link).to_be_visible(timeout=WAIT_MS)
    assert await link.get_attribute("href") == "https://www.coingecko.com"
    assert await link.inner_text() == "Data provided by CoinGecko"
    assert not await page.is_visible("#sandbox")


@pytest.mark.parametrize("view", ["coin", "risk", "models", "health"])
async def test_every_view_says_that_sandbox_data_are_no_market_prices(
    there: World, browser: Browser, view: str
) -> None:
    page, _ = await open_page(browser, there.url, f"/#view={view}&coin=bitcoin")
    await expect(page.locator("#sandbox")).to_be_visible(timeout=WAIT_MS)
    assert not await page.is_visible("#attribution")


@pytest.mark.parametrize("width", [390, 1280])
async def test_forecast_takes_a_third_of_the_width_and_the_interval_is_read_on_hover(
    there: World, browser: Browser, width: int
) -> None:
    page, _ = await opened(browser, there.url, viewport={"width": width, "height": 860})
    chart, future = page.locator("#fan svg"), page.locator("#fan rect.future")
    chart_box, future_box = await chart.bounding_box(), await future.bounding_box()
    assert chart_box is not None
    assert future_box is not None
    assert future_box["width"] / chart_box["width"] > 1 / 3
    await future.scroll_into_view_if_needed()
    future_box = await future.bounding_box()
    assert future_box is not None
    await page.mouse.move(future_box["x"] + future_box["width"] - 3, future_box["y"] + 40)
    await expect(page.locator("#readout")).to_contain_text("80 %: 36,200 to 37,800", timeout=WAIT_MS)
    await page.focus("#fan")
    await page.keyboard.press("Home")
    await expect(page.locator("#readout")).to_contain_text("closed at", timeout=WAIT_MS)
    await page.evaluate("location.hash = 'coin=ethereum'")
    await expect(page.locator("#readout")).to_contain_text("Point at the chart", timeout=WAIT_MS)


async def test_controls_act_at_once_and_stand_in_the_address(there: World, browser: Browser) -> None:
    page, _ = await opened(browser, there.url)
    await page.click("[data-set=ahead][data-value='14d']")
    await expect(page.locator("#said")).to_contain_text("In 14 days", timeout=WAIT_MS)
    assert page.url.endswith("/#ahead=14d")
    await page.click("nav a[data-view=models]")
    await expect(page.locator("#models tbody tr")).not_to_have_count(0, timeout=WAIT_MS)
    assert await page.title() == "Models · Coincast"
    # What changes the head of the hidden view, as a price does that arrives, leaves the title alone.
    for _ in range(2):
        await page.evaluate("document.getElementById('follow').click()")
        assert await page.title() == "Models · Coincast"
    await page.go_back()
    await expect(page.locator("#view-coin")).to_be_visible()
    await page.go_back()
    await expect(page.locator("#said")).to_contain_text("In 7 days", timeout=WAIT_MS)


async def test_hours_are_forecast_whichever_model_of_days_was_chosen(there: World, browser: Browser) -> None:
    page, wrong = await open_page(browser, there.url, "/#ahead=24h&model=technical")
    await expect(page.locator("#said")).to_contain_text("8 times in 10", timeout=WAIT_MS)
    assert there.forecast.script.requested(fc.GetForecastsRequest).model == "auto"
    assert await page.locator("[data-set=model]:disabled").count() == 5
    await page.click("[data-set=ahead][data-value='7d']")
    await expect(page.locator("[data-set=model]:disabled")).to_have_count(0)
    assert wrong == []


@pytest.mark.parametrize(
    ("typed", "level"), [("-5%", "-5%25"), ("+2.5 %", "%2B2.5%25"), ("120,000", "120000"), ("$90", "90")]
)
async def test_a_move_is_asked_for_as_it_was_typed(
    there: World, browser: Browser, typed: str, level: str
) -> None:
    page, _ = await opened(browser, there.url)
    await page.fill("#touch-level", typed)
    async with page.expect_request("**/forecasts/touch?*") as sent:
        await page.click("#touch-form button[type=submit]")
    assert f"level={level}&" in (await sent.value).url
    await expect(page.locator("#touch-said")).to_contain_text("from $", timeout=WAIT_MS)


async def test_an_address_opens_its_view(there: World, browser: Browser) -> None:
    page, _ = await open_page(browser, there.url, "/#coin=ethereum&ahead=1d&style=candles")
    await expect(page.locator("#said")).to_contain_text("In 1 day:", timeout=WAIT_MS)
    assert await page.inner_text("#coin-name") == "Ethereum"


async def test_coin_is_found_by_keyboard_alone_and_by_enter(there: World, browser: Browser) -> None:
    page, wrong = await opened(browser, there.url)
    await page.keyboard.press("/")
    await page.keyboard.type("eth")
    await page.wait_for_selector("#found li")
    assert await page.get_attribute("#search", "aria-expanded") == "true"
    await page.keyboard.press("ArrowDown")
    assert await page.get_attribute("#found li", "aria-selected") == "true"
    await page.keyboard.press("Enter")
    await expect(page.locator("#coin-name")).to_have_text("Ethereum", timeout=WAIT_MS)
    await page.fill("#search", "bit")
    await page.keyboard.press("Enter")
    await expect(page.locator("#coin-name")).to_have_text("Bitcoin", timeout=WAIT_MS)
    assert wrong == []


async def test_nothing_is_wider_than_a_phone_and_the_first_screen_holds_the_answer(
    there: World, browser: Browser
) -> None:
    page, wrong = await opened(browser, there.url, viewport={"width": 360, "height": 740}, has_touch=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    box = await page.locator("#said").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 740
    assert wrong == []


SENTENCES_OUTSIDE = """() => {
  document.querySelectorAll("details").forEach((each) => { each.hidden = false; each.open = true; });
  const outside = [], texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), range = document.createRange();
    const holder = texts.currentNode.parentElement;
    // Columns of figures may be scrolled to, with their headings.
    if (text.length < 25 || holder.closest("thead") || !holder.checkVisibility()) continue;
    range.selectNodeContents(texts.currentNode);
    const frame = (holder.closest(".scroll") ?? document.querySelector("main")).getBoundingClientRect();
    for (const box of range.getClientRects()) {
      if (box.right > frame.right + 1 || box.left < frame.left - 1) { outside.push(text); break; }
    }
  }
  return outside;
}"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    ("view", "last"),
    [
        ("coin", "#record tbody tr"),
        ("risk", "#risk-worst tbody tr"),
        ("models", "#risk-record tbody tr"),
        ("health", "#parts li"),
    ],
)
async def test_no_sentence_lies_outside_of_the_screen(
    there: World, browser: Browser, width: int, view: str, last: str
) -> None:
    page, wrong = await open_page(
        browser, there.url, f"/#view={view}&coin=bitcoin", viewport={"width": width, "height": 844}
    )
    await expect(page.locator(last)).not_to_have_count(0, timeout=WAIT_MS)
    if view == "models":
        await expect(page.locator("#models tbody tr")).not_to_have_count(0, timeout=WAIT_MS)
    assert await page.evaluate(SENTENCES_OUTSIDE) == []
    # A reason is read once: beside the figures, or on a phone below them.
    if view == "risk":
        refused = page.locator(f"#risk-levels :text-is('{REFUSED}'):visible")
        await expect(refused).to_have_count(1)
    assert wrong == []


async def test_history_is_drawn_whatever_happens_to_the_forecast(there: World, browser: Browser) -> None:
    page, _ = await opened(browser, there.url)
    there.forecast.script.error = Unavailable("Forecasts rest for a moment.")
    await page.evaluate("location.hash = 'coin=tether'")
    await expect(page.locator("#problem")).to_contain_text("rest for a moment", timeout=WAIT_MS)
    await expect(page.locator("#fan svg path.history")).to_have_count(1, timeout=WAIT_MS)
    assert await page.inner_text("#said") == ""
    assert await page.inner_text("#coin-name") == "Tether"
    there.forecast.script.error = None
    await page.click("#problem button")
    await expect(page.locator("#said")).to_contain_text("In 7 days", timeout=WAIT_MS)


async def test_what_is_fetched_for_an_answer_is_said_and_the_answer_asked_for_again(
    there: World, browser: Browser
) -> None:
    page, _ = await opened(browser, there.url)
    assert not await page.is_visible("#progress")
    words = "history of tether, 4 calls left this minute, about 50 s left"
    there.market.queue.CopyFrom(mk.QueueStatus(waiting=1, current="history of tether", in_words=words))
    there.forecast.script.error = Unavailable("The history of tether is not there yet.")
    await page.evaluate("location.hash = 'coin=tether'")
    await expect(page.locator("#progress")).to_have_text(f"Fetching {words}.", timeout=WAIT_MS)
    there.forecast.script.error = None
    # The button is not pressed, and another coin is still fetched.
    await expect(page.locator("#said")).to_contain_text("In 7 days", timeout=WAIT_MS)
    await expect(page.locator("#problem")).to_be_hidden()
    await expect(page.locator("#progress")).to_be_hidden(timeout=WAIT_MS)


async def test_unknown_coin_gets_a_suggestion_and_keeps_nothing_of_the_one_before(
    there: World, browser: Browser
) -> None:
    page, _ = await opened(browser, there.url)
    await page.evaluate("location.hash = 'coin=bitcon'")
    await expect(page.locator("#problem")).to_contain_text("Did you mean bitcoin", timeout=WAIT_MS)
    assert await page.locator("#fan svg path.history").count() == 0
    # It is said once, and what is not there is not asked for again.
    assert not await page.is_visible("#history-problem")
    assert await page.locator("#problem button").count() == 0


async def test_every_control_has_a_name(there: World, browser: Browser) -> None:
    page, _ = await opened(browser, there.url)
    for view in ("coin", "risk", "models", "health"):
        await page.evaluate(f"location.hash = 'view={view}'")
        for selector in ("input", "select", "button", "[role=img]", "[role=region]"):
            for element in await page.locator(selector).all():
                named = await element.evaluate(
                    "e => e.ariaLabel || e.labels?.length || e.textContent.trim().length"
                )
                assert named, f"{selector} without a name in {view}"
    assert await page.evaluate("document.documentElement.lang") == "en"


async def test_hostile_names_are_text(there: World, browser: Browser) -> None:
    hostile = "<img src=x onerror=window.hacked=1>"
    there.market.names = {"bitcoin": hostile}
    page, wrong = await opened(browser, there.url)
    await page.fill("#search", "bit")
    await page.wait_for_selector("#found li")
    assert hostile in await page.inner_text("#found li")
    await expect(page.locator("#coin-name")).to_have_text(hostile, timeout=WAIT_MS)
    assert await page.evaluate("window.hacked") is None
    assert wrong == []


async def test_theme_is_chosen_and_remembered(there: World, browser: Browser) -> None:
    page, _ = await opened(browser, there.url, color_scheme="light")
    await page.click("#theme")
    await page.click("#theme")
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"


async def test_column_of_sentences_begins_at_the_left_with_its_heading(
    there: World, browser: Browser
) -> None:
    page, _ = await opened(browser, there.url)
    await page.evaluate(
        """() => {
            const rows = [["a", "1", "short"], ["b", "2", "a sentence of more than forty characters in all"]];
            window.Coincast.fillTable(document.getElementById("models"), ["Model", "Figure", "Note"], rows);
        }"""
    )
    cells = page.locator("#models tr:not(.below) :is(th:not(:first-child), td)")
    kinds = await cells.evaluate_all("all => all.map((each) => each.className)")
    assert kinds == ["", "words"] * 3
    # The view is hidden, but its style is computed.
    sides = await cells.evaluate_all("all => all.map((each) => getComputedStyle(each).textAlign)")
    assert sides == ["right", "left"] * 3


@pytest.mark.parametrize("script", ["coin", "format", "main"])
async def test_page_says_that_a_part_of_it_could_not_be_loaded(
    there: World, browser: Browser, script: str
) -> None:
    page = await (await browser.new_context()).new_page()
    await page.route(re.compile(rf"/{script}\b.*\.js"), lambda route: route.abort())
    await page.goto(there.url, wait_until="domcontentloaded", timeout=90_000)
    said = page.locator("#said")
    await expect(said).to_contain_text("could not be loaded", timeout=WAIT_MS)
    assert await said.text_content() == "A part of this page could not be loaded. Reload the page."


async def test_page_says_that_a_script_is_late(there: World, browser: Browser) -> None:
    page = await (await browser.new_context()).new_page()
    await page.clock.install()
    # A request that is never answered.
    await page.route(re.compile(r"/main\b.*\.js"), lambda route: None)
    await page.goto(there.url, wait_until="commit", timeout=90_000)
    said = page.locator("#said")
    await expect(said).to_contain_text("Loading the forecast", timeout=WAIT_MS)
    await page.clock.fast_forward(21_000)
    await expect(said).to_contain_text("still loading", timeout=WAIT_MS)
    assert await said.text_content() == "This page is still loading. Reload it if nothing follows."


async def test_first_sentence_comes_soon_over_a_slow_line(there: World, browser: Browser) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    await session.send("Network.enable")
    await session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 50,
            "downloadThroughput": SLOW_BYTES_PER_SECOND,
            "uploadThroughput": 20_000,
        },
    )
    received = 0
    scripts = 0

    async def on_finished(event: dict[str, Any]) -> None:
        nonlocal received
        received += int(event["encodedDataLength"])

    def on_response(response: Any) -> None:
        nonlocal scripts
        scripts += response.request.resource_type == "script"

    session.on("Network.loadingFinished", on_finished)
    page.on("response", on_response)
    await page.goto(there.url, wait_until="commit", timeout=90_000)
    await expect(page.locator("#said")).to_contain_text("In 7 days", timeout=WAIT_MS)
    # The bound is on the bytes that had to come before the sentence, so that a busy machine cannot fail it.
    assert scripts > 5
    assert received / SLOW_BYTES_PER_SECOND < 5
    assert received < MOST_SCRIPT_BYTES


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_documentation_needs_no_cdn(there: World, browser: Browser, path: str) -> None:
    page, wrong = await open_page(browser, there.url, path)
    await page.get_by_text("/forecasts", exact=False).first.wait_for(timeout=WAIT_MS)
    # Neither a request to another host, nor a style or script that the policy blocks.
    assert wrong == []
