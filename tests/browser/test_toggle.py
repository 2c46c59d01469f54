"""The figure with switches in a browser: alone on a page, and no file but that page."""

from pathlib import Path

import numpy as np
import pytest

from helpers import toggles

pytestmark = pytest.mark.browser
Y, X = np.mgrid[:60, :80]
SKIN = np.uint8([200, 150, 120] - 60 * ((X - 40) ** 2 + (Y - 30) ** 2 < 300)[..., None])
AXES = ("method", "layer", "class")
PIXELS = "canvas => canvas.toDataURL()"
HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,">'
    '<meta name="viewport" content="width=device-width"><title>toggles</title>'
)


def spot(x, y):
    return np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 120)


MAPS = {
    (method, layer, label): spot(20 + 20 * m, 15 + 15 * n + 8 * k)
    for m, method in enumerate(("cam", "grad-cam"))
    for n, layer in enumerate(("deep", "middle"))
    for k, label in enumerate(("mel", "<b>nv</b>"))
}
MAPS["grad-cam", "middle", "mel"] = 0 * spot(0, 0)
del MAPS["cam", "middle", "mel"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with two toggles, the second of one axis alone."""
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toggles, "display", lambda html: shown.append(html.data))
        toggles.toggle(SKIN, MAPS, caption="The first.", alt="a spot")
        few = {("cam",): spot(30, 30), ("b",): spot(50, 30)}
        other = {"negative": 255 - SKIN}
        toggles.toggle(
            SKIN, few, ("method",), "The second.", "another spot", backgrounds=other
        )
    path = tmp_path_factory.mktemp("toggle") / "page.html"
    path.write_text(HEAD + "".join(shown), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(guarded, address):
    """Opens the page, and waits for its figures where scripts run."""

    def open_page(**options):
        page = guarded(**options)
        page.goto(address)
        if options.get("java_script_enabled", True):
            page.locator(".heat-toggle canvas").nth(1).wait_for()
        return page

    return open_page


def radio(figure, axis, name):
    group = figure.get_by_role("group", name=axis, exact=True)
    return group.get_by_role("radio", name=name, exact=True)


def state(figure):
    """What is drawn, what the picture is called, and what is told aloud."""
    canvas = figure.locator("canvas")
    told = figure.locator("[aria-live=polite]").inner_text()
    label = canvas.get_attribute("aria-label")
    assert canvas.get_attribute("role") == "img" and label.endswith(told)
    return canvas.evaluate(PIXELS), told


def test_every_switch_changes_the_picture_by_mouse(open_page):
    figure = open_page().locator("figure").first
    seen = [state(figure)]
    assert seen[0][1] == "overlay · cam · deep · mel"
    for axis, name in (
        ("view", "original"),
        ("view", "heatmap"),
        ("view", "outline"),
        ("method", "grad-cam"),
        ("class", "<b>nv</b>"),
        ("layer", "middle"),
        ("view", "overlay"),
        ("method", "cam"),
    ):
        radio(figure, axis, name).click()
        seen.append(state(figure))
        assert name in seen[-1][1]
    pictures, told = zip(*seen, strict=True)
    assert len(set(pictures)) == len(pictures) == len(set(told))
    assert figure.locator("canvas").get_attribute("aria-label").startswith("a spot; ")


def test_the_background_changes_under_every_view(open_page):
    figures = open_page().locator("figure")
    assert not figures.first.get_by_role("group", name="background").count()
    figure, seen = figures.nth(1), set()
    for ground in ("picture", "negative"):
        radio(figure, "background", ground).click()
        for view in ("original", "overlay", "outline"):
            radio(figure, "view", view).click()
            picture, told = state(figure)
            assert told.endswith("negative") == (ground == "negative")
            seen.add(picture)
    assert len(seen) == 6


def test_what_points_nowhere_or_was_not_computed_says_so(open_page):
    figure = open_page().locator("figure").first
    radio(figure, "layer", "middle").click()
    missing, told = state(figure)
    assert told.endswith("not computed")
    radio(figure, "method", "grad-cam").click()
    empty, told = state(figure)
    assert told.endswith("no positive evidence") and empty != missing
    radio(figure, "view", "original").click()
    assert state(figure)[1] == "original" and state(figure)[0] != empty


def test_every_switch_works_by_keyboard(open_page):
    page = open_page()
    figure = page.locator("figure").first
    for axis, names in (
        ("view", ["original", "heatmap", "overlay", "outline"]),
        ("method", ["cam", "grad-cam"]),
        ("layer", ["deep", "middle"]),
        ("class", ["mel", "<b>nv</b>"]),
    ):
        page.keyboard.press("Tab")
        before = state(figure)
        page.keyboard.press("ArrowRight")
        after = state(figure)
        assert before[0] != after[0] and before[1] != after[1], axis
        focus = figure.locator("input:focus + span")
        assert focus.inner_text() in names
        assert focus.evaluate("span => getComputedStyle(span).outlineWidth") == "3px"
        page.keyboard.press("ArrowLeft")
        assert state(figure) == before
    page.keyboard.press("Tab")
    before = state(figure)[0]
    page.keyboard.press("ArrowLeft")
    assert state(figure)[0] != before and "50%" in figure.inner_text()
    page.keyboard.press("Tab")  # on to the second figure, its three stops, and out
    assert page.locator("figure").last.locator("input:focus").count() == 1


def test_opacity_is_of_the_overlay(open_page):
    figure = open_page().locator("figure").first
    slider = figure.get_by_role("slider", name="overlay opacity", exact=True)
    pictures = []
    for value in ("0", "50", "100"):
        slider.fill(value)
        assert f"{value}%" in figure.inner_text()
        pictures.append(state(figure)[0])
    radio(figure, "view", "original").click()
    assert slider.is_disabled() and state(figure)[0] == pictures[0]
    assert len(set(pictures)) == 3


def test_two_on_a_page_are_independent(open_page):
    first, second = open_page().locator("figure").all()
    assert second.get_by_role("group").count() == 3
    before = state(second)
    radio(first, "method", "grad-cam").click()
    radio(first, "view", "heatmap").click()
    assert state(second) == before
    before = state(first)
    radio(second, "method", "b").click()
    assert state(first) == before and radio(first, "method", "grad-cam").is_checked()


def test_a_phone_in_the_dark(open_page):
    dark = {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}}
    page = open_page(**dark)
    page.add_style_tag(content="html { background: #14181e; color: #ced6dd }")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    figure = page.locator("figure").first
    assert figure.locator("canvas").bounding_box()["width"] > 300
    for label in figure.locator("fieldset label").all():
        box = label.bounding_box()
        assert box["height"] >= 24 and box["x"] + box["width"] <= 390
        span = label.locator("span")
        colour = span.evaluate("span => getComputedStyle(span).color")
        assert colour == "rgb(206, 214, 221)"


def test_on_paper_the_picture_stays_and_the_switches_go(open_page):
    page = open_page()
    figure = page.locator("figure").first
    bar = figure.get_by_alt_text("colour bar")
    assert bar.is_visible() and not figure.locator(".still").count()
    page.emulate_media(media="print")
    assert not figure.locator(".controls").is_visible()
    for shown in (
        figure.locator("canvas"),
        bar,
        figure.get_by_text("cam · deep · mel"),
    ):
        assert shown.is_visible()
    page.emulate_media(media="screen")
    radio(figure, "view", "outline").click()
    assert not bar.is_visible()


def test_without_script_picture_and_overlay_are_there(open_page):
    page = open_page(java_script_enabled=False)
    figure = page.locator("figure").first
    assert not figure.locator("canvas, input").count()
    assert figure.get_by_alt_text("a spot; overlay · cam · deep · mel").is_visible()
    assert figure.locator("img").count() == 3
    assert figure.locator("figcaption").inner_text() == "The first."


def test_the_same_output_twice_on_a_page(open_page):
    """As JupyterLab does in a new view of a cell's output."""
    page = open_page()
    page.evaluate(
        "source => { const view = document.createElement('div');"
        " view.innerHTML = source; document.body.append(view);"
        " for (const old of view.querySelectorAll('script')) {"
        "  const script = document.createElement('script');"
        "  script.textContent = old.textContent; old.replaceWith(script) } }",
        Path(page.url.removeprefix("file://")).read_text("utf-8"),
    )
    page.locator("canvas").nth(3).wait_for()
    figures = page.locator("figure").all()
    radio(figures[2], "method", "grad-cam").click()
    assert state(figures[0])[1] == "overlay · cam · deep · mel"
    assert state(figures[2])[1] == "overlay · grad-cam · deep · mel"
