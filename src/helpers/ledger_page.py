"""The report's page *Claims ledger*: what others claim, what this run found of it.

The page is Markdown, so that Sphinx checks its links and finds its words; a few lines of
script filter it, and without them all of it is there.
"""

import re
from html import escape

import nbformat
import pandas as pd

from . import ledger
from .html_tables import with_numbers
from .settings import TITLES

SETTLES = re.compile(r"\bledger\.settle\(\s*cfg,\s*(\d+)\b")
MARKS = {
    ledger.HOLDS: "✔",
    ledger.FAILS: "✘",
    ledger.UNCHECKED: "–",
    ledger.UNTESTABLE: "?",
}
SAME = (ledger.PUBLISHED, ledger.TEXT)
NOT_RUN = "not run"
MARK_NOT_RUN = "○"


def places(notebooks: dict[str, nbformat.NotebookNode]) -> dict[int, list[tuple]]:
    """Where each claim is decided: (notebook, the section's heading, the cell)."""
    found: dict[int, list[tuple]] = {}
    for name, notebook in notebooks.items():
        heading = ""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                heads = re.findall(r"^##+ (.+)$", cell.source, re.MULTILINE)
                heading = heads[-1] if heads else heading
                continue
            for number in sorted({int(n) for n in SETTLES.findall(cell.source)}):
                found.setdefault(number, []).append((name, heading, cell))
    return found


def settled(notebooks: dict[str, nbformat.NotebookNode]) -> dict[int, dict]:
    """The claims that these executed notebooks settled, each with its `notebook`.

    An entry counts only if the deciding cell has printed it: one that another run left
    in the same folder since then is not this report's.
    """
    entries, found = ledger.entries(), {}
    for number, where in places(notebooks).items():
        for name, _, cell in where:
            printed = "".join(o.get("text", "") for o in cell.get("outputs", []))
            entry = entries.get(number)
            if entry and ledger.line(entry) in printed:
                found[number] = {**entry, "notebook": name}
    return dict(sorted(found.items()))


def page(notebooks: dict[str, nbformat.NotebookNode], references: dict) -> str:
    """The page: an overview, the filter, every claim, the reference runs."""
    where, now = places(notebooks), settled(notebooks)
    claims = [
        _claim(number, now.get(number), where.get(number, []), references)
        for number in ledger.claims().index
    ]
    parts = [
        "# Claims ledger",
        INTRO,
        _overview(now),
        _filter(now, references),
        *claims,
        *(_reference(name, run) for name, run in references.items()),
        f"```{{raw}} html\n<script>{SCRIPT}</script>\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _overview(now: dict[int, dict]) -> str:
    """How many claims have which verdict in this run, with links to them."""
    rows = ["| Verdict in this run | How many | Claims |", "| --- | --: | --- |"]
    for verdict in (*ledger.VERDICTS, NOT_RUN):
        numbers = [
            number
            for number in ledger.claims().index
            if now.get(number, {"verdict": NOT_RUN})["verdict"] == verdict
        ]
        links = ", ".join(f"[{number}](#claim-{number})" for number in numbers)
        mark = MARKS.get(verdict, MARK_NOT_RUN)
        rows.append(f"| {mark} {verdict} | {len(numbers)} | {links or '–'} |")
    return "\n".join(rows)


def _claim(number: int, entry: dict | None, where: list[tuple], references) -> str:
    """One claim: what is said, our judgement, this run, the reference runs, the cell."""
    claim = ledger.claims().loc[number]
    sources = claim.sources.split()
    marks = " ".join(f"source-{source}" for source in sources)
    who = f"Source{'s' * (len(sources) > 1)} {', '.join(sources)}"
    runs = [_run("this run", entry, "now")]
    for name, run in references.items():
        if number in run["claims"]:
            about = f"reference run {name}"
            runs.append(_run(about, run["claims"][number], "kept"))
    mark = MARKS[entry["verdict"]] if entry else MARK_NOT_RUN
    decided = f"Decided by: {_text(claim.decided)}"
    for name, heading, _ in where:
        address = f"notebooks/{name}.ipynb#{_anchor(heading)}"
        section = re.sub(r"^(\d+)\. ", r"section \1: ", heading)
        decided += f" [Notebook {name[:2]}, {section}]({address})"
    return "\n\n".join(
        [
            f"(claim-{number})=\n## {mark} {number} · {_text(claim.title)}",
            f":::::{{container}} claim {marks}",
            f"**{who}:** {_text(claim.says)}",
            _text(claim.judged),
            *runs,
            f":::{{container}} decided\n{decided}\n:::",
            ":::::",
        ]
    )


def _run(name: str, entry: dict | None, kind: str) -> str:
    """The verdict of a run on a claim, and what it rests on."""
    if entry is None:
        body = f"{MARK_NOT_RUN} **{NOT_RUN}.** No notebook of this run has settled it."
        classes, small = f"{kind} {_slug(NOT_RUN)}", name
    else:
        verdict = entry["verdict"]
        found = "; ".join(filter(None, [ledger.findings(entry), entry["why"]]))
        body = (
            f"{MARKS[verdict]} **{verdict}.** {_text(found[:1].upper() + found[1:])}."
        )
        classes = f"{kind} {_slug(verdict)} {_slug('on ' + ledger.data(entry))}"
        about = [f"on {entry['on']}"] if entry["on"] else []
        if entry["on"] in SAME:
            about[0] += ", the same in every run"
        else:
            about.append(_facts(entry))
        small = " · ".join(filter(None, [name, *about, ledger.size(entry)]))
    return f"::::{{container}} run {classes}\n{body}\n\n*{_text(small)}*\n::::"


def _facts(run: dict) -> str:
    """The run that an entry is from."""
    data, found, listed = TITLES[run["dataset"]], run["cases"], run["listed"]
    if found is not None:
        cases = f"{found:,}" if found == listed else f"{found:,} of {listed:,}"
        data += f" ({cases} pictures)"
    return f"{data}, {run['profile']} profile, seed {run['seed']}, {run['date']}"


def _filter(now: dict[int, dict], references: dict) -> str:
    """Three choices and a count; shown by the script that they need."""
    entries = [*now.values()]
    for run in references.values():
        entries += run["claims"].values()
    sources = sorted({s for row in ledger.claims().sources for s in row.split()})
    data = sorted({ledger.data(entry) for entry in entries})
    choices = {
        "source": {f"source-{s}": f"source {s}" for s in sources},
        "verdict": {_slug(v): v for v in (*ledger.VERDICTS, NOT_RUN)},
        "data": {_slug(f"on {name}"): name for name in data},
    }
    fields = []
    for name, options in choices.items():
        inside = "".join(
            f'<option value="{value}">{escape(text)}</option>'
            for value, text in {"": "all", **options}.items()
        )
        fields.append(
            f'<label>{name} <select autocomplete="off">{inside}</select></label>'
        )
    form = (
        '<form class="ledger-filter" aria-label="Filter the claims" hidden>'
        f'{"".join(fields)}<output aria-live="polite"></output></form>'
    )
    return f"```{{raw}} html\n{form}\n```"


def _reference(name: str, run: dict) -> str:
    """A reference run: what it was, and its tables, folded."""
    versions = ", ".join(f"{key} {value}" for key, value in run["versions"].items())
    facts = _facts(run)
    tables = []
    for title, table in run["tables"].items():
        html = table.map(_cell).to_html(border=0, index=False)
        tables.append(
            f"<details><summary>{escape(title)}.csv</summary>"
            f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(title)}" '
            f'style="overflow-x:auto">{with_numbers(html)}</div></details>'
        )
    folded = "```{raw} html\n" + "\n".join(tables) + "\n```"
    return "\n\n".join(
        [
            f"## Reference run {name}",
            f"{_text(facts[:1].upper() + facts[1:])}; {_text(versions)}. It "
            "settled the claims that carry its name above, and left these tables (what "
            "each is about, its notebook says):",
            folded if tables else "(none)",
        ]
    )


def _cell(value) -> str:
    """A value of a kept table: a dash for what is missing, counts without decimals."""
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        whole = value.is_integer() and value > 1
        return f"{value:,.0f}" if whole else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", str(text))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _anchor(heading: str) -> str:
    """The name that MyST gives a heading."""
    from myst_parser.mdit_to_docutils.base import default_slugify

    return default_slugify(heading)


INTRO = """\
The five source documents behind this course make claims. Here they are in our words, with
what the notebooks found of them and where. A verdict is about the data named beside it and
about nothing else: what was found on painted pictures says nothing about patients.
"Does not hold" means that the run did not show it; where the interval reaches past zero, it
did not show the opposite either. Square brackets hold an interval of 95%, drawn by lesion
where lesions are known. **Reference runs** are earlier ones whose numbers are kept with the
course; they stand apart, in dashed frames. Not for diagnosis."""

SCRIPT = """
(() => {
  const form = document.querySelector(".ledger-filter");
  const claims = [...document.querySelectorAll(".claim")];
  const [source, verdict, data] = form.querySelectorAll("select");
  const told = form.querySelector("output");
  const is = (node, choice) => !choice.value || node.classList.contains(choice.value);
  const apply = () => {
    let shown = 0;
    for (const claim of claims) {
      const runs = [...claim.querySelectorAll(".run")];
      const fits = is(claim, source) && runs.some(r => is(r, verdict) && is(r, data));
      claim.closest("section").hidden = !fits;
      shown += fits;
    }
    told.value = `${shown} of ${claims.length} claims shown`;
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  apply();
})()
"""
