"""Reference runs: the numbers of a run, kept in the repository. Used by the report.

A reference run is one JSON in report/reference: data set and how much of it, profile,
seed, versions, the claims settled on that data set's pictures, and the run's tables. It
holds no picture, and nothing that was measured on other data.
"""

import json
import re
from pathlib import Path

import nbformat
import pandas as pd

from . import ledger
from .files import atomic
from .settings import CourseError, out_folder, root

LIMIT = 200_000  # bytes of a reference run
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
RUN = ("dataset", "cases", "listed", "profile", "seed", "versions", "date")
OWN = ("Data set", "Profile", "Seed")  # what a run's notebooks must have in common


def keep(
    name: str,
    notebooks: dict[str, nbformat.NotebookNode],
    entries: dict[int, dict],
) -> Path:
    """Keeps a run as report/reference/<name>.json, from the notebooks that were run.

    `entries` are the claims that these notebooks settled. What a notebook took from
    another data set than the run's is left out, and said.
    """
    if not NAME.fullmatch(name):
        raise CourseError(
            f"{name!r} is no name for a reference run: use small letters, digits and "
            "hyphens, such as ph2-quick"
        )
    path = root() / "report" / "reference" / f"{name}.json"
    if path.exists():
        raise CourseError(f"{path} is there already: delete it, or give another name")
    dataset = _one_run(notebooks)
    own = [e for e in entries.values() if e["dataset"] == dataset and not e["on"]]
    if not own:
        raise CourseError(
            f"no claim was settled on {dataset}: run the notebooks first "
            "(python -m helpers.report run)"
        )
    other = {e["notebook"] for e in entries.values() if e["dataset"] != dataset}
    for stem in sorted(other):
        print(f"{stem} took another data set than {dataset}: left out")
    kept = {key: own[0][key] for key in RUN}
    claims = [{k: v for k, v in e.items() if k not in RUN} for e in own]
    tables = _tables({n: b for n, b in notebooks.items() if n not in other})
    text = json.dumps(
        {**kept, "claims": claims, "tables": tables}, indent=1, allow_nan=False
    )
    if len(text.encode()) > LIMIT:
        longest = max(tables, key=lambda table: len(tables[table]["rows"]))
        raise CourseError(
            f"the run has {len(text.encode()):,} bytes of numbers, and {LIMIT:,} are "
            f"kept; the longest table is {longest}: shorten it, or delete its file"
        )
    with atomic(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return path


def runs() -> dict[str, dict]:
    """The reference runs of the repository, by name; their claims by number."""
    found = {}
    for path in sorted((root() / "report" / "reference").glob("*.json")):
        try:
            run = json.loads(path.read_text("utf-8"))
            shared = {key: run[key] for key in RUN}
            claims = {e["number"]: {**shared, **e} for e in run["claims"]}
            for entry in claims.values():
                ledger.line(entry)
            tables = {
                name: pd.DataFrame(table["rows"], columns=table["columns"])
                for name, table in run["tables"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise CourseError(
                f"{path}: not a reference run; delete it, and keep the run again"
            ) from None
        found[path.stem] = {**shared, "claims": claims, "tables": tables}
    return found


def _one_run(notebooks: dict[str, nbformat.NotebookNode]) -> str:
    """The data set that all of these notebooks ran on, in one profile with one seed."""
    told = {
        stem: ", ".join(dict(book.metadata.run)[fact] for fact in OWN)
        for stem, book in notebooks.items()
    }
    if len(set(told.values())) > 1:
        mixed = "; ".join(f"{stem}: {facts}" for stem, facts in told.items())
        raise CourseError(
            f"these notebooks are of different runs ({mixed}): run them again alike, "
            "into a folder of their own (XAI_DERM_OUT)"
        )
    return next(iter(told.values())).split(", ")[0]


def _tables(notebooks: dict[str, nbformat.NotebookNode]) -> dict[str, dict]:
    """The tables that these notebooks left among the results: columns and rows."""
    code = "\n".join(cell.source for book in notebooks.values() for cell in book.cells)
    found = {}
    for path in sorted((out_folder() / "results" / "tables").glob("[!.]*.csv")):
        if f'"{path.stem}"' in code:
            table = pd.read_csv(path).rename(
                columns=lambda c: re.sub("^Unnamed.*", "", c)
            )
            rows = [[_plain(value) for value in row] for row in table.to_numpy(object)]
            found[path.stem] = {"columns": list(table.columns), "rows": rows}
    return found


def _plain(value):
    """A value as JSON has it: six digits are enough, and what is missing is null."""
    if pd.isna(value):
        return None
    return float(f"{value:.6g}") if isinstance(value, float) else value
