"""The claims ledger of the built report: its filter, its links, without a network."""

import pytest

from helpers import ledger
from helpers.settings import out_folder

pytestmark = pytest.mark.browser
PAGE = out_folder() / "site" / "ledger.html"
ALL = len(ledger.claims())


@pytest.fixture
def open_page(browser, unless_ci):
    """Opens the ledger, with such a browser; nothing may go wrong in it."""
    if not PAGE.exists():
        unless_ci(f"no {PAGE}; run `make report`")
    contexts, faults = [], []

    def guard(route):
        if not route.request.url.startswith(("file:", "data:", "blob:")):
            faults.append(route.request.url)
        route.continue_()

    def opened(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.route("**/*", guard)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(PAGE.as_uri())
        page.wait_for_load_state("load")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def shown(page):
    return page.locator(".claim:visible").count()


def choice(page, name):
    return page.get_by_role("combobox", name=name, exact=True)


def told(page):
    return page.get_by_role("status").inner_text()


def test_all_claims_are_there_with_or_without_a_script(open_page):
    page = open_page()
    assert shown(page) == ALL and told(page) == f"{ALL} of {ALL} claims shown"
    bare = open_page(java_script_enabled=False)
    assert shown(bare) == ALL
    assert not bare.locator(".ledger-filter").is_visible()


def test_every_choice_shows_just_the_claims_it_names(open_page):
    page = open_page()
    for name in ("source", "verdict", "data"):
        select = choice(page, name)
        for value in select.locator("option").evaluate_all(
            "all => all.map(o => o.value)"
        ):
            select.select_option(value)
            marked = f".claim.{value}, .claim:has(.run.{value})" if value else ".claim"
            expected = page.locator(marked).count()
            assert shown(page) == expected and told(page).startswith(f"{expected} of ")
            assert expected or name == "verdict"
        select.select_option("")
    assert shown(page) == ALL


def test_choices_are_joined_and_held_by_one_run(open_page):
    """A claim is shown if one of its runs has both the verdict and the data."""
    page = open_page()
    for verdict in ("does-not-hold", "holds"):
        choice(page, "verdict").select_option(verdict)
        choice(page, "data").select_option("on-published-numbers")
        choice(page, "source").select_option("source-001")
        marked = f".claim.source-001:has(.run.{verdict}.on-published-numbers)"
        assert shown(page) == page.locator(marked).count()


def test_the_filter_is_used_by_keyboard_and_says_what_it_did(open_page):
    page = open_page()
    form = page.get_by_role("form", name="Filter the claims")
    assert form.get_by_role("status").get_attribute("aria-live") == "polite"
    choice(page, "source").focus()
    page.keyboard.press("ArrowDown")
    assert 0 < shown(page) < ALL and not told(page).startswith(f"{ALL} ")
    page.keyboard.press("Tab")
    assert choice(page, "verdict").evaluate(
        "select => select === document.activeElement"
    )
    page.keyboard.press("Home")
    choice(page, "source").focus()
    page.keyboard.press("Home")
    assert shown(page) == ALL


def test_a_verdict_says_what_it_rests_on_and_leads_to_its_cell(open_page):
    page = open_page()
    settled = page.locator(".claim:has(.run.now:not(.not-run))")
    assert settled.count() > 0
    for claim in settled.all():
        run = claim.locator(".run.now").inner_text()
        assert "this run" in run
        assert "profile, seed" in run or "the same in every run" in run
        assert claim.locator(".decided a").count() == 1
    addresses = page.locator(".decided a").evaluate_all("all => all.map(a => a.href)")
    for address in sorted(set(addresses)):
        page.goto(address)
        target = page.evaluate(
            "document.getElementById(location.hash.slice(1)) !== null"
        )
        assert target, address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_on_a_phone(open_page, scheme):
    page = open_page(color_scheme=scheme, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for part in page.locator(".claim .run, .ledger-filter select").all():
        box = part.bounding_box()
        assert (
            box["x"] >= 0
            and box["x"] + box["width"] <= 390
            and box["width"] > 100 * ("run" in (part.get_attribute("class") or ""))
        )
