"""A real browser (Debian's chromium) on a real server. Without chromium the tests are skipped, and say so."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ..web.serving import PATIENCE, Running, running


@pytest.fixture(scope="session")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running server."""
    with running(tmp_path_factory.mktemp("browser")) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.getuid() == 0 else []
        expect.set_options(timeout=PATIENCE * 1000)
        browser = playwright.chromium.launch(executable_path=path, args=flags, timeout=PATIENCE * 1000)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Browser, ci: Running) -> Iterator[Callable[..., Page]]:
    """`new_page(**options)`: a page of somebody else, closed with the test."""
    contexts = []

    def make(**options: Any) -> Page:
        context = chromium.new_context(base_url=ci.url, **options)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Iterator[Page]:
    """A fresh page. A fault of a script or of the content policy fails the test."""
    page = new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield page
    page.context.close()
    assert not faults
