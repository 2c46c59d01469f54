"""Notebook 03 in a real JupyterLab: all cells run, and the live viewer answers."""

import os
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers import files, messages, settings

pytestmark = pytest.mark.browser
NAME = "03_where_does_it_look.ipynb"
MINUTE = 60_000


@pytest.fixture
def lab(tmp_path, unless_ci):
    """The address of a JupyterLab of our own, whose kernel finds the trained models."""
    if not list(files.below_out("models").glob("E-synthetic-quick-seed0-*/model.json")):
        unless_ci("recipe E is not trained yet; run `make report`")
    shutil.copy(settings.root() / "notebooks" / NAME, tmp_path)
    tracker = tmp_path / "settings/@jupyterlab/notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    own |= {"JUPYTER_PREFER_ENV_PATH": "1", "HOME": str(tmp_path)}
    options = f"--no-browser --allow-root --port={port} --ServerApp.port_retries=0"
    options += (
        " --IdentityProvider.token= --LabApp.news_url= --LabApp.check_for_updates"
    )
    options += "_class=jupyterlab.NeverCheckForUpdate"
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options.split(), str(tmp_path)],
        env=os.environ | own,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []
    for line in server.stderr:  # until it says that it is ready
        seen.append(line)
        if f"127.0.0.1:{port}/lab" in line:
            break
    else:
        pytest.fail("JupyterLab did not start: " + "".join(seen[-5:]))
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.communicate()


@pytest.fixture
def viewer(browser, lab):
    """The live viewer, after Run All Cells."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(MINUTE)
    page.goto(f"{lab}/lab/tree/{NAME}")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
    viewer = page.locator(".jp-OutputArea .widget-vbox")
    viewer.locator("img").wait_for(timeout=5 * MINUTE)
    yield viewer
    page.close()


def test_the_live_viewer_answers(viewer, tmp_path):
    page = viewer.page

    def shows(words: str):
        """Waits for a picture whose description holds the words; what it shows."""
        image = viewer.locator(f"img[alt*='{words}']")
        image.wait_for()
        return image.get_attribute("src"), image.get_attribute("alt")

    def press(name):
        viewer.get_by_role("button", name=name, exact=True).click()

    def upload(path):
        with page.expect_file_chooser() as chooser:
            viewer.get_by_role("button", name=re.compile("your own")).click()
        chooser.value.set_files(path)

    seen = [shows("layer deep · Grad-CAM")]
    press("early")
    seen.append(shows("layer early"))
    case, target, method = viewer.locator("select").all()
    method.select_option("LayerCAM")
    seen.append(shows("LayerCAM"))
    target.select_option("nv")
    seen.append(shows("target nv"))
    press("outline")
    seen.append(shows("outline:"))
    other = case.locator("option").nth(1).get_attribute("value")
    case.select_option(other)
    seen.append(shows(other))
    own, broken = tmp_path / "mine.png", tmp_path / "broken.png"
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(own)
    upload(own)
    seen.append(shows("mine.png"))
    assert viewer.get_by_role("alert").inner_text() == messages.UNFAMILIAR  # noise
    press("overlay")
    seen.append(shows("overlay:"))
    slider = viewer.locator(".noUi-handle").first
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_function(
        "([img, src]) => !img.isConnected || img.src != src",
        arg=[viewer.locator("img").element_handle(), seen[-1][0]],
    )
    seen.append(shows("overlay:"))
    assert len({src for src, _ in seen}) == len(seen)
    broken.write_bytes(b"no picture")
    upload(broken)
    viewer.get_by_role("alert").filter(has_text="broken.png").wait_for()
