"""The service's page in a browser: a phone and a desk, light and dark, by keyboard."""

import base64
import io
import os
import subprocess
import sys

import numpy as np
import pytest
import served
from PIL import Image

pytestmark = pytest.mark.browser
PIXELS = served.skin(3, 336, 448)
PICTURE = {"name": "../a <b>spot</b>.png", "mimeType": "image/png"}
PICTURE |= {"buffer": served.data(PIXELS)}
KEY = "a key of sixteen letters and more"
SIZES = {"phone": (390, 844), "desk": (1280, 900)}


@pytest.fixture(scope="module")
def start(model_folder):
    """Starts the service as a program; gives its address."""
    running = []

    def start(*arguments):
        command = [sys.executable, "-m", "helpers.service", "--port", "0"]
        command += ["--model", str(model_folder), *arguments]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone)
        )
        return running[-1].stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def address(start):
    return start()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; when done, it may have asked nobody else and warned of nothing."""
    contexts, faults = [], []

    def open_page(where=address, size="phone", scheme="light", expected=()):
        width, height = SIZES[size]
        contexts.append(
            browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
        )
        page = contexts[-1].new_page()
        page.on(
            "request", lambda r: faults.append(r.url) if not ours(r.url, where) else 0
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda m: (
                0 if any(e in m.text for e in expected) else faults.append(m.text)
            ),
        )
        page.goto(where)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def ours(url, where):
    return url.startswith((where, f"blob:{where}", "data:image/png"))


def upload(page, file=PICTURE):
    page.locator("#file").set_input_files(file)
    page.get_by_role("heading", name="The model says").wait_for()
    return page.locator("canvas")


def drawn(canvas) -> np.ndarray:
    """The pixels of the canvas, H×W×3."""
    data = canvas.evaluate("c => c.toDataURL()").partition(",")[2]
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_upload_wait_and_toggle(open_page, size, scheme):
    page = open_page(size=size, scheme=scheme)
    assert page.get_by_text("Not for diagnosis").is_visible()
    canvas = upload(page)
    over = drawn(canvas)
    assert over.shape == PIXELS.shape and "heatmap" in canvas.get_attribute(
        "aria-label"
    )
    page.get_by_role("button", name="Hide heatmap").click()
    assert np.abs(drawn(canvas) - PIXELS).max() <= 2  # the picture, untouched
    assert canvas.get_attribute("aria-label") == "Your picture"
    page.get_by_role("button", name="Show heatmap").click()
    assert np.array_equal(drawn(canvas), over)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert page.get_by_role("alert").is_hidden()
    for control in page.locator("main button, main label.button, main select").all():
        box = control.bounding_box()
        assert box["height"] >= 44 and box["x"] + box["width"] <= SIZES[size][0]


def test_the_page_draws_the_overlay_that_the_service_draws(open_page, address):
    page = open_page()
    with page.expect_response("**/explain*") as asked:
        canvas = upload(page)
    told = asked.value.json()
    data = base64.b64decode(told["overlay"].partition(",")[2])
    wanted = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(drawn(canvas) - wanted).max() <= 4
    assert np.abs(wanted - PIXELS).max() > 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_any_state(open_page, barriers, size, scheme):
    page = open_page(size=size, scheme=scheme, expected=["415"])
    found = [barriers(page)]
    page.locator("#file").set_input_files(PICTURE | {"buffer": b"no picture"})
    page.get_by_role("alert").wait_for()
    found.append(barriers(page))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    upload(page, PICTURE | {"buffer": served.data(noise)})
    page.locator("#warning").wait_for()
    found.append(barriers(page))
    page.get_by_role("button", name="Hide heatmap").click()
    found.append(barriers(page))
    assert not any(found), found


def test_opacity(open_page):
    page = open_page()
    canvas, slider = upload(page), page.get_by_role("slider", name="Opacity")
    seen = []
    for value in ("0", "50", "100"):
        slider.fill(value)
        assert f"{value}%" in page.locator("output").inner_text()
        seen.append(np.abs(drawn(canvas) - PIXELS).mean())
    assert seen[0] < 1 < seen[1] < seen[2]
    page.get_by_role("button", name="Hide heatmap").click()
    assert slider.is_disabled()


def test_another_class_another_map(open_page):
    page = open_page()
    canvas = upload(page)
    before, choice = drawn(canvas), page.get_by_label("The map shows the evidence for")
    values = choice.locator("option").evaluate_all("all => all.map(o => o.value)")
    assert sorted(values) == served.CLASSES and choice.input_value() == values[0]
    with page.expect_response(f"**/explain?target={values[-1]}"):
        choice.select_option(values[-1])
    page.get_by_text("The answer is there.").wait_for()
    page.wait_for_function(
        "v => document.querySelector('#target').value === v", arg=values[-1]
    )
    assert choice.input_value() == values[-1]
    assert not np.array_equal(drawn(canvas), before)


def test_all_of_it_by_keyboard(open_page):
    page = open_page()
    page.on("filechooser", lambda _: None)  # caught from here on, not only when asked
    page.keyboard.press("Tab")  # the camera
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    outline = page.locator("label.button", has=page.locator("#file"))
    assert outline.evaluate("l => getComputedStyle(l).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(PICTURE)
    page.get_by_role("heading", name="The model says").wait_for()
    page.wait_for_function("document.activeElement.id === 'said'")  # read aloud at once
    canvas = page.locator("canvas")
    over = drawn(canvas)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "toggle"
    page.keyboard.press("Space")
    assert np.abs(drawn(canvas) - PIXELS).max() <= 2
    page.keyboard.press("Enter")
    assert np.array_equal(drawn(canvas), over)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("output").inner_text() == "60%"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "target"


def test_a_refusal_is_read_aloud_and_the_next_picture_works(open_page):
    page = open_page(expected=["415"])
    page.locator("#file").set_input_files(
        {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "not a JPEG, PNG or WebP" in alert.inner_text()
    assert page.locator("#result").is_hidden()
    page.locator("#file").set_input_files(PICTURE | {"buffer": bytes(10_000_001)})
    page.get_by_text("over 10 MB").wait_for()  # and it was never sent
    upload(page)
    assert alert.is_hidden()


def test_a_strange_picture_is_told(open_page):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    page = open_page()
    upload(page, PICTURE | {"buffer": served.data(noise)})
    assert "does not look like" in page.locator("#warning").inner_text()
    upload(page, PICTURE | {"buffer": served.data(served.skin(0))})
    page.locator("#warning").wait_for(state="hidden")


def test_what_the_set_promises_is_said_with_care(open_page):
    page, rare = open_page(), []

    def changed(route):
        told = route.fetch().json()
        for one in told["classes"]:
            one["always"] = one["name"] in rare
        route.fulfill(json=told)

    page.route("**/explain*", changed)
    upload(page)
    promise = page.locator("#set").inner_text()
    assert "about 90%" in promise and "Always" not in promise
    rare.append("melanoma")
    upload(page)
    page.get_by_text("Always in it").wait_for()
    assert page.locator("#set").inner_text().endswith("to judge by: melanoma.")


def test_a_photo_is_turned_upright(open_page):
    exif = Image.Exif()
    exif[0x0112] = 6
    page = open_page()
    canvas = upload(
        page, PICTURE | {"buffer": served.data(np.rot90(PIXELS), exif=exif)}
    )
    page.get_by_role("button", name="Hide heatmap").click()
    assert np.abs(drawn(canvas) - PIXELS).max() <= 2


def test_a_service_that_asks_for_a_key(open_page, barriers, start, tmp_path):
    (tmp_path / "key").write_text(KEY)
    page = open_page(start("--key-file", str(tmp_path / "key")), expected=["401"])
    page.locator("#file").set_input_files(PICTURE)
    field = page.get_by_label("Key of this service")
    field.wait_for()
    assert not barriers(page)
    field.fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="The model says").wait_for()


def test_it_can_be_installed(open_page):
    page = open_page()
    session = page.context.new_cdp_session(page)
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [e["errorId"] for e in errors] == ["in-incognito"]  # as all tests here are
    manifest = session.send("Page.getAppManifest")
    assert not manifest["errors"] and "not for diagnosis" in manifest["data"]
