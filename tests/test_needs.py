"""What each notebook needs: measured by the runner, on a page, and in the README."""

import re
import subprocess
import sys

from errors import refused
from nbformat.v4 import new_markdown_cell, new_notebook

from helpers import navigation, needs, runner
from helpers.settings import root

FACTS = [("Profile", "quick"), ("Data set", "synthetic"), ("Device", "cpu")]


def ran(seconds, gib, device="cpu"):
    facts = [*FACTS[:2], ("Device", device), ("Cores of the machine", "2")]
    return new_notebook(
        cells=[new_markdown_cell("# 01 · One")],
        metadata={
            "run": facts,
            "papermill": {"duration": seconds},
            "peak_memory": int(gib * 2**30),
        },
    )


def test_the_memory_of_what_we_started_is_seen():
    """A child that holds 200 MB until it is told to go, and one more process."""
    big = "b = b'x' * 200_000_000; print(flush=True); input()"
    with runner.peak_memory() as peak:
        child = subprocess.Popen(
            [sys.executable, "-c", big],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        child.stdout.readline()
        looks = len(peak)
        while len(peak) < looks + 2:  # a look that began after it held them
            pass
        child.communicate(b"\n")
    assert peak[0] == 0 and 200e6 < max(peak) < 400e6


def test_the_page_has_the_numbers_of_the_run():
    page = needs.page({"01_one": ran(65.4, 1.26), "02_two": ran(5, 0.5, "Tesla T4")})
    assert "[01 · One](notebooks/01_one.ipynb) | 1 | 65 | 1.3 | not needed |" in page
    assert "| 5 | 0.5 | Tesla T4 |" in page
    assert "- Data set: `synthetic`" in page and "`Tesla T4` and `cpu`" in page


def test_the_readme_rounds_up_and_keeps_its_other_sections(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n\n{needs.SECTION}\n\nold\n\n| old |\n\n## B\n\nkept\n")
    runs = {"01_one": ran(60.1, 1.26), "02_two": ran(60, 1.5)}
    needs.write(runs, readme)
    text = readme.read_text()
    assert "| [01](notebooks/01_one.ipynb) | 2 | 1.5 GB | not needed |" in text
    assert "| [02](notebooks/02_two.ipynb) | 1 | 1.5 GB | not needed |" in text
    assert "profile `quick`, data set `synthetic` and `2` cores" in text
    assert "old" not in text and text.endswith(" |\n\n## B\n\nkept\n")
    needs.write(runs, readme)
    assert readme.read_text() == text
    readme.write_text("# A\n")
    refused(lambda: needs.write(runs, readme), readme, needs.SECTION)


def test_the_readme_names_every_notebook():
    text = (root() / "README.md").read_text("utf-8")
    section = text.split(f"\n{needs.SECTION}\n")[1].split("\n## ")[0]
    row = r"^\| \[(\d\d)\]\(notebooks/(.+)\.ipynb\) \| \d+ \| [\d.]+ GB \| \w.* \|$"
    rows = re.findall(row, section, re.MULTILINE)
    stems = [path.stem for path in navigation.sources()]
    assert rows == [(stem[:2], stem) for stem in stems]
