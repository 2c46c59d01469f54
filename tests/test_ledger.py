"""The claims ledger: what is refused, what is kept, which cell decides, what is shown."""

import ast
import json
import re

import nbformat
import numpy as np
import pytest
from errors import refused
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import ledger, ledger_page, navigation, reference, settings

NOTEBOOKS = {p.stem: nbformat.read(p, as_version=4) for p in navigation.sources()}
GOOD = {"holds": False, "measured": "3 of 4", "n": 4}


@pytest.fixture
def cfg(folders, monkeypatch):
    """The settings of a run on a data set of which 3 of 5 pictures are there."""
    for name in ("PROFILE", "DATASET", "SEED"):
        monkeypatch.delenv(f"XAI_DERM_{name}", raising=False)
    monkeypatch.setattr(ledger, "_cases", lambda *_: (3, 5))
    return settings.load(dataset="ph2", seed=7)


def test_the_claims_are_28_of_the_five_sources():
    claims = ledger.claims()
    assert list(claims.index) == list(range(1, 29))
    assert {s for row in claims.sources for s in row.split()} == {
        f"00{n}" for n in range(5)
    }
    texts = claims[["title", "says", "judged", "decided"]]
    assert texts.map(lambda text: 5 < len(text) < 300).all(axis=None)
    assert claims.title.is_unique and claims.title.str.len().max() <= 50


def test_a_settled_claim_is_a_line_and_a_file(cfg, capsys):
    ledger.settle(
        cfg, 3, holds=np.False_, measured="a  gap\nof", value=(0.5, 0.25, 1), n=4
    )
    line = "⚖ claim 3 (sources 002, 003), “Grad-CAM++ uses higher derivatives”: "
    told = "does not hold. a gap of: 0.5 [0.25, 1] (n = 4, PH2)\n"
    assert capsys.readouterr().out == line + told
    (path,) = (cfg.out / "results" / "ledger").iterdir()
    entry = json.loads(path.read_text("utf-8"))
    assert ledger.entries() == {3: entry}
    assert entry["value"] == [0.5, 0.25, 1] and entry["n"] == 4
    asked = ("dataset", "cases", "listed", "profile", "seed")
    assert [entry[key] for key in asked] == ["ph2", 3, 5, "quick", 7]
    assert entry["versions"].keys() >= {"python", "torch"} and entry["date"]


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        (GOOD, "does not hold"),
        (GOOD | {"holds": True}, "holds"),
        ({"verdict": ledger.UNCHECKED, "why": "no masks"}, "cannot be checked"),
        ({"verdict": ledger.UNTESTABLE, "why": "no bar"}, "untestable as stated"),
    ],
)
def test_the_four_verdicts(cfg, capsys, more, verdict):
    ledger.settle(cfg, 5, **more)
    assert ledger.entries()[5]["verdict"] == verdict
    assert f": {verdict}. " in capsys.readouterr().out


def test_the_last_word_counts(cfg):
    ledger.settle(cfg, 5, **GOOD)
    ledger.settle(cfg, 5, **GOOD | {"holds": True})
    assert ledger.entries()[5]["verdict"] == "holds"


def test_what_was_not_measured_on_the_run_says_so(cfg, capsys):
    ledger.settle(cfg, 13, **GOOD, on=ledger.PUBLISHED)
    ledger.settle(cfg, 15, holds=False, measured="two of three", on=ledger.TEXT)
    out = capsys.readouterr().out
    assert "(n = 4, published numbers)\n" in out and "own text)\n" in out
    assert "PH2" not in out


@pytest.mark.parametrize(
    ("number", "more", "told"),
    [
        (29, GOOD, "no claim 29, only 1 to 28"),
        (0, GOOD, "no claim 0"),
        (np.nan, GOOD, "no claim nan"),
        ("3", GOOD, "no claim '3'"),
        (3, {}, "holds=True or holds=False, or a verdict"),
        (3, GOOD | {"verdict": ledger.UNCHECKED, "why": "x"}, "not both"),
        (3, {"verdict": ledger.UNCHECKED}, "needs a reason"),
        (3, {"verdict": ledger.UNTESTABLE, "why": " "}, "needs a reason"),
        (3, {"verdict": "maybe", "why": "x"}, "unknown verdict 'maybe'"),
        (3, {"verdict": ledger.HOLDS, "why": "x"}, "say holds=True"),
        (3, GOOD | {"holds": np.nan}, "True or False, not nan"),
        (3, GOOD | {"holds": 1}, "True or False, not 1"),
        (3, {"holds": True, "n": 3}, "what was measured"),
        (3, GOOD | {"measured": f"{np.nan:.2f} apart"}, "'nan' in it"),
        (3, GOOD | {"measured": f"{np.inf:.2f} apart"}, "'inf' in it"),
        (3, GOOD | {"value": (np.nan, 0, 1)}, "all of them numbers"),
        (3, GOOD | {"value": (0.5, 0, np.inf)}, "all of them numbers"),
        (3, GOOD | {"value": (0.5, 1)}, "a mean with its interval"),
        (3, GOOD | {"value": (0.5, 1, 0)}, "a mean with its interval"),
        (3, {"holds": True, "measured": "x"}, "of how many"),
        (3, GOOD | {"n": 0}, "a whole number above 0"),
        (3, GOOD | {"n": 2.5}, "a whole number above 0"),
        (3, GOOD | {"on": "a hunch"}, "'a hunch'"),
    ],
)
def test_what_says_nothing_is_refused_and_nothing_written(cfg, number, more, told):
    refused(lambda: ledger.settle(cfg, number, **more), told)
    assert not (cfg.out / "results").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"number": 99}', "\x00"])
def test_a_broken_entry_is_named(cfg, text):
    path = cfg.out / "results" / "ledger" / "03.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    refused(ledger.entries, path, "delete it")


def test_how_many_pictures_are_here(drawn, monkeypatch):
    monkeypatch.setattr(ledger.datasets, "folder_of", lambda *_: drawn)
    found, listed = ledger._cases.__wrapped__("synthetic", "quick", 0)
    assert found == listed == len(ledger.datasets.load("synthetic", drawn)) > 50


# Which cell decides


def test_every_claim_has_exactly_one_cell_that_decides_it():
    places = ledger_page.places(NOTEBOOKS)
    assert {number for number, where in places.items() if len(where) > 1} == set()
    assert set(places) == set(ledger.claims().index)
    for ((_, heading, cell),) in places.values():
        assert heading and "claim" in cell.metadata["tags"]


def calls():
    return [
        pytest.param(cell.source, id=f"{name}-{cell.id}")
        for name, notebook in NOTEBOOKS.items()
        for cell in notebook.cells
        if "ledger.settle(" in cell.source
    ]


def words(node, given):
    """The texts that an expression is put together from, in the cell's own names."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield from words(part, given)
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            for value in given.get(name, []):
                yield from words(value, given)
        case ast.BinOp(left=left, right=right):
            yield from words(left, given)
            yield from words(right, given)


@pytest.mark.parametrize("source", calls())
def test_what_was_measured_is_computed_not_typed(source):
    """No digit stands in the words, and no verdict but those that judge nothing."""
    nodes, given = list(ast.walk(ast.parse(source))), {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AugAssign):
            for target in getattr(node, "targets", None) or [node.target]:
                given.setdefault(getattr(target, "id", ""), []).append(node.value)
    settles = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ledger.settle"
    ]
    assert settles
    for call in settles:
        told = {key.arg: key.value for key in call.keywords}
        for name in ("holds", "value", "measured"):
            assert not isinstance(told.get(name), ast.Constant), ast.unparse(call)
        said = list(words(told.get("measured"), given))
        assert said or "why" in told or None in told, ast.unparse(call)
        assert not re.search(r"\d", " ".join(said)), said


# What the report shows


def executed(line="", number=3, dataset="PH2", source="", name="04_second"):
    """A notebook as it ran, with a cell that settles a claim and printed this line."""
    outputs = [new_output("stream", text=line)] if line else []
    code = source or f"ledger.settle(\n    cfg, {number}, holds=found)"
    cells = [
        new_markdown_cell(f"# {name[:2]} · What?"),
        new_markdown_cell("## 2. What is *left* of it?\nwords\n"),
        new_code_cell(code, outputs=outputs, metadata={"tags": ["claim"]}),
    ]
    run = [["Profile", "quick"], ["Data set", dataset], ["Seed", "7"]]
    return {name: new_notebook(cells=cells, metadata={"run": run})}


@pytest.fixture
def ran(cfg, capsys, tmp_path, monkeypatch):
    """An executed notebook that settled claim 3 on PH2, and a repository of its own."""
    monkeypatch.setattr(reference, "root", lambda: tmp_path)
    ledger.settle(cfg, 3, holds=False, measured="a_gap <b>", value=(1, 0, 2), n=4)
    books = executed(capsys.readouterr().out, dataset="ph2")
    tables = cfg.out / "results" / "tables"
    tables.mkdir()
    (tables / "04_cost.csv").write_text(",share,n\na,0.1234567891,3\nb,,4\n")
    (tables / "04_gone.csv").write_text(",share\na,1\n")
    books["04_second"].cells.append(new_code_cell('figures.table(x, name="04_cost")'))
    return books


def test_only_what_the_notebook_printed_is_shown(ran, cfg):
    assert ledger_page.settled(ran)[3]["notebook"] == "04_second"
    ledger.settle(cfg, 3, **GOOD)  # another run, into the same folder
    assert ledger_page.settled(ran) == {}
    assert ledger_page.settled(executed()) == {}


def test_the_page_has_every_claim_and_says_what_was_not_run(ran):
    page = ledger_page.page(ran, {}).replace("\\:", ":").replace("\\,", ",")
    numbers = re.findall(r"^\(claim-(\d+)\)=$", page, re.MULTILINE)
    assert [int(n) for n in numbers] == list(ledger.claims().index)
    assert page.count("○ **not run.** No notebook") == 27
    assert "✘ **does not hold.** A\\_gap \\<b\\>: 1 \\[0, 2\\]" in page
    assert "(notebooks/04_second.ipynb#2-what-is-left-of-it)" in page
    assert "| ✘ does not hold | 1 | [3](#claim-3) |" in page
    assert "PH2 \\(3 of 5 pictures\\)" in page
    assert '<option value="on-ph2">PH2</option>' in page


def test_a_reference_run_is_kept_and_shown_apart(ran):
    path = reference.keep("ph2-quick", ran, ledger_page.settled(ran))
    kept = json.loads(path.read_text("utf-8"))
    assert [kept[key] for key in ("dataset", "cases", "listed")] == ["ph2", 3, 5]
    assert kept["tables"] == {
        "04_cost": {
            "columns": ["", "share", "n"],
            "rows": [["a", 0.123457, 3], ["b", None, 4]],
        }
    }
    runs = reference.runs()
    assert runs["ph2-quick"]["claims"][3]["value"] == [1, 0, 2]
    page = ledger_page.page(executed(number=9), runs)
    claim = page.split("(claim-3)=")[1].split("(claim-4)=")[0]
    mine, other = re.findall(r"\{container\} run (\w+) ([\w-]+)", claim)
    assert mine == ("now", "not-run") and other == ("kept", "does-not-hold")
    assert "reference run ph2\\-quick" in claim
    assert "## Reference run ph2-quick" in page and "04_cost.csv" in page
    cells = '<td class="number">0.123</td>', '<td class="number">3</td>'
    assert re.search(r"\s*".join(cells), page)
    assert '<option value="on-ph2">PH2</option>' in page


def test_another_data_set_is_left_out_of_a_reference_run(ran, cfg, capsys):
    other = settings.load(dataset="synthetic", seed=7)
    ledger.settle(other, 18, **GOOD)
    books = ran | executed(capsys.readouterr().out, 18, "ph2", name="05_words")
    books["05_words"].cells.append(new_code_cell('figures.table(x, name="05_slots")'))
    (cfg.out / "results" / "tables" / "05_slots.csv").write_text(",a\nb,1\n")
    ledger.settle(cfg, 13, **GOOD, on=ledger.PUBLISHED)
    books |= executed(capsys.readouterr().out, 13, "ph2", name="01_audit")
    entries = ledger_page.settled(books)
    assert set(entries) == {3, 13, 18}
    kept = json.loads(reference.keep("mine", books, entries).read_text("utf-8"))
    assert [claim["number"] for claim in kept["claims"]] == [3]
    assert set(kept["tables"]) == {"04_cost"}
    assert "05_words took another data set than ph2" in capsys.readouterr().out


def test_a_reference_run_that_would_mislead_is_refused(ran, monkeypatch):
    entries = ledger_page.settled(ran)
    folder = reference.root() / "report" / "reference"
    for name in ("", "PH2", "a b", "../x", "-a"):
        refused(lambda name=name: reference.keep(name, ran, entries), repr(name))
    mixed = ran | executed(dataset="synthetic", name="05_words")
    refused(
        lambda: reference.keep("x", mixed, entries),
        "different runs",
        "05_words: synthetic",
    )
    refused(lambda: reference.keep("x", ran, {}), "no claim was settled on ph2")
    monkeypatch.setattr(reference, "LIMIT", 100)
    refused(lambda: reference.keep("x", ran, entries), "longest table is 04_cost")
    assert not folder.exists()
    monkeypatch.undo()


def test_a_reference_run_is_not_written_over(ran):
    path = reference.keep("x", ran, ledger_page.settled(ran))
    before = path.read_bytes()
    refused(
        lambda: reference.keep("x", ran, ledger_page.settled(ran)),
        path,
        "another name",
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"claims": 3}'])
def test_a_broken_reference_run_is_named(ran, text):
    path = reference.keep("x", ran, ledger_page.settled(ran))
    path.write_text(text)
    refused(reference.runs, path, "keep the run again")
