"""Browser tests of the built report, opened from the disk with the network blocked."""

import re
from pathlib import Path

import pytest
from built import NOTEBOOKS, PAGES, visit

pytestmark = pytest.mark.browser
FILE_NAME = re.compile(r"\S+\.(png|jpe?g|svg|gif|webp)|[0-9a-f]{16,}", re.IGNORECASE)


def test_there_is_a_site(page):
    assert {"index.html", "glossary.html", "run_times.html"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_heading_and_typeset_formulas(page, name):
    visit(page, name)
    assert page.locator("h1:visible").first.inner_text().strip()
    assert page.locator("h1:visible").count() == 1
    formulas = page.locator(".math")
    if not formulas.count():
        return
    page.wait_for_function(
        "document.querySelectorAll('.math mjx-container svg').length"
        " >= document.querySelectorAll('.math').length"
    )
    for formula in page.locator(".math mjx-container").all():
        box = formula.bounding_box()
        assert box["width"] > 4 and box["height"] > 4
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    text = page.locator("article").evaluate(
        "article => { const copy = article.cloneNode(true);"
        " copy.querySelectorAll('pre, code').forEach(code => code.remove());"
        " return copy.textContent }"
    )
    assert "$$" not in text and "\\frac" not in text


@pytest.mark.parametrize("name", PAGES)
def test_pictures_and_charts_have_descriptions(page, name):
    visit(page, name)
    for alt in page.locator("img").evaluate_all("all => all.map(img => img.alt)"):
        assert len(alt.strip()) > 3 and not FILE_NAME.fullmatch(alt.strip()), alt
    charts = page.locator("svg[role=img]:not(.svg-inline--fa, mjx-container svg)")
    for label in charts.evaluate_all("all => all.map(svg => svg.ariaLabel || '')"):
        assert len(label.strip()) > 3


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(page, name):
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_search_finds_a_word(page):
    visit(page, "search.html?q=melanoma")
    hit = page.locator("#search-results li a").first
    hit.wait_for()
    hit.click()
    assert "melanoma" in page.locator("article").inner_text().lower()


def test_the_switch_makes_the_page_dark(page):
    visit(page, NOTEBOOKS[0])
    background = "element => getComputedStyle(element).backgroundColor"
    light = page.locator("body").evaluate(background)
    page.locator(".theme-switch-button:visible").click()
    page.locator(".theme-change-button[data-mode=dark]:visible").click()
    page.locator("html[data-theme=dark]").wait_for()
    page.wait_for_function(
        f"light => ({background})(document.body) !== light", arg=light
    )
    for output in page.locator(".output.text_html").all():
        assert output.evaluate(background) == "rgba(0, 0, 0, 0)"  # no light patches


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_leads_to_its_neighbours_and_to_colab(page, name):
    visit(page, name)
    assert page.locator(".prev-next-footer a").count() >= 1
    colab = page.locator("article a", has_text="Open in Colab").first
    path = f"/notebooks/{Path(name).stem}.ipynb"
    assert colab.get_attribute("href").endswith(path)
    assert page.locator(f".dropdown-launch-buttons a[href$='{path}']").count() == 1


def test_every_switch_of_every_toggle_changes_the_picture(page):
    """By mouse, with the pixels compared; and the first one's by keyboard."""
    toggles = 0
    for name in NOTEBOOKS:
        visit(page, name)
        for figure in page.locator(".heat-toggle").all():
            toggles += 1
            canvas = figure.locator("canvas")
            canvas.wait_for()
            drawn = "canvas => canvas.toDataURL()"
            for group in figure.get_by_role("group").all():
                seen = set()
                for radio in group.get_by_role("radio").all():
                    radio.check(force=True)
                    seen.add(canvas.evaluate(drawn))
                assert len(seen) == group.get_by_role("radio").count(), name
                before = canvas.evaluate(drawn)
                page.keyboard.press("ArrowLeft")
                assert canvas.evaluate(drawn) != before
                figure.get_by_role("radio", name="overlay").check(force=True)
    assert toggles >= 2
