"""The web page in headless Chromium: by keyboard, in both themes, on a phone, with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from coincast_chassis.errors import Unavailable
from tests.contract.gateway.fakes import World, world

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 60_000
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
]


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as found:
        yield found


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        await browser.close()


async def opened(browser: Browser, url: str, **options: object) -> tuple[Page, list[str]]:
    """The page once its first forecast stands, and everything that went wrong on the way."""
    context = await browser.new_context(**options)  # type: ignore[arg-type]  # passed through to playwright
    page = await context.new_page()
    wrong: list[str] = []

    def noted(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            wrong.append(f"asked elsewhere: {request.url}")

    page.on("console", noted)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", asked)
    await page.goto(url, wait_until="domcontentloaded", timeout=90_000)
    await expect(page.locator("#points tbody tr")).to_have_count(7, timeout=WAIT_MS)
    await expect(page.locator("#parts li")).to_have_count(5, timeout=WAIT_MS)
    await expect(page.locator("#trends .main-svg")).not_to_have_count(0, timeout=WAIT_MS)
    return page, wrong


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_page_shows_forecast_record_models_accuracy_and_health(
    there: World, browser: Browser, theme: str, tmp_path: Path
) -> None:
    page, wrong = await opened(browser, there.url, color_scheme=theme)
    assert "37,000" in await page.inner_text("#said")
    assert await page.locator("#fan .main-svg").count() > 0
    assert await page.locator("#fan path.js-fill").count() >= 2
    assert await page.locator("#record tbody tr").count() == 1
    assert await page.locator("#models tbody tr").count() == 1
    assert "12 of 12" in await page.inner_text("#accuracy-said")
    assert await page.is_visible("#sandbox")
    assert await page.evaluate("document.documentElement.dataset.theme") == theme
    await page.screenshot(path=tmp_path / f"{theme}.png", full_page=True)
    assert wrong == []


async def test_a_coin_is_found_by_keyboard_alone(there: World, browser: Browser) -> None:
    page, wrong = await opened(browser, there.url)
    await page.focus("#coin")
    await page.keyboard.press("Control+A")
    await page.keyboard.type("eth")
    await page.wait_for_selector("#coins li")
    assert await page.get_attribute("#coin", "aria-expanded") == "true"
    await page.keyboard.press("ArrowDown")
    assert await page.get_attribute("#coins li", "aria-selected") == "true"
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_contain_text("ethereum: ", timeout=WAIT_MS)
    assert wrong == []


async def test_on_a_phone_nothing_is_wider_than_the_screen(
    there: World, browser: Browser, tmp_path: Path
) -> None:
    page, wrong = await opened(browser, there.url, viewport={"width": 360, "height": 740}, has_touch=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert wrong == []


async def test_errors_are_said_and_everything_has_a_name(there: World, browser: Browser) -> None:
    page, _ = await opened(browser, there.url)
    await page.fill("#coin", "bitcon")
    await page.keyboard.press("Escape")
    await page.click("button[type=submit]")
    await page.wait_for_selector("#problem:not([hidden])")
    assert "Did you mean bitcoin" in await page.inner_text("#problem")
    there.forecast.script.error = Unavailable("Forecasts rest for a moment.")
    await page.fill("#coin", "tether")
    await page.click("button[type=submit]")
    await expect(page.locator("#problem")).to_contain_text("rest for a moment", timeout=WAIT_MS)
    for selector in ("input", "select", "button", "[role=img]", "[role=region]"):
        for element in await page.locator(selector).all():
            named = await element.evaluate(
                "e => e.ariaLabel || e.labels?.length || e.textContent.trim().length"
            )
            assert named, f"{selector} without a name"
    assert await page.evaluate("document.documentElement.lang") == "en"


async def test_the_theme_is_chosen_and_kept(there: World, browser: Browser) -> None:
    page, _ = await opened(browser, there.url, color_scheme="light")
    await page.click("#theme")
    await page.click("#theme")
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_documentation_needs_no_cdn(there: World, browser: Browser, path: str) -> None:
    page = await browser.new_page()
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda r: elsewhere.append(r.url) if not r.url.startswith((there.url, "data:", "blob:")) else None,
    )
    await page.goto(there.url + path)
    await page.get_by_text("/forecasts", exact=False).first.wait_for()
    assert elsewhere == []
