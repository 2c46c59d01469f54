"""What each notebook needed in a run: time, memory, a GPU. Used by the report.

The report's page *Run times* gives the numbers as they were measured; the README's
section has them rounded up, as a promise that a machine a bit slower can keep.
"""

import math
import re
from pathlib import Path
from textwrap import wrap

from nbformat import NotebookNode

from . import navigation
from .settings import CourseError, root

GIB = 2**30
SECTION = "## What each notebook needs"


def measured(notebook: NotebookNode) -> tuple[float, float, str]:
    """Seconds, peak memory in GiB, device of a notebook's run."""
    device = dict(notebook.metadata.run)["Device"]
    seconds = notebook.metadata.papermill.duration
    return seconds, notebook.metadata.peak_memory / GIB, device


def page(notebooks: dict[str, NotebookNode]) -> str:
    """The report's page *Run times*."""
    rows = [
        "| Notebook | Cells | Seconds | Peak memory (GiB) | GPU |",
        "| --- | --: | --: | --: | --- |",
    ]
    for name, notebook in notebooks.items():
        link = f"[{navigation.title(notebook)}](notebooks/{name}.ipynb)"
        seconds, memory, device = measured(notebook)
        numbers = f"{len(notebook.cells)} | {seconds:.0f} | {memory:.1f}"
        rows.append(f"| {link} | {numbers} | {_gpu(device)} |")
    some = next(iter(notebooks.values()))
    facts = [f"- {fact}: {of_all(fact, notebooks)}" for fact, _ in some.metadata.run]
    intro = (
        "How long each notebook took in the run that made this report, from its first "
        "cell to its last, how much memory its processes held at most, and on what. "
        "What was trained or computed in an earlier run is read, not made again.\n"
    )
    return "\n".join(["# Run times\n", intro, *rows, "", *facts, ""])


def write(notebooks: dict[str, NotebookNode], readme: Path | None = None) -> Path:
    """Puts the table into the README, in the place of its last one; returns the file."""
    readme = readme or root() / "README.md"
    text = readme.read_text("utf-8")
    old = re.compile(rf"(?<=^{SECTION}\n\n).*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if len(old.findall(text)) != 1:
        raise CourseError(f"{readme} needs one section {SECTION!r}, to be written anew")
    new = section(notebooks).replace("\\", r"\\")
    readme.write_text(old.sub(new + "\n", text), "utf-8")
    return readme


def section(notebooks: dict[str, NotebookNode]) -> str:
    """The text of the README's section: rounded up, minutes to whole ones."""
    profile, dataset, cores = (
        of_all(fact, notebooks)
        for fact in ("Profile", "Data set", "Cores of the machine")
    )
    rows = ["| | minutes | memory | GPU |", "| --- | --: | --: | --- |"]
    for name, notebook in notebooks.items():
        seconds, memory, device = measured(notebook)
        link = f"[{name[:2]}](notebooks/{name}.ipynb)"
        minutes, memory = math.ceil(seconds / 60), math.ceil(2 * memory) / 2
        rows.append(f"| {link} | {minutes} | {memory:g} GB | {_gpu(device)} |")
    intro = (
        f"Measured by a run with profile {profile}, data set {dataset} and {cores} "
        "cores, and rounded up; a run that finds the models of an earlier one is shorter. "
        "Your own run's numbers are on the report's page *Run times*."
    )
    return "\n".join([*wrap(intro, 96), "", *rows, ""])


def _gpu(device: str) -> str:
    return "not needed" if device == "cpu" else device


def of_all(fact: str, notebooks: dict[str, NotebookNode]) -> str:
    """What the notebooks' runs have as this fact: one value, unless they differ."""
    values = {dict(notebook.metadata.run)[fact] for notebook in notebooks.values()}
    return " and ".join(f"`{value}`" for value in sorted(values))
