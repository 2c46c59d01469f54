"""What a notebook teaches is what the helpers do: both give the same."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers import cam, duplicates, hooks, localisation, multilabel, splits

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODULES = sorted(path.stem for path in (ROOT / "src/helpers").glob("[!_]*.py"))


def lessons(path: Path) -> dict:
    """The names that a notebook's lesson cells define, with its imports alone run."""
    names = {}
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        if "lesson" in tags:
            exec(compile(cell.source, path.name, "exec"), names)
        elif "bootstrap" not in tags and "import" in cell.source:
            lines = "\n".join(
                line for line in cell.source.split("\n") if line[:1] != "%"
            )
            imports = (ast.Import, ast.ImportFrom)
            body = [n for n in ast.parse(lines).body if isinstance(n, imports)]
            exec(compile(ast.Module(body, []), path.name, "exec"), names)
    return names


def functions(path: Path) -> set[str]:
    found = set()
    for cell in nbformat.read(path, 4).cells:
        if "lesson" in cell.metadata.get("tags", []):
            body = ast.parse(cell.source).body
            found |= {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return found


LOOK = "03_where_does_it_look"
COMPARED = {("01_data_audit", "leaks"), ("01_data_audit", "expected_leak")}
COMPARED |= {(LOOK, "kept"), (LOOK, "grad_cam")}
FILMS = "07_chest_xrays"
COMPARED |= {(FILMS, "masked_bce")}
BELIEVE = "06_evaluation"
COMPARED |= {(BELIEVE, name) for name in ("overlap", "pointing", "energy")}


def test_every_lesson_with_a_namesake_is_compared_here():
    namesakes = set()
    for module in MODULES:
        taught = inspect.getmembers(
            import_module(f"helpers.{module}"), inspect.isfunction
        )
        own = {n for n, f in taught if f.__module__ == f"helpers.{module}"}
        namesakes |= {(p.stem, n) for p in NOTEBOOKS for n in functions(p) & own}
    assert namesakes == COMPARED


@pytest.fixture(scope="module")
def audit() -> dict:
    return lessons(ROOT / "notebooks/01_data_audit.ipynb")


def random_table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    lesion = rng.integers(0, 60, 150)
    label = rng.choice(list("aaab"), 60)[lesion]
    names = [f"p{i}" for i in range(150)]
    group = [f"L{i}" for i in lesion]
    return pd.DataFrame({"image_id": names, "label": label, "group": group})


@pytest.mark.parametrize("seed", range(10))
def test_leaks(audit, seed):
    table = random_table(seed)
    parts = np.random.default_rng(seed + 1000).choice(list(splits.PARTS), len(table))
    split = pd.Series(parts, table.index)
    ours = splits.leaks(table.group, split)
    pd.testing.assert_series_equal(
        audit["leaks"](table.group, split), ours, check_names=False
    )
    assert ours.any()


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_expected_leak(audit, seed, share):
    table = random_table(seed)
    taught = audit["expected_leak"](table.rename(columns={"group": "lesion"}), share)
    ours = splits.expected_leak(table, share)
    assert set(taught.index) == set(ours.index) and np.allclose(
        taught[ours.index], ours
    )


@pytest.mark.parametrize("seed", range(5))
def test_by_picture_is_stratified_and_keeps_the_order_of_the_rows(audit, seed):
    table = random_table(seed).sample(frac=1, random_state=seed)
    split = audit["by_picture"](table, seed)
    assert split.index.equals(table.index) and set(split) == {"train", "test"}
    held = (split == "test").groupby(table.label).agg(["sum", "size"])
    assert (held["sum"] - 0.2 * held["size"]).abs().max() <= 1
    assert split.equals(audit["by_picture"](table, seed))
    assert not split.equals(audit["by_picture"](table, seed + 1))
    assert splits.leaks(table.group, split).any()


def test_alike(audit):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    pictures = coarse.repeat(8, axis=1).repeat(8, axis=2)
    turned = np.rot90(pictures[:5], 1, axes=(1, 2))
    mirrored = pictures[5:10, :, ::-1]
    pictures = np.concatenate([pictures, turned, mirrored])
    cosine = audit["alike"](pictures)
    assert cosine.shape == (40, 40) and np.allclose(cosine.diagonal(), 1, atol=1e-5)
    assert np.allclose(cosine, cosine.T, atol=1e-5)
    rows, cols = np.nonzero(np.triu(cosine > duplicates.ALIKE, 1))
    table = duplicates.find(pictures)
    assert list(zip(rows, cols, strict=True)) == list(
        zip(table["first"], table["second"], strict=True)
    )
    assert len(rows) >= 10
    assert np.allclose(cosine[rows, cols], table.similarity, atol=1e-5)


@pytest.fixture(scope="module")
def look() -> dict:
    return lessons(ROOT / f"notebooks/{LOOK}.ipynb")


def test_kept_and_grad_cam(look):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.ReLU(True)
    )
    model.requires_grad_(False)
    found = []
    for kept, grad_cam in (
        (look["kept"], look["grad_cam"]),
        (hooks.kept, cam.grad_cam),
    ):
        with kept({"first": model[0], "last": model[2]}) as outputs:
            score = model(torch.ones(2, 3, 9, 9)).square().sum()
        assert not any(m._forward_hooks for m in model) and torch.is_grad_enabled()
        gradients = torch.autograd.grad(score, outputs.values())
        found.append(list(map(grad_cam, outputs.values(), gradients)))
    for ours, theirs in zip(*found, strict=True):
        assert ours.any() and torch.equal(ours, theirs)


@pytest.mark.parametrize("seed", range(3))
def test_masked_bce(seed):
    taught = lessons(ROOT / f"notebooks/{FILMS}.ipynb")["masked_bce"]
    torch.manual_seed(seed)
    z, weight = torch.randn(6, 4), torch.rand(4) + 0.5
    y = torch.randint(0, 2, (6, 4)).float()
    y[torch.rand(6, 4) < 0.3] = torch.nan
    assert y.isnan().any()
    assert torch.equal(taught(z, y, weight), multilabel.masked_bce(z, y, weight))


@pytest.mark.parametrize("seed", range(3))
def test_rulers_of_evaluation(seed):
    taught = lessons(ROOT / f"notebooks/{BELIEVE}.ipynb")
    rng = np.random.default_rng(seed)
    heat, mask = rng.random((5, 7, 9)), rng.random((5, 7, 9)) < 0.3
    mask[:, 0, 0] = True
    heat[0, :2] = 2  # several hottest places
    for name, more, helper in (
        ("overlap", (0.5,), localisation.overlap(heat, mask, [0.5])[:, 0]),
        ("pointing", (), localisation.pointing(heat, mask, 0)),
        ("energy", (), localisation.energy(heat, mask)),
    ):
        mine = [taught[name](h, m, *more) for h, m in zip(heat, mask, strict=True)]
        np.testing.assert_allclose(mine, helper)
