"""What the browser tests share: Debian's Chromium, a page of the report, axe-core."""

import os
import shutil
from pathlib import Path

import pytest
from built import PAGES, SITE


@pytest.fixture(scope="session")
def unless_ci():
    """In CI everything must be there; elsewhere say how to get it."""
    return pytest.fail if os.environ.get("CI") else pytest.skip


@pytest.fixture(scope="session")
def browser(unless_ci):
    path = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(path).exists():
        unless_ci("no Chromium; on Debian: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def guarded(browser):
    """Gives empty pages without a network; when done, nothing may have gone wrong in one.

    `allowed` are the beginnings of addresses that may be asked for, `logs` the kinds of
    console messages that count as faults (None: all of them); the rest is Playwright's.
    """
    contexts, faults = [], []

    def guarded(allowed=("file:", "data:"), logs=None, **options):
        def guard(route):
            if route.request.url.startswith(allowed):
                route.continue_()
            else:
                faults.append(f"foreign request: {route.request.url}")
                route.abort()

        def heard(message):
            if logs is None or message.type in logs:
                faults.append(message.text)

        options = {"viewport": {"width": 1280, "height": 900}} | options
        contexts.append(browser.new_context(**options))
        contexts[-1].route("**/*", guard)
        page = contexts[-1].new_page()
        page.on(
            "requestfailed", lambda request: faults.append(f"failed: {request.url}")
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", heard)
        return page

    yield guarded
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def page(guarded, unless_ci):
    """A light page for the report; its theme logs, and may, but for errors and warnings."""
    if not PAGES:
        unless_ci(f"no site in {SITE}; run `make report`")
    allowed = ("file:", "data:", "blob:")
    return guarded(allowed, logs=("error", "warning"), color_scheme="light")


@pytest.fixture(scope="session")
def barriers():
    """Says what axe-core finds on a page: the rule, how bad, where, and how to mend it.

    `within` is a part of the page, for what the rest has been looked through before.
    """
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()

    def barriers(page, within: str | None = None) -> list[str]:
        # Without `preload` it asks for no style sheet again, which file:// forbids.
        options = {"preload": False, "resultTypes": ["violations"]}
        told = axe.run(page, within, options).response
        assert len(told["passes"]) > 5  # it did look
        return [
            f"{fault['id']} ({node['impact']}): {node['target']}: {node['failureSummary']}"
            for fault in told["violations"]
            for node in fault["nodes"]
        ]

    return barriers
