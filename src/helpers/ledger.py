"""What five published sources claim, and what a run finds of it. Used in all notebooks.

`ledger.csv` lists the claims in our own words. A claim cell settles one of them: it says
so in a line, and leaves a small JSON below <out>/results/ledger, from which the report
makes its page *Claims ledger*. Each says on what data, so that runs are never mixed up.
"""

import io
import json
import math
import re
from contextlib import redirect_stdout
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import numpy as np
import pandas as pd

from . import datasets
from .files import atomic, below_out
from .settings import TITLES, CourseError, Settings, out_folder

HOLDS, FAILS = "holds", "does not hold"
UNCHECKED, UNTESTABLE = "cannot be checked", "untestable as stated"
VERDICTS = (HOLDS, FAILS, UNCHECKED, UNTESTABLE)
# What a claim may be settled on instead of the pictures of the run.
PUBLISHED, TEXT = "published numbers", "the source's own text"
PAINTED = "pictures painted for this question"
NO_NUMBER = re.compile(r"\b(nan|none|inf|nat)\b", re.IGNORECASE)


@cache
def claims() -> pd.DataFrame:
    """The claims by number: sources, title, says, judged, decided (all of them text)."""
    path = Path(__file__).with_name("ledger.csv")
    return pd.read_csv(path, index_col="number", dtype=dict.fromkeys(["sources"], str))


def settle(
    cfg: Settings,
    number: int,
    *,
    holds: bool | None = None,
    measured: str = "",
    value: tuple[float, ...] = (),
    n: int | None = None,
    verdict: str = "",
    why: str = "",
    on: str = "",
) -> None:
    """Settles a claim: prints its line, and keeps it for the report.

    `measured` says what was found, in words made of computed values, and `value` (mean,
    low, high) follows it. A claim that `holds` cannot judge has a `verdict`, UNCHECKED or
    UNTESTABLE, and says why. `on`: not on the run's pictures but on something else.
    """
    measured, why = " ".join(measured.split()), " ".join(why.split())
    value = [float(part) for part in value]
    _check(number, holds, measured, value, n, verdict, why, on)
    own = cfg.dataset, cfg.profile, cfg.seed
    found, listed = (None, None) if on else _cases(*own)  # of the run's own pictures
    entry = {
        "number": int(number),
        "verdict": verdict or (HOLDS if holds else FAILS),
        "measured": measured,
        "value": value,
        "n": n if n is None else int(n),
        "why": why,
        "on": on,
        "dataset": cfg.dataset,
        "cases": found,
        "listed": listed,
        "profile": cfg.profile,
        "seed": cfg.seed,
        "versions": versions(),
        "date": datetime.now().astimezone().date().isoformat(),
    }
    path = below_out("results", "ledger", f"{number:02d}.json")
    with atomic(path) as part:
        part.write_text(json.dumps(entry, indent=1, allow_nan=False), encoding="utf-8")
    print(line(entry))


def entries() -> dict[int, dict]:
    """What has been settled in this output folder, by number."""
    found = {}
    for path in sorted((out_folder() / "results" / "ledger").glob("[!.]*.json")):
        try:
            entry = json.loads(path.read_text("utf-8"))
            line(entry), entry["listed"], entry["versions"]
        except (OSError, ValueError, LookupError, TypeError):
            raise CourseError(
                f"{path}: not an entry of the ledger; delete it and run the notebook again"
            ) from None
        found[entry["number"]] = entry
    return found


def line(entry: dict) -> str:
    """An entry as the notebook prints it."""
    told = [findings(entry), entry["why"]]
    told = "; ".join(filter(None, told))
    title = claims().title[entry["number"]]
    return (
        f"⚖ claim {entry['number']} ({_sources(entry['number'])}), “{title}”: "
        f"{entry['verdict']}. "
        f"{told} ({', '.join(filter(None, [size(entry), data(entry)]))})"
    )


def findings(entry: dict) -> str:
    """What was measured, with its interval."""
    if not entry["value"]:
        return entry["measured"]
    mean, low, high = (f"{part:.3g}".replace("-", "−") for part in entry["value"])
    return f"{entry['measured']}: {mean} [{low}, {high}]"


def size(entry: dict) -> str:
    return f"n = {entry['n']:,}" if entry["n"] is not None else ""


def data(entry: dict) -> str:
    """What it was settled on."""
    return entry["on"] or TITLES[entry["dataset"]]


def versions() -> dict[str, str]:
    """What computed it."""
    packages = {name: version(name) for name in ("xai-derm", "torch", "numpy")}
    return {"python": python_version(), **packages}


def _sources(number: int) -> str:
    names = claims().sources[number].split()
    return f"source{'s' * (len(names) > 1)} {', '.join(names)}"


@cache
def _cases(dataset: str, profile: str, seed: int) -> tuple[int, int]:
    """How many pictures of a data set are here, and how many it lists."""
    with redirect_stdout(io.StringIO()):  # the notebook has said all this
        folder = datasets.folder_of(dataset, profile, seed)
        table = datasets.load(dataset, folder, need_images=False)
    return int(table.path.notna().sum()), len(table)


def _check(number, holds, measured, value, n, verdict, why, on) -> None:
    """Refuses an entry that would say nothing, or what it cannot know."""
    known = claims().index
    if not isinstance(number, int) or number not in known:
        raise CourseError(
            f"the ledger has no claim {number!r}, only {known[0]} to {known[-1]}: "
            "give the number of a row of ledger.csv"
        )
    told = f"claim {number}: "
    if (holds is None) == (not verdict):
        raise CourseError(
            f"{told}give holds=True or holds=False, or a verdict, and not both"
        )
    if verdict and verdict not in (UNCHECKED, UNTESTABLE):
        raise CourseError(
            f"{told}unknown verdict {verdict!r}; choose {UNCHECKED!r} or {UNTESTABLE!r}, "
            "or say holds=True or holds=False"
        )
    if verdict and not why:
        raise CourseError(f"{told}{verdict!r} needs a reason: say why=…")
    if not verdict and not isinstance(holds, bool | np.bool_):
        raise CourseError(f"{told}holds must be True or False, not {holds!r}")
    if not verdict and not measured:
        raise CourseError(f"{told}a verdict rests on a number: say what was measured=…")
    if lost := NO_NUMBER.search(measured):
        raise CourseError(
            f"{told}what was measured has {lost[0]!r} in it; find out why, or give the "
            f"verdict {UNCHECKED!r} with a reason"
        )
    whole = len(value) == 3 and all(map(math.isfinite, value))
    if value and not (whole and value[1] <= value[2]):
        raise CourseError(
            f"{told}value must be a mean with its interval (mean, low, high), all of "
            f"them numbers, not {tuple(value)}"
        )
    if n is None and not verdict and on != TEXT:
        raise CourseError(f"{told}of how many? say n=…")
    if n is not None and not (isinstance(n, int | np.integer) and n > 0):
        raise CourseError(f"{told}n must be a whole number above 0, not {n!r}")
    if on not in ("", PUBLISHED, TEXT, PAINTED):
        raise CourseError(
            f"{told}settled on {on!r}? Choose {PUBLISHED!r}, {TEXT!r} or {PAINTED!r}, "
            "or leave it out for the pictures of the run"
        )
