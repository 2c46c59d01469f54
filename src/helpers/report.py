"""The report: runs the notebooks and builds a site from them that needs no network.

    python -m helpers.report [all | run | site | editions | keep | needs | navigation]

Pages and looks are in the folder report/; results go to <out>/notebooks, <out>/student,
<out>/reading and <out>/site.
"""

import argparse
import logging
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
from filelock import FileLock, Timeout

from helpers import editions, ledger_page, navigation, needs, reference, runner, toggles
from helpers.files import below_out
from helpers.settings import CourseError, out_folder, root

EXPLORER = """```{raw} html
<link rel="stylesheet" href="_static/explorer/toggle.css">
<link rel="stylesheet" href="_static/explorer.css">
<div class="explorer" data-from="_static/explorer"><p>This page needs JavaScript.</p></div>
<script src="_static/explorer/toggle.js"></script>
<script src="_static/explorer/index.js"></script>
<script src="_static/explorer.js"></script>
```"""


def site() -> Path:
    """Build the site from the executed notebooks; returns its front page."""
    from sphinx.cmd.build import main as sphinx

    out = out_folder()
    pages, built = out / "sphinx", out / "site"
    notebooks = executed(out / "notebooks")
    assemble(pages, notebooks)
    fresh = out / "site.part"
    shutil.rmtree(fresh, ignore_errors=True)
    options = ["-q", "-W", "--keep-going", "-d", str(out / "doctrees"), "-E"]
    if sphinx([*options, "-b", "html", str(pages), str(fresh)]):
        raise CourseError(f"the site has the faults listed above; its pages: {pages}")
    (fresh / "editions").mkdir()
    for edition in editions.write(notebooks):
        shutil.copy(edition, fresh / "editions")
    shutil.rmtree(built, ignore_errors=True)
    fresh.rename(built)
    return built / "index.html"


def executed(folder: Path) -> dict[str, nbformat.NotebookNode]:
    """The executed copy of every notebook of the course, by name."""
    found = {}
    for source in navigation.sources():
        copy = folder / source.name
        if not copy.exists():
            raise CourseError(f"{source.stem} has not been run; run `make report`")
        notebook = nbformat.read(copy, as_version=4)
        if "peak_memory" not in notebook.metadata:  # the last that the runner writes
            raise CourseError(
                f"{source.stem} did not run to its end; run `make report`"
            )
        found[source.stem] = notebook
    return found


def assemble(pages: Path, notebooks: dict[str, nbformat.NotebookNode]) -> None:
    """Put together what Sphinx reads: the folder report/, the notebooks, the times."""
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(root() / "report", pages)
    (pages / "notebooks").mkdir()
    for name, notebook in notebooks.items():
        nbformat.write(as_page(name, notebook), pages / "notebooks" / f"{name}.ipynb")
    index, about = pages / "index.md", pages / "about.md"
    index.write_text(front_page(index.read_text("utf-8"), notebooks), "utf-8")
    for page in (index, about):
        text = page.read_text("utf-8").replace("%repository%", navigation.repository())
        page.write_text(
            text.replace("%version%", navigation.project()["version"]), "utf-8"
        )
    (pages / "run_times.md").write_text(needs.page(notebooks), "utf-8")
    (pages / "model_cards.md").write_text(model_cards(), "utf-8")
    shutil.copy(root() / "data" / "README.md", pages / "data.md")
    cases = pages / "cases.md"
    cases.write_text(
        cases.read_text("utf-8").replace("%cases%", explorer(pages)), "utf-8"
    )
    claims = ledger_page.page(notebooks, reference.runs())
    (pages / "ledger.md").write_text(claims, "utf-8")


def as_page(name: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as it is read in the site."""
    page = editions.as_read(notebook)
    page.cells[0].source = navigation.title_cell(
        name, navigation.title(notebook), in_report=True
    )
    for cell in page.cells:
        if navigation.tagged(cell, "solution"):
            cell.metadata["tags"].append("hide-input")  # as myst-nb understands it
            cell.metadata["mystnb"] = {
                "code_prompt_show": "Show the solution",
                "code_prompt_hide": "Hide the solution",
            }
    return page


def front_page(text: str, notebooks: dict[str, nbformat.NotebookNode]) -> str:
    """The index with links to the notebooks that exist, and what this run was."""
    by_number = {name[:2]: name for name in notebooks}

    def row(match: re.Match) -> str:
        number, topic = match.groups()
        if number in by_number:
            return f"- {number} [**{topic}**](notebooks/{by_number[number]}.ipynb)"
        return f"- {number} **{topic}** *(in preparation)*"

    text = re.sub(r"^- (\d\d) \*\*(.+?)\*\*", row, text, flags=re.MULTILINE)
    text = text.replace("%cover%", cover(notebooks))
    text = text.replace("%first%", next(iter(notebooks)))
    for fact in ("Profile", "Data set"):
        text = text.replace(f"%{fact.lower()}%", needs.of_all(fact, notebooks))
    return text


def cover(notebooks: dict[str, nbformat.NotebookNode]) -> str:
    """The figure of the cell tagged `cover`, with a link to its notebook."""
    for name, notebook in notebooks.items():
        for cell in notebook.cells:
            if not navigation.tagged(cell, "cover"):
                continue
            data = [output.get("data", {}) for output in cell.outputs]
            shown = [some["text/html"] for some in data if "text/html" in some]
            if shown:
                figure = "\n".join(["```{raw} html", *shown, "```"])
                title = navigation.title(notebook)
                return f"{figure}\n\nFrom [{title}](notebooks/{name}.ipynb)."
    return "It takes data with masks of the lesions; this run has none."


def model_cards() -> str:
    """The page of the cards that notebook 02 made beside its models."""
    cards = sorted((out_folder() / "results" / "cards").glob("*.md"))
    texts = [
        card.read_text("utf-8").replace("# Model card", "## Model card")
        for card in cards
    ]
    intro = (
        "What each model of this run is for, what it scored, and what nobody knows about "
        "it. The same cards lie beside the weights, in `build/models`."
    )
    nothing = [] if texts else ["No model has been trained yet: run notebook 02."]
    return "\n\n".join(["# Model cards", intro, *texts, *nothing, ""])


def explorer(pages: Path) -> str:
    """The body of the case explorer; its scripts, made by notebook 08, come along."""
    made, kept = out_folder() / "results" / "explorer", pages / "_static" / "explorer"
    if not (made / "index.js").exists():
        return "No case has been kept yet: run notebook 08."
    shutil.copytree(made, kept)
    (kept / "toggle.js").write_text(f"window.heatToggle = {toggles.SCRIPT}\n", "utf-8")
    (kept / "toggle.css").write_text(toggles.CSS, "utf-8")
    return EXPLORER


def keep(name: str) -> Path:
    """Keep the numbers of this run as a reference run; returns its file.

    Not every notebook takes every data set: those that have run to their end count.
    """
    folder = out_folder() / "notebooks"
    copies = [folder / source.name for source in navigation.sources()]
    books = {c.stem: nbformat.read(c, as_version=4) for c in copies if c.exists()}
    books = {stem: book for stem, book in books.items() if "run" in book.metadata}
    if not books:
        raise CourseError(
            f"no notebook has been run into {folder}: run python -m helpers.report run"
        )
    return reference.keep(name, books, ledger_page.settled(books))


@contextmanager
def only_one():
    """Two reports at once into one folder would spoil each other's notebooks."""
    lock = below_out("report.lock")
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise CourseError(
            f"another report is being made in {lock.parent}: wait for it, or name another "
            "folder with XAI_DERM_OUT"
        ) from None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m helpers.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, meaning in (
        ("all", "run all notebooks, then build the site (the default)"),
        ("run", "run notebooks, all of them when none is named"),
        ("site", "build the site from the notebooks that were run"),
        ("editions", "write the student and the reading edition of every notebook"),
        ("keep", "keep the numbers of this run, as a reference run of that name"),
        ("needs", "write what each notebook needed in this run into the README"),
        ("navigation", "write the generated cells of every notebook anew"),
    ):
        command = commands.add_parser(name, help=meaning, description=meaning)
        if name == "keep":
            command.add_argument("name", metavar="NAME")
        if name == "run":
            command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK")
            command.add_argument(
                "-p",
                dest="parameters",
                nargs=2,
                action="append",
                default=[],
                metavar=("NAME", "VALUE"),
                help="a value for the notebooks' parameters cell",
            )
    options = parser.parse_args(arguments)
    try:
        if options.command == "navigation":
            for path in navigation.write_navigation():
                print(f"{path.stem}: links written anew")
        if options.command != "navigation":
            with only_one():
                if options.command == "run":
                    values = {n: runner.value(text) for n, text in options.parameters}
                    runner.run(options.notebooks, values)
                if options.command in (None, "all"):
                    runner.run()
                if options.command in (None, "all", "site"):
                    print(site())
                if options.command == "editions":
                    ran = executed(out_folder() / "notebooks")
                    print(*editions.write(ran), sep="\n")
                if options.command == "needs":
                    print(needs.write(executed(out_folder() / "notebooks")))
                if options.command == "keep":
                    print(keep(options.name))
    except CourseError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        logging.disable()  # what was under way complains that nobody waited for it
        sys.exit("stopped; the same command goes on from what is kept")


if __name__ == "__main__":
    main()
