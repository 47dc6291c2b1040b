"""Debian's Chromium, driven by Playwright, for the tests of the page."""

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
SKIPPED = f"none of {', '.join(NAMES)} is on the PATH"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 30_000  # ms; other tests may keep every core busy
expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def started_browser() -> Iterator[Browser]:
    """Start a browser for the length of the context."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened_page(browser: Browser, url: str, **context: object) -> Iterator[Page]:
    """Open the page, and see at the end that no script failed and nothing broke its policy.

    Args:
        browser: From `started_browser`.
        url: Where a server serves the page.
        context: Options of Playwright's context, as `color_scheme="dark"`.
    """
    opened = browser.new_context(**{"viewport": WIDE, **context})
    page, faults = opened.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(url)
    yield page
    opened.close()
    # The browser notes each answer that is an error; a test asks for those.
    assert [fault for fault in faults if not fault.startswith("Failed to load resource")] == []
    assert [u for u in requested if not u.startswith((url, f"blob:{url}"))] == []
