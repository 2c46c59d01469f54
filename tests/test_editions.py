"""The editions: the sources without solutions, and what ran as one file to read."""

import ast
import inspect
import re

import nbformat
import pytest
import test_notebook_style as style
from agreeing import agree
from errors import refused
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from helpers import editions, navigation
from helpers.settings import out_folder

SOURCES = navigation.sources()
# What the style guide asks of a notebook, but for the solutions.
ASKED = [
    test
    for name, test in vars(style).items()
    if name.startswith("test_")
    and name != "test_exercise_check_solution"
    and list(inspect.signature(test).parameters) == ["notebook"]
]


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem, scope="module")
def pair(request):
    """A notebook and its student edition, both as they lie on the disk."""
    source = nbformat.read(request.param, as_version=4)
    text = nbformat.writes(editions.student(source))
    return source, nbformat.reads(text, as_version=4)


def test_a_student_gets_every_cell_but_the_solutions(pair):
    source, student = pair
    taken = 0
    for before, after in zip(source.cells, student.cells, strict=True):
        if navigation.tagged(before, "solution"):
            taken += 1
            assert before.source and after.source == ""
            before = before | {"source": ""}
        assert before == after
    assert (
        taken == sum(navigation.tagged(cell, "exercise") for cell in source.cells) > 1
    )
    assert source.metadata == student.metadata
    nbformat.validate(student)


def test_the_student_edition_keeps_to_the_style_guide(pair):
    assert len(ASKED) > 10
    for asked in ASKED:
        asked(pair[1])


def test_nothing_needs_what_a_solution_made(pair):
    """So that the student edition runs from top to bottom before any answer is there."""
    made, other, needed = set(), set(), set()
    for cell in pair[0].cells:
        if cell.cell_type != "code" or navigation.tagged(cell, "bootstrap"):
            continue
        tree = ast.parse(cell.source)
        solution = navigation.tagged(cell, "solution")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                (made if solution else other).add(node.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.alias):
                name = (node.asname or node.name).split(".")[0]
                (made if solution else other).add(name)
            elif isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store):
                    (made if solution else other).add(node.id)
                elif not solution:
                    needed.add(node.id)
    assert made and not (made - other) & needed


TABLE = '<table class="dataframe"><tbody><tr><td>a</td><td>12</td></tr></tbody></table>'
FIGURE = (
    '<figure><svg role="img" aria-label="A &lt; B" viewBox="0 0 9 9"></svg><img alt="a '
    'spot" src="data:,"><figcaption>Costs $3 &amp; $4.</figcaption></figure>'
    '<script>if (1 < 2) document.title += "&amp;"</script>'
)


def cell(source, *tags, outputs=()):
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=list(outputs))


def ran() -> nbformat.NotebookNode:
    """A notebook as papermill leaves it, with every kind of cell and output."""
    viewer = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Box()"}
    half = new_output("execute_result", {"text/plain": "0.5"}, execution_count=1)
    return new_notebook(
        metadata={"kernelspec": navigation.KERNEL, "widgets": {"state": {}}},
        cells=[
            new_markdown_cell("# 01 · *Why* `<b>`?\n\n[Source](https://example.org)"),
            new_markdown_cell("| **a** | b |\n|---|---|\n| c | *d* |\n"),
            cell("%pip install nothing", "bootstrap"),
            cell("SEED = 0", "parameters"),
            new_markdown_cell(
                "## 1. Half of $x_1$?\n\nIt is\n\n$$\\frac{a_1 * b}{2}$$"
            ),
            cell(
                "print('<x> & \"y\"')  # 1 < 2\n\n\nx = 1",
                outputs=[
                    new_output(
                        "stream", name="stdout", text="\x1b[31m<x>\x1b[0m & y\n"
                    ),
                    new_output("display_data", {"text/html": FIGURE}),
                    new_output("display_data", {"text/html": TABLE}),
                    half,
                ],
            ),
            cell(
                "viewer()",
                "interactive",
                outputs=[new_output("display_data", viewer)],
            ),
            new_markdown_cell(
                "<details><summary>Hint</summary> Halve <b>it</b>.</details>"
            ),
            cell("answer = None", "exercise"),
            cell("answer = x / 2", "solution", outputs=[half]),
            new_markdown_cell("[next](02.ipynb)", metadata={"tags": ["navigation"]}),
        ],
    )


def test_the_reading_edition_agrees_with_what_ran():
    notebook = ran()
    before = nbformat.writes(notebook)
    html = editions.reading(notebook)
    assert nbformat.writes(notebook) == before, "what ran is left as it was"
    agree(html, notebook)
    assert "%pip" not in html and "02.ipynb" not in html and editions.LIVE in html
    assert 'if (1 < 2) document.title += "&amp;"' in html
    assert "<title>01 · *Why* `&lt;b&gt;`?</title>" in html and 'lang="en"' in html
    assert '<td class="number">12</td>' in html
    [link] = re.findall(r'<li><a href="#([^"]+)">1\. Half of', html)
    assert f'<h2 id="{link}"' in html


@pytest.mark.parametrize(
    ("kind", "place", "other"),
    [
        ("code", 5, "x = 2"),
        ("words", 4, "## 1. Half of $x_2$?"),
        ("fewer", 7, None),
    ],
)
def test_a_difference_would_be_seen(kind, place, other):
    notebook = ran()
    html = editions.reading(notebook)
    if other is None:
        del notebook.cells[place]
    else:
        notebook.cells[place].source = other
    with pytest.raises(AssertionError):
        agree(html, notebook)


def test_a_reading_edition_carries_all_it_needs():
    """No address is loaded: links are for the reader alone."""
    html = editions.reading(ran())
    assert not re.findall(
        r'<(?:link|iframe)\b|\bsrc="(?!data:)|@import|url\((?!data:)',
        html.split("<!-- end of cells -->")[0],
    )
    assert "MathJax" in html.split("<!-- end of cells -->")[1]
    assert len(html.encode()) < editions.LIMIT


def test_both_editions_are_files_and_stale_ones_go(folders):
    executed = {SOURCES[0].stem: ran()}
    files = editions.write(executed)
    assert [path.parent.name for path in files] == ["student"] * len(SOURCES) + [
        "reading"
    ]
    old, mine = (files[0].with_name(name) for name in ("99_old.ipynb", "mine.ipynb"))
    old.touch()
    mine.touch()
    assert editions.write(executed) == files
    assert mine.exists() and not old.exists()
    assert all(path.stat().st_size for path in files)


def test_an_edition_too_large_for_an_email_is_refused(folders, monkeypatch):
    monkeypatch.setattr(editions, "LIMIT", 1_000_000)
    name = SOURCES[0].stem
    refused(lambda: editions.write({name: ran()}), f"{name}.html", "1,000,000")
    assert not list((out_folder() / "reading").iterdir())
