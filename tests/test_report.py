"""Tests of the runner, the generated cells and the site, on small notebooks."""

import re
import shutil
import sys
from importlib.metadata import version

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import files, navigation, reference, report, runner
from helpers.settings import CourseError, root


def cell(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)})


def write(path, *cells):
    """A notebook with the cells that every notebook of the course has."""
    path.parent.mkdir(exist_ok=True)
    number, topic = path.stem.split("_")
    start = [
        new_markdown_cell(f"# {number} · {topic.title()}"),
        cell("", "bootstrap"),
        cell("seed = 0", "parameters"),
    ]
    kernel = {"kernelspec": navigation.KERNEL}
    nbformat.write(new_notebook(cells=[*start, *cells], metadata=kernel), path)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two notebooks in a temporary folder; returns that folder."""
    for name in ("PROFILE", "DATASET", "SEED"):
        monkeypatch.delenv(f"XAI_DERM_{name}", raising=False)
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setattr(navigation, "root", lambda: tmp_path)
    monkeypatch.setattr(report, "root", lambda: tmp_path)
    monkeypatch.setattr(reference, "root", lambda: tmp_path)
    shutil.copy(root() / "pyproject.toml", tmp_path)
    shutil.copytree(root() / "report", tmp_path / "report")
    (tmp_path / "data").mkdir()
    shutil.copy(root() / "data" / "README.md", tmp_path / "data")
    notebooks = tmp_path / "notebooks"
    table = "import pandas as pd\npd.DataFrame({'lesion': ['a', 'b'], 'size': [1, 20]})"
    formula = new_markdown_cell("## 1. Why?\n\n$$ \\frac{1}{2} $$")
    write(notebooks / "01_one.ipynb", formula, cell("import sys; sys.prefix"))
    write(
        notebooks / "02_two.ipynb",
        new_markdown_cell("## 1. What?"),
        cell(table),
        cell("answer = seed", "solution"),
    )
    return tmp_path


def test_a_run_prints_one_line_a_notebook_and_leaves_the_copies(course, capfd):
    runner.run(parameters={"seed": 3})
    printed = capfd.readouterr()
    first, second = printed.out.splitlines()
    assert first.startswith("01_one  ████████████████████  6/6 cells  0:0")
    assert second.startswith("02_two  ████████████████████  7/7 cells  0:0")
    assert first.endswith("✔") and second.endswith("✔")
    assert printed.err == ""
    copy = nbformat.read(course / "out/notebooks/01_one.ipynb", as_version=4)
    assert any(c.source.endswith("seed = 3\n") for c in copy.cells)
    assert dict(copy.metadata.run)["Profile"] == "quick"


def test_the_kernel_is_this_interpreter(course):
    runner.run(["01_one"])
    copy = nbformat.read(course / "out/notebooks/01_one.ipynb", as_version=4)
    assert copy.cells[-1].outputs[0].data["text/plain"] == repr(sys.prefix)


def test_a_notebook_is_run_in_its_own_folder(course):
    write(
        course / "notebooks/03_three.ipynb",
        cell("import os; assert os.getcwd().endswith('notebooks')"),
    )
    runner.run(["notebooks/03_three.ipynb"])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os; os._exit(1)", "Kernel died"),
    ],
)
def test_a_failing_notebook_is_told_where_and_why(course, capfd, code, reason):
    write(
        course / "notebooks/03_three.ipynb",
        new_markdown_cell("## 2. Does it divide?"),
        cell(code),
        cell("'never'"),
    )
    with pytest.raises(SystemExit) as stop:
        report.main(["run", "03_three"])
    message = str(stop.value.code)
    assert "03_three failed in cell 5 of 6, under “2. Does it divide?”" in message
    assert reason in message and "\x1b" not in message
    left = course / "out/notebooks/03_three.ipynb"
    assert str(left) in message and left.exists()
    line = capfd.readouterr().out.splitlines()[-1]
    assert line.startswith("03_three  █") and line.endswith("✘")
    with pytest.raises(CourseError, match="01_one has not been run"):
        report.site()


def test_control_c_ends_with_the_way_on(course, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", stop)
    monkeypatch.setattr(report.logging, "disable", lambda: None)
    with pytest.raises(SystemExit, match="stopped; the same command goes on"):
        report.main(["run", "03_three"])


def test_a_cell_that_takes_too_long_is_stopped(course, monkeypatch):
    monkeypatch.setitem(runner.CELL_SECONDS, "quick", 1)
    write(course / "notebooks/03_three.ipynb", cell("while True: pass"))
    with pytest.raises(CourseError, match="took too long"):
        runner.run(["03_three"])


@pytest.mark.parametrize(
    ("names", "parameters", "reason"),
    [
        (["09_nine"], {}, "no notebook '09_nine'; there are 01_one, 02_two"),
        ([], {"sed": 1}, "01_one has no parameter 'sed'; it has seed"),
        ([], {"profile": "huge"}, "unknown profile 'huge'; choose quick or full"),
        ([], {"dataset": "cats"}, "unknown data set 'cats'"),
    ],
)
def test_a_slip_is_refused_before_anything_runs(course, names, parameters, reason):
    with pytest.raises(CourseError, match=reason):
        runner.run(names, parameters)
    assert not (course / "out").exists()


def test_values_from_the_command_line():
    assert [runner.value(text) for text in ("3", "True", "full", "[1, 2]")] == [
        3,
        True,
        "full",
        [1, 2],
    ]


def test_navigation_is_written_once_and_for_all(course):
    with pytest.raises(CourseError, match="links out of step in 01_one"):
        navigation.check_navigation()
    path = course / "notebooks/01_one.ipynb"
    before = [c.id for c in nbformat.read(path, as_version=4).cells]
    assert len(navigation.write_navigation()) == 2
    text = path.read_text("utf-8")
    assert text.startswith('{\n "cells"') and text.endswith("}\n")
    cells = nbformat.read(path, as_version=4).cells
    assert [c.id for c in cells] == [*before, "navigation"]
    assert cells[0].source.startswith("# 01 · One\n\n[Open in Colab](https://colab.")
    assert cells[-1].source.endswith("[02 · Two →](02_two.ipynb)")
    assert navigation.write_navigation() == []
    navigation.check_navigation()


def test_the_bootstrap_cell_is_short_and_does_nothing_here(course):
    navigation.write_navigation()
    source = nbformat.read(course / "notebooks/01_one.ipynb", as_version=4)
    code = source.cells[1].source
    assert len(code.splitlines()) <= 8
    assert f'"xai-derm @ git+{navigation.repository()}"' in code
    runner.run(["01_one"])
    copy = nbformat.read(course / "out/notebooks/01_one.ipynb", as_version=4)
    assert copy.cells[1].outputs == []


def test_a_release_points_to_its_own_tag(course):
    """So that a notebook of a release installs the helpers of that release."""
    settings = course / "pyproject.toml"
    line = re.compile(r'(?m)^version = "[^"]+"')
    settings.write_text(line.sub('version = "0.2.0"', settings.read_text("utf-8")))
    navigation.write_navigation()
    cells = nbformat.read(course / "notebooks/01_one.ipynb", as_version=4).cells
    assert f'"xai-derm @ git+{navigation.repository()}@v0.2.0"' in cells[1].source
    assert cells[0].source.count("/blob/v0.2.0/notebooks/01_one.ipynb)") == 2
    settings.write_text(line.sub('version = "0.3.0.dev0"', settings.read_text("utf-8")))
    navigation.write_navigation()
    cells = nbformat.read(course / "notebooks/01_one.ipynb", as_version=4).cells
    assert f'"xai-derm @ git+{navigation.repository()}"' in cells[1].source
    assert cells[0].source.count("/blob/main/notebooks/01_one.ipynb)") == 2


def test_on_colab_the_bootstrap_cell_keeps_what_is_there(course):
    colab = """\
import sys
sys.modules["google.colab"] = sys
get_ipython().register_magic_function(print, magic_name="pip")"""
    code = navigation.BOOTSTRAP.format(repository="https://example.org/course", at="")
    write(course / "notebooks/03_three.ipynb", cell(colab), cell(code))
    runner.run(["03_three"])
    copy = nbformat.read(course / "out/notebooks/03_three.ipynb", as_version=4)
    printed = copy.cells[-1].outputs[0].text
    assert f"install -q torch=={version('torch')} torchvision==" in printed
    assert printed.endswith('"xai-derm @ git+https://example.org/course"\n')


SETTLES = """\
from helpers import ledger, settings
cfg = settings.load()
ledger._cases = lambda *_: (3, 5)  # no pictures are drawn for this test
ledger.settle(cfg, 13, holds=seed < 0, measured=f"{seed} < 0", n=1)"""


@pytest.mark.filterwarnings("ignore:.*Check CHANGES for Sphinx API")
def test_the_claims_ledger_is_a_page_and_a_run_can_be_kept(course, capsys):
    """Sphinx checks the links: from the ledger to the section, and between claims."""
    with pytest.raises(SystemExit, match="no notebook has been run"):
        report.main(["keep", "mine"])
    why = new_markdown_cell("## 2. Why *not*, by `half`?")
    write(course / "notebooks/02_two.ipynb", why, cell(SETTLES, "claim"))
    runner.run()
    report.main(["keep", "mine"])
    kept = course / "report/reference/mine.json"
    assert capsys.readouterr().out.endswith(f"{kept}\n") and kept.exists()
    page = (report.site().parent / "ledger.html").read_text("utf-8")
    assert "0 &lt; 0." in page and "does not hold" in page and "not run" in page
    assert 'href="notebooks/02_two.html#why-not-by-half"' in page
    assert "reference run mine" in page and "3 of 5 pictures" in page


@pytest.mark.filterwarnings("ignore:.*Check CHANGES for Sphinx API")
def test_the_site_is_made_of_what_ran(course):
    navigation.write_navigation()
    runner.run()
    stale = course / "out/site/notebooks/07_gone.html"
    stale.parent.mkdir(parents=True)
    stale.touch()
    index = report.site()
    assert index == course / "out/site/index.html" and not stale.exists()
    front = index.read_text("utf-8")
    assert 'href="notebooks/01_one.html"' in front and "in preparation" in front
    assert "%profile%" not in front and "synthetic" in front
    page = (index.parent / "notebooks/02_two.html").read_text("utf-8")
    assert "google.colab" not in page and "Show the solution" in page
    assert '<td class="number">20</td>' in page and "<td>b</td>" in page
    for ending in ("ipynb", "html"):
        assert f'href="../editions/02_two.{ending}"' in page
        assert (index.parent / f"editions/02_two.{ending}").exists()
    assert "PyTorch" in (index.parent / "run_times.html").read_text("utf-8")
    cards = (index.parent / "model_cards.html").read_text("utf-8")
    assert "No model has been trained" in cards


def test_the_editions_are_made_of_what_ran_and_the_student_edition_runs(course, capsys):
    with pytest.raises(SystemExit, match="01_one has not been run"):
        report.main(["editions"])
    runner.run()
    capsys.readouterr()
    report.main(["editions"])
    student, reading = course / "out/student", course / "out/reading"
    assert capsys.readouterr().out.split() == [
        *(str(student / f"{name}.ipynb") for name in ("01_one", "02_two")),
        *(str(reading / f"{name}.html") for name in ("01_one", "02_two")),
    ]
    assert "Show the solution" in (reading / "02_two.html").read_text("utf-8")
    assert "answer = seed" not in (student / "02_two.ipynb").read_text("utf-8")
    runner.run(folder=student)


def test_the_cards_of_the_models_are_a_page(folders):
    with files.atomic(files.below_out("results", "cards", "E.md")) as part:
        part.write_text("# Model card: recipe E\n\n**Data.** made up.\n")
    page = report.model_cards()
    assert page.startswith("# Model cards\n") and "\n## Model card: recipe E\n" in page
    assert "made up" in page and "No model" not in page


def test_a_site_needs_notebooks_that_ran_to_their_end(course):
    with pytest.raises(CourseError, match="01_one has not been run; run `make report`"):
        report.site()
    shutil.copytree(course / "notebooks", course / "out/notebooks")
    with pytest.raises(CourseError, match="01_one did not run to its end"):
        report.site()


def test_two_reports_at_once_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path))
    with (
        report.only_one(),
        pytest.raises(CourseError, match="another report"),
        report.only_one(),
    ):
        pass
