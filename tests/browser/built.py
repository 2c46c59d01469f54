"""The built report, as the browser tests know it: its folder and its pages."""

from helpers.settings import out_folder

SITE = out_folder() / "site"
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if "_static" not in path.parts
)
NOTEBOOKS = [name for name in PAGES if name.startswith("notebooks/")]


def visit(page, name):
    page.goto(f"{SITE.as_uri()}/{name}")
    page.wait_for_load_state("load")
