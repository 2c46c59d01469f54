"""The case explorer of the built report, from the disk: filters, switches, links."""

import re
from urllib.parse import parse_qs

import pytest
from built import SITE

pytestmark = pytest.mark.browser
PAGE = SITE / "cases.html"
PIXELS = "canvas => canvas.toDataURL()"


@pytest.fixture
def open_page(guarded, unless_ci):
    """Opens the page with this end of its address, and waits for the first case."""
    if not PAGE.exists():
        unless_ci(f"no site in {SITE}; run `make report`")

    def open_page(fragment="", **options):
        page = guarded(logs=("error", "warning"), **options)
        page.goto(f"{PAGE.as_uri()}{fragment}")
        page.locator(".explorer canvas").wait_for()
        return page

    return open_page


def state(page):
    return {k: v[0] for k, v in parse_qs(page.url.partition("#")[2]).items()}


def cards(page):
    return page.locator(".explorer-card:visible")


def choose(page, group, name):
    box = page.locator(".explorer").get_by_role("group", name=group, exact=True)
    box.get_by_role("radio", name=name, exact=True).check(force=True)


def test_some_forty_cases_in_less_than_fifteen_megabytes(open_page):
    page = open_page()
    assert 12 <= cards(page).count() <= 60
    files = list((SITE / "_static" / "explorer").iterdir())
    assert sum(path.stat().st_size for path in files) < 15e6


def test_the_filters_leave_what_they_say(open_page):
    page = open_page()
    everything = cards(page).count()
    page.get_by_label("answer").select_option("wrong")
    wrong = cards(page).all_inner_texts()
    assert wrong and all(text.startswith("✘") for text in wrong)
    page.get_by_label("answer").select_option("right")
    right = cards(page).all_inner_texts()
    assert all(text.startswith("✔") for text in right)
    assert len(wrong) + len(right) == everything
    assert (
        f"{len(right)} of {everything} cases"
        in page.locator("output").all_inner_texts()
    )
    page.get_by_label("confidence").select_option("high")
    for text in cards(page).all_inner_texts():
        sure = re.search(r"(\d+)%", text)[1]
        assert int(sure) >= 90
    assert page.locator(".explorer-card:visible :checked").count() == 1


def test_every_choice_changes_the_picture_and_the_words(open_page):
    page = open_page()
    canvas = page.locator(".explorer canvas")
    seen = {canvas.evaluate(PIXELS)}
    choose(page, "method", "LayerCAM")
    seen.add(canvas.evaluate(PIXELS))
    said = page.locator(".explorer-facts").inner_text()
    other = page.locator(".explorer").get_by_role("group", name="class", exact=True)
    other.get_by_role("radio").nth(1).check(force=True)
    seen.add(canvas.evaluate(PIXELS))
    assert page.locator(".explorer-facts").inner_text() != said
    choose(page, "view", "heatmap")
    seen.add(canvas.evaluate(PIXELS))
    assert len(seen) == 4
    choose(page, "method", "CAM")
    choose(page, "layer", "early")
    assert "not computed" in page.locator(".explorer").inner_text()


def test_a_link_opens_the_same_case_and_map(open_page):
    page = open_page()
    page.get_by_role("button", name="next").click()
    page.locator(".explorer canvas").wait_for()
    choose(page, "method", "Grad-CAM++")
    choose(page, "layer", "middle")
    choose(page, "view", "outline")
    there, pixels = state(page), page.locator(".explorer canvas").evaluate(PIXELS)
    link = page.get_by_role("link", name="link to this view").get_attribute("href")
    again = open_page(link)
    assert state(again) == there and there["layer"] == "middle"
    assert again.locator(".explorer canvas").evaluate(PIXELS) == pixels


def test_all_of_it_by_keyboard(open_page):
    page = open_page()
    first = state(page)["case"]
    page.locator(".explorer-card input").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("first => !location.hash.includes(first)", arg=first)
    ring = page.locator(".explorer-card:has(:focus-visible)")
    assert ring.evaluate("card => getComputedStyle(card).outlineStyle") == "solid"
    before = page.locator(".explorer canvas").evaluate(PIXELS)
    radio = page.locator(".explorer").get_by_role("group", name="view", exact=True)
    radio.get_by_role("radio", name="overlay").focus()
    page.keyboard.press("ArrowRight")
    assert state(page)["view"] == "outline"
    assert page.locator(".explorer canvas").evaluate(PIXELS) != before


def test_the_view_stays_from_case_to_case_and_the_class_does_not(open_page):
    page = open_page()
    choose(page, "view", "heatmap")
    choose(page, "layer", "middle")
    page.get_by_label("answer").select_option("wrong")
    page.locator(".explorer-head", has_text="wrong").wait_for()
    page.locator(".explorer canvas").wait_for()
    now = state(page)
    assert (now["view"], now["layer"]) == ("heatmap", "middle")
    said = page.locator(".explorer-head p").inner_text()
    assert f"({now['class']})" in said.split("The model says")[1]


def test_on_a_phone_nothing_is_wider_than_the_page(open_page):
    page = open_page(viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".explorer").get_by_role(
        "group", name="layer"
    ).scroll_into_view_if_needed()
    box = page.locator(".explorer canvas").bounding_box()
    assert box["y"] + box["height"] <= 844, "the picture stays in sight"


@pytest.mark.parametrize("fragment", ["#case=nothing", "#case=<b>&view=x", "#%%%", "#"])
def test_a_bad_link_opens_the_first_case(open_page, fragment):
    page = open_page(fragment)
    assert page.locator(".explorer-card input").first.is_checked()
