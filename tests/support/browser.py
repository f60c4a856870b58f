"""A headless browser that is installed, for tests of what people see."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, ViewportSize, sync_playwright

SCREEN, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=360, height=740)
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
    """What keeps people from using a page, by axe-core's rules, and how badly."""
    return [(one["id"], one["impact"]) for one in Axe().run(page).response["violations"]]


def lines_of(elements: Locator) -> set[int]:
    """On how many lines the texts of these elements stand, each number once."""
    return set(
        elements.evaluate_all(
            """elements => elements.map((element) => {
              const range = document.createRange();
              range.selectNodeContents(element);
              return new Set([...range.getClientRects()].map((box) => box.top)).size;
            })"""
        )
    )
