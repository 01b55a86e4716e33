"""Take screenshots of the web page of a running gateway: `python deploy/screenshots.py URL FOLDER`.

Every view is taken in the light and the dark theme, on a desktop and on a phone, so that a developer can look
at all of them after a change. Needs Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
VIEWS = {
    "coin": "/",
    "candles": "/#style=candles&ahead=14d",
    "risk": "/#view=risk",
    "models": "/#view=models",
    "health": "/#view=health",
}
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
SETTLE_MS = 2500
ANSWER_MS = 30_000


def take(browser: Browser, url: str, folder: Path) -> list[Path]:
    """Take every view and return the files written.

    Args:
        browser: A running browser.
        url: The URL of the gateway.
        folder: The existing folder for the JPEG files.
    """
    written = []
    for name, path in VIEWS.items():
        for kind, viewport, theme in (
            ("light", DESKTOP, "light"),
            ("dark", DESKTOP, "dark"),
            ("phone", PHONE, "light"),
            ("phone-dark", PHONE, "dark"),
        ):
            context = browser.new_context(viewport=viewport, color_scheme=theme, has_touch=viewport is PHONE)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(url + path, wait_until="networkidle" if name == "health" else "load")
            if path.startswith(("/#style", "/#coin")) or path == "/":
                # Wait for the forecast: without it the picture would show an empty page.
                page.get_by_text("times in 10").first.wait_for(timeout=ANSWER_MS)
            page.wait_for_timeout(SETTLE_MS)
            target = folder / f"{name}-{kind}.jpg"
            page.screenshot(path=target, full_page=viewport is PHONE, type="jpeg", quality=72)
            written.append(target)
            context.close()
    return written


def main() -> int:
    """Run the command; return 2 if Chromium is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="root of the gateway, such as http://127.0.0.1:8000")
    parser.add_argument("folder", type=Path, help="the folder for the pictures")
    options = parser.parse_args()
    if not CHROMIUM.exists():
        sys.stderr.write("screenshots: no Chromium; apt-get install chromium\n")
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        for file in take(browser, options.url.rstrip("/"), options.folder):
            sys.stdout.write(f"{file} {file.stat().st_size // 1000} KB\n")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
