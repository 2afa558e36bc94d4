"""The browser that tests use, and the marks of those that do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")

CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

NEEDS_CHROMIUM = (
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium is installed: {', '.join(NAMES)}"),
)
"""Of a module: such tests are skipped where there is no browser."""


def in_chromium(test):
    """Marks one test so."""
    for mark in NEEDS_CHROMIUM:
        test = mark(test)
    return test


@contextmanager
def started() -> Iterator[Any]:
    """The browser, as Playwright has it, until the block ends."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
