"""A headless browser that is installed, for tests of what people see."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

SCREEN, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=360, height=740)
AXE = os.environ.get("BLIP_AXE", "")
"""Path of axe.min.js, from the package axe-core."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """The program of a browser that is installed."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser within the block; without one the test is skipped."""
    program = find_browser()
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        options = {"executable_path": program, "args": ["--no-sandbox", "--disable-gpu"]}
        browser = playwright.chromium.launch(**options)
        yield browser
        browser.close()


def inaccessible(page: Page) -> list[tuple[str, str]]:
    """What keeps people from using a page, and how badly; nothing where axe-core is not there."""
    if not AXE:
        return []
    # Not as a script of the page, which its policy may forbid.
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    return [(one["id"], one["impact"]) for one in page.evaluate("axe.run()")["violations"]]
