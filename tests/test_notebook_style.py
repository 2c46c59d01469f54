"""The style guide as a program: every notebook of the course keeps to it."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from helpers.navigation import check_navigation, sources, tagged

NOTEBOOKS = sources()
GLANCE = [
    "You will be able to",
    "Before you start",
    "Data and licence",
    "Time",
    "Hardware",
]
ENDING = [
    "Check your understanding",
    "Exercises",
    "What this does not show",
    "Summary",
    "References and data credits",
]
TAGS = {"bootstrap", "parameters", "lesson", "claim", "exercise", "check", "solution"}
TAGS |= {"interactive", "navigation", "cover"}
FORBIDDEN = {
    "a bare except": r"except\s*:",
    "silenced warnings": r"filterwarnings\(\s*[\"']ignore",
    "a star import": r"import \*",
    "a fixed device": r"\.cuda\(\)",
    "a shell or line magic": r"^\s*[!%]",
    "an address": r"https?://",
    "a path": r"[\"'](\.{0,2}/|~)",
    "the colour map jet": r"\bjet\b",
    "a Done message": r"print\([\"']Done",
}
NUMBER = re.compile(r"\d+\.\d+|\d+(\.\d+)?\s?%")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def prose(notebook):
    return [c.source for c in notebook.cells if c.cell_type == "markdown"]


def tags(cell):
    return cell.metadata.get("tags", [])


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def headings(notebook, level):
    mark = "#" * level + " "
    rows = [row for text in prose(notebook) for row in text.splitlines()]
    return [row[len(mark) :] for row in rows if row.startswith(mark)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_name_and_title_carry_the_number(path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    title = nbformat.read(path, as_version=4).cells[0].source
    assert title.startswith(f"# {path.stem[:2]} · ")


def test_links_and_bootstrap_are_in_step():
    check_navigation()


def test_skeleton(notebook):
    glance = notebook.cells[1].source
    places = [glance.find(f"**{part}**") for part in GLANCE]
    assert -1 not in places and places == sorted(places)
    assert "not for diagnosis" in glance
    assert tagged(notebook.cells[2], "bootstrap")
    assert tagged(notebook.cells[3], "parameters")
    assert "settings.load(PROFILE, DATASET, SEED" in notebook.cells[4].source
    assert len(headings(notebook, 1)) == 1
    sections = headings(notebook, 2)
    assert sections[-len(ENDING) :] == ENDING
    numbered = sections[: -len(ENDING)]
    assert [s.split(".")[0] for s in numbered] == [
        str(k + 1) for k in range(len(numbered))
    ]
    assert tagged(notebook.cells[-1], "navigation")


def test_every_section_says_how_long_it_takes(notebook):
    text = "\n".join(prose(notebook))
    for section in headings(notebook, 2)[: -len(ENDING)]:
        after = text.split(f"## {section}\n", 1)[1].lstrip()
        assert re.match(r"\*\d+ minutes\.\*", after), section


def test_parameters_are_literals(notebook):
    for statement in ast.parse(notebook.cells[3].source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
    assert {"PROFILE", "DATASET", "SEED"} <= {
        s.targets[0].id for s in ast.parse(notebook.cells[3].source).body
    }


def test_size(notebook):
    cells, words = code(notebook), len(" ".join(prose(notebook)).split())
    asked = [
        c for c in cells if {"exercise", "check", "solution", "claim"} & set(tags(c))
    ]
    assert 15 <= len(cells) - len(asked) <= 35 and len(notebook.cells) <= 100
    assert 1200 <= words <= 3500
    lengths = sorted(len(lines(cell)) for cell in cells)
    assert lengths[-1] <= 25, "a cell longer than 25 lines"
    assert lengths[len(lengths) // 2] <= 12, "half of the cells too long"
    assert max(len(line) for cell in cells for line in lines(cell)) <= 88


def test_no_outputs_are_kept(notebook):
    for cell in code(notebook):
        assert cell.outputs == [] and cell.execution_count is None
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_forbidden(notebook, what):
    for cell in code(notebook):
        if not tagged(cell, "bootstrap"):
            assert not re.search(FORBIDDEN[what], cell.source, re.MULTILINE), (
                cell.source
            )


def test_tags_are_known(notebook):
    for cell in notebook.cells:
        assert set(tags(cell)) <= TAGS


def test_exercise_check_solution(notebook):
    first = [next(iter(tags(c)), "") for c in notebook.cells]
    places = [i for i, tag in enumerate(first) if tag == "exercise"]
    assert len(places) >= 2
    for i in places:
        assert first[i : i + 3] == ["exercise", "check", "solution"]
        task, check, solution = (notebook.cells[i + k].source for k in range(3))
        name = re.match(r"(answer_\d+_\d+) = None", task).group(1)
        assert name in check and check in solution, "the solution runs the same check"
        assert notebook.cells[i - 1].source.count("<details>"), "a hint"


def test_claims(notebook):
    promised = re.search(r"able to\*\* \|(.*?)\|\n", notebook.cells[1].source).group(1)
    claims = sum(c.source.count("checks.claim(") for c in code(notebook))
    assert claims >= promised.count("·") + 1, "a claim for each thing promised"
    for cell in code(notebook):
        assert ("checks.claim(" in cell.source) == tagged(cell, "claim")


def test_no_measured_number_in_prose(notebook):
    text = "\n".join(prose(notebook)[2:])
    text = text.split("## References and data credits")[0]
    text = re.sub(r"\$\$.*?\$\$|\$.*?\$|`.*?`|<code>.*?</code>", "", text, flags=re.S)
    text = re.sub(r"^## .*$|^### .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"Exercise \d\.\d", "", text)
    allowed = {"95%", "CC BY-NC 4.0", "4.0"}  # a quotation and the width of intervals
    found = {m.group(0) for m in NUMBER.finditer(text)} - allowed
    assert not found, f"computed numbers belong into cells: {found}"


def test_no_remote_picture(notebook):
    for text in prose(notebook):
        assert not re.search(r"!\[.*?\]\(http|<img[^>]+src=.http", text)


def test_words_of_explanation(notebook):
    text = "\n".join(prose(notebook))
    assert text.count("**Predict:**") >= 2
    assert text.count("**What we see.**") + text.count("**Why") >= 4
    assert text.count("<summary>Answer</summary>") >= 3
    assert "where the cancer is" not in text


def test_no_two_code_cells_without_words_too_often(notebook):
    kinds = [c.cell_type == "code" and not tagged(c, "claim") for c in notebook.cells]
    free = [
        i
        for i in range(5, len(kinds) - 1)
        if kinds[i]
        and kinds[i + 1]
        and not {"check", "solution"} & set(tags(notebook.cells[i + 1]))
    ]
    assert len(free) <= 8, "words between the cells"


def test_names_exist_in_helpers(notebook):
    """What the notebook takes from helpers is there."""
    import importlib

    for cell in code(notebook):
        for module in re.findall(r"^from helpers import (.+)$", cell.source, re.M):
            for name in module.split(","):
                importlib.import_module(f"helpers.{name.strip()}")


def test_the_folder_holds_nothing_else():
    kept = {path.name for path in NOTEBOOKS[0].parent.iterdir()}
    assert kept - {".ipynb_checkpoints"} == {Path(p).name for p in NOTEBOOKS}


def test_what_is_folded_away_is_html(notebook):
    """Inside <details> the report does not read Markdown."""
    for text in prose(notebook):
        for folded in re.findall(r"<details>.*?</details>", text, re.S):
            assert "`" not in folded and not re.search(r"\*\w", folded), folded
