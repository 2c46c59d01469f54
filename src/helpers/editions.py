"""Editions of the notebooks, made to be given away. Used by the report, taught nowhere.

The student edition (<out>/student) is each source without its solutions, not run. The
reading edition (<out>/reading) is each notebook as it ran: one HTML file, all inside.
"""

import re
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import navigation
from .files import atomic, below_out
from .html_tables import with_numbers
from .settings import CourseError, out_folder, root

LIMIT = 12_000_000  # bytes of a reading edition: it shall go into an e-mail
LEFT_OUT = ("bootstrap", "navigation")  # cells that only a notebook needs
LIVE = "<p><em>In a running notebook a live viewer stands here.</em></p>"
CODE = {"light": "a11y-high-contrast-light", "dark": "a11y-high-contrast-dark"}
FOOTER = (
    "Explainable AI for dermatology, © 2026 the xai-derm authors. Code MIT, text and "
    "figures CC BY 4.0. Teaching material, not for diagnosis."
)


def write(executed: dict[str, NotebookNode]) -> list[Path]:
    """Both editions of every notebook; returns the files. `executed` are the runs."""
    files = []
    for source in navigation.sources():
        files.append(below_out("student", source.name))
        notebook = student(nbformat.read(source, as_version=4))
        _write(files[-1], nbformat.writes(notebook).rstrip("\n") + "\n")
    for name, notebook in executed.items():
        files.append(below_out("reading", f"{name}.html"))
        _write(files[-1], reading(notebook))
    for pattern in ("student/[0-9][0-9]_*.ipynb", "reading/[0-9][0-9]_*.html"):
        for stale in set(out_folder().glob(pattern)) - set(files):
            stale.unlink()  # of a notebook that has another name now
    return files


def _write(path: Path, text: str) -> None:
    if len(text.encode()) > LIMIT:
        raise CourseError(
            f"{path.name} would have {len(text.encode()):,} bytes, more than {LIMIT:,}: "
            "show fewer or smaller pictures in that notebook"
        )
    with atomic(path) as part:
        part.write_text(text, "utf-8")


def student(source: NotebookNode) -> NotebookNode:
    """A source notebook with an empty cell in the place of every solution."""
    notebook = deepcopy(source)
    for cell in notebook.cells:
        if navigation.tagged(cell, "solution"):
            cell.source = ""
    return notebook


def as_read(executed: NotebookNode) -> NotebookNode:
    """A copy of an executed notebook without what means nothing to those who only read."""
    notebook = deepcopy(executed)
    notebook.metadata.pop("widgets", None)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if not any(navigation.tagged(cell, tag) for tag in LEFT_OUT)
    ]
    for cell in notebook.cells:
        if navigation.tagged(cell, "interactive"):  # its buttons would do nothing
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": LIVE})]
        for output in cell.get("outputs", []):
            if "dataframe" in output.get("data", {}).get("text/html", ""):
                output.data["text/html"] = with_numbers(output.data["text/html"])
    return notebook


def reading(executed: NotebookNode) -> str:
    """The reading edition of an executed notebook, with the template report/reading."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="reading",
        extra_template_basedirs=[str(root() / "report")],
        anchor_link_text="#",
    )
    resources = {
        "title": navigation.title(executed),
        "style": style(),
        "footer": FOOTER,
    }
    html = exporter.from_notebook_node(as_read(executed), resources)[0]
    script = f"<script>{mathjax().read_text('utf-8')}</script>"
    html = html.replace("<!-- sections -->", sections(html), 1)
    return html.replace("<!-- mathjax -->", script, 1)


def sections(html: str) -> str:
    """The list of a page's sections, folded, with links."""
    found = re.findall(r'<h2 id="([^"]+)">(.+?)<a class="anchor-link"', html)
    rows = "".join(f'<li><a href="#{place}">{text}</a></li>' for place, text in found)
    return f"<nav><details><summary>Sections</summary><ul>{rows}</ul></details></nav>"


def mathjax() -> Path:
    """MathJax as the one file that carries its glyphs along; from the PyPI package."""
    package = Path(find_spec("sphinx-mathjax-offline").origin).parent
    return package / "static" / "mathjax" / "tex-svg-full.js"


def style() -> str:
    """The style sheet: what the theme would give, colours of code, the report's own."""
    from pygments.formatters import HtmlFormatter

    looks = [
        HtmlFormatter(style=style).get_style_defs(
            f"html[data-theme={theme}] .highlight"
        )
        for theme, style in CODE.items()
    ]
    report = root() / "report"
    own = [report / "reading" / "reading.css", report / "_static" / "course.css"]
    return "\n".join([own[0].read_text("utf-8"), *looks, own[1].read_text("utf-8")])
