"""What the browser tests share: Debian's Chromium."""

import os
import shutil
from pathlib import Path

import pytest


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
