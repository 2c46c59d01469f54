"""Browser tests of the built editions: one file each, opened with no network at all."""

import shutil

import nbformat
import pytest
from agreeing import MATH, agree

from helpers import editions, navigation
from helpers.settings import out_folder

pytestmark = pytest.mark.browser
OUT = out_folder()
NAMES = [path.stem for path in navigation.sources()]


@pytest.fixture(params=NAMES)
def name(request, unless_ci):
    if not (OUT / "site/editions" / f"{request.param}.html").exists():
        unless_ci(f"no editions in {OUT / 'site'}; run `make report`")
    return request.param


@pytest.fixture
def open_page(guarded, name, tmp_path):
    """Opens the file alone, as from an e-mail."""
    alone = shutil.copy(OUT / "site/editions" / f"{name}.html", tmp_path)

    def open_page(**options):
        page = guarded(("file:", "data:", "blob:"), **options)
        page.goto((tmp_path / alone).as_uri())
        page.evaluate("() => MathJax.startup.promise")
        return page

    return open_page


def ran(name):
    return nbformat.read(OUT / "notebooks" / f"{name}.ipynb", as_version=4)


def test_the_site_gives_away_what_the_run_and_the_source_say(name):
    given = OUT / "site/editions"
    agree((given / f"{name}.html").read_text("utf-8"), ran(name))
    source = nbformat.read(navigation.root() / "notebooks" / f"{name}.ipynb", 4)
    student = nbformat.read(given / f"{name}.ipynb", as_version=4)
    assert student == editions.student(source)
    assert all(path.stat().st_size < editions.LIMIT for path in given.iterdir())


def test_every_formula_is_typeset(open_page, name):
    page = open_page()
    written = sum(
        len(MATH.findall(cell.source))
        for cell in editions.as_read(ran(name)).cells
        if cell.cell_type == "markdown"
    )
    formulas = page.locator("mjx-container")
    assert formulas.count() == written
    for formula in formulas.all():
        box = formula.locator("svg").first.bounding_box()
        assert box["width"] > 4 and box["height"] > 4
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0


def test_every_switch_changes_the_picture(open_page, name):
    drawn = "canvas => canvas.toDataURL()"
    page = open_page()
    figures = page.locator(".heat-toggle").all()
    notebook = ran(name)
    shown = sum("toggles.toggle(" in cell.source for cell in notebook.cells)
    assert len(figures) >= shown
    for figure in figures:
        canvas = figure.locator("canvas")
        canvas.wait_for()
        for group in figure.get_by_role("group").all():
            seen = set()
            for radio in group.get_by_role("radio").all():
                radio.check(force=True)
                seen.add(canvas.evaluate(drawn))
            assert len(seen) == group.get_by_role("radio").count()
            figure.get_by_role("radio", name="overlay").check(force=True)


def test_a_phone_in_the_dark_with_the_solutions_folded(open_page):
    page = open_page(color_scheme="dark", viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colours = (
        "body => [getComputedStyle(body).backgroundColor, getComputedStyle(body).color]"
    )
    ground, ink = page.locator("body").evaluate(colours)
    assert ground == "rgb(20, 24, 30)" and ink == "rgb(206, 214, 221)"
    solution = page.locator(".celltag_solution").first
    code = solution.locator(".cell_input")
    assert not code.is_visible()
    solution.get_by_text("Show the solution").click()
    assert code.is_visible()


def test_the_sections_lead_to_their_places(open_page):
    page = open_page()
    page.get_by_text("Sections", exact=True).click()
    links = page.locator("nav li a")
    assert links.count() >= 7
    for link in links.all():
        link.click()
        heading = page.locator(":target")
        assert heading.inner_text().startswith(link.inner_text()[:20])
        assert -1 <= heading.bounding_box()["y"] < 900
