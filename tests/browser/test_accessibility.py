"""What keeps nobody out: axe-core on every page and state, and all of it by keyboard."""

import pytest
from built import NOTEBOOKS, PAGES, visit

pytestmark = pytest.mark.browser
LOOKS = {
    "desk": ("light", 1280, 900),
    "dark": ("dark", 1280, 900),
    "phone": ("light", 390, 844),
}
# All formulas are typeset, and those that scroll can be reached.
TYPESET = """() => !window.MathJax
  || [...document.querySelectorAll(".math")].every(one => one.querySelector("svg"))
  && [...document.querySelectorAll("mjx-container[display]")].every(
    one => one.scrollWidth <= one.clientWidth || one.tabIndex === 0)"""


def look(page, name, kind):
    """The page in such a look, with all that it folds away unfolded."""
    scheme, width, height = LOOKS[kind]
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": height})
    visit(page, name)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    # Before the shadow that says that a table goes on, axe-core cannot tell a contrast.
    page.add_style_tag(content=".scroll { background: none !important }")
    page.wait_for_function(TYPESET)


# A reading edition says what its notebook's page says: two looks of it will do.
ONCE_MORE = {name for name in PAGES if name.startswith("editions/")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, k) for n in PAGES for k in LOOKS if k != "desk" or n not in ONCE_MORE],
)
def test_axe_finds_nothing(page, barriers, name, kind):
    look(page, name, kind)
    assert not barriers(page)


@pytest.mark.parametrize("kind", LOOKS)
def test_nor_after_a_figure_was_switched(page, barriers, kind):
    look(page, next(name for name in NOTEBOOKS if "/03_" in name), kind)
    figure = page.locator(".heat-toggle").first
    for view in ("original", "outline"):  # with the slider off
        figure.get_by_role("radio", name=view).check(force=True)
        assert not barriers(page, ".heat-toggle")


@pytest.mark.parametrize("kind", LOOKS)
def test_nor_in_a_filtered_ledger(page, barriers, kind):
    look(page, "ledger.html", kind)
    page.get_by_role("combobox", name="source").select_option("source-001")
    assert page.locator(".claim:visible").count() < page.locator(".claim").count()
    assert not barriers(page)


@pytest.mark.parametrize("kind", LOOKS)
def test_nor_among_the_hits_of_a_search(page, barriers, kind):
    look(page, "search.html?q=melanoma", kind)
    page.locator("#search-results li a").first.wait_for()
    assert not barriers(page)


MENU = ".bd-header-article"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("opener", "opened", "within"),
    [
        (".primary-toggle", ".bd-links a", "#pst-primary-sidebar-modal"),
        (".secondary-toggle", ".page-toc a", "#pst-secondary-sidebar-modal"),
        (".search-button", "input", "#pst-search-dialog"),
        (".theme-switch-button", ".theme-change-button", MENU),
        (".dropdown-launch-buttons button", ".dropdown-launch-buttons a", MENU),
        (".dropdown-download-buttons button", ".dropdown-download-buttons a", MENU),
    ],
)
def test_nor_in_a_bar_or_a_menu_open_on_a_phone(
    page, barriers, opener, opened, within, scheme
):
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, NOTEBOOKS[0])
    page.locator(opener).locator("visible=true").first.click()
    page.locator(within).locator(opened).locator("visible=true").first.wait_for()
    assert not barriers(page, within)


# How each element looks before it has the focus: its outline and shadow, and those of
# what stands for it, as the face of a hidden radio button does.
WATCH = """() => {
  window.looks = one => [one, one.nextElementSibling, one.closest("label")]
    .filter(Boolean).map(part => getComputedStyle(part))
    .map(({ outlineStyle, outlineWidth, boxShadow }) =>
      [outlineStyle === "none" ? 0 : outlineWidth, boxShadow].join(" "))
    .join();
  window.before = new Map(
    [...document.querySelectorAll("*")].map(one => [one, looks(one)]));
}"""
# The element that has the focus: whether it shows it, where it is, what it is.
FOCUS = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const { width, height, right, left } = one.getBoundingClientRect();
  const seen = width > 0 && height > 0 && right > 0 && left < innerWidth;
  const what = one.closest(".heat-toggle") && one.type === "radio" ? "switch"
    : one.matches("summary") ? "fold" : one.matches(".scroll") ? "table"
    : one.getAttribute("aria-label") || one.innerText || one.tagName;
  return [seen && looks(one) !== before.get(one), what.trim(), one.outerHTML.slice(0, 90)];
}"""


def stops(page):
    """All that Tab comes by, from the top of the page until it leaves the page."""
    page.evaluate(WATCH)
    for _ in range(1000):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop is None:
            return
        yield stop
    pytest.fail("Tab does not get out of the page")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [(n, "light") for n in PAGES] + [(n, "dark") for n in PAGES if n not in ONCE_MORE],
)
def test_tab_shows_where_it_is_and_comes_to_an_end(page, name, scheme):
    page.emulate_media(color_scheme=scheme)
    visit(page, name)
    way = list(stops(page))
    assert len(way) > 15
    assert not [tag for shown, _, tag in way if not shown]


def test_tab_comes_by_everything_that_can_be_used(page):
    name = next(name for name in NOTEBOOKS if "/03_" in name)
    visit(page, name)
    way = [what for _, what, _ in stops(page)]
    assert way[0] == "Skip to main content"
    assert {"Search", "Color mode", "Open in Colab", "overlay opacity"} <= set(way)
    groups = page.locator(".heat-toggle fieldset").count()
    assert way.count("switch") == groups > 3
    assert way.count("fold") == page.locator("summary").count() > 3
    assert way.count("table") == page.locator(".scroll").count() > 2


def test_the_skip_link_skips(page):
    visit(page, NOTEBOOKS[0])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_a_solution_opens_by_keyboard(page):
    visit(page, NOTEBOOKS[0])
    fold = page.locator("details.hide", has_text="Show the solution").first
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator("pre").is_visible()
    page.keyboard.press("Space")
    assert not fold.locator("pre").is_visible()


def test_the_bar_of_a_phone_opens_and_closes_by_keyboard(page):
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, NOTEBOOKS[0])
    page.locator(".primary-toggle").focus()
    page.keyboard.press("Enter")
    link = page.locator("#pst-primary-sidebar-modal .bd-links a").first
    link.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    link.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.matches('.primary-toggle')")


def test_dark_mode_by_keyboard(page):
    visit(page, NOTEBOOKS[0])
    page.locator(".theme-switch-button").focus()
    page.keyboard.press("Enter")
    dark = page.locator(".theme-change-button[data-mode=dark]")
    dark.wait_for()
    for _ in range(3):
        page.keyboard.press("Tab")
    assert dark.evaluate("one => one === document.activeElement")
    page.keyboard.press("Enter")
    page.locator("html[data-theme=dark]").wait_for()
