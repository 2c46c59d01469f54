"""Splits by lesion, and the audit of what a split leaks. Taught in notebook 01."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .files import atomic
from .settings import CourseError

PARTS = {"train": 0.6, "calibration": 0.2, "test": 0.2}


def groups(table: pd.DataFrame, pairs=()) -> pd.Series:
    """Which pictures belong together: the same lesion, patient, or a known pair.

    Pictures are joined through any chain of these; one with neither lesion nor patient
    stands alone. `pairs` holds image ids, two a row. Returns one name a picture: the
    smallest image id of its group.
    """
    n = len(table)
    position = pd.Series(np.arange(n), table.image_id)
    joins = []
    for column in ("group", "patient"):
        if column in table:
            known = pd.Series(np.arange(n))[table[column].notna().to_numpy()]
            first = known.groupby(table[column].dropna().to_numpy()).transform("first")
            joins.append(np.stack([known, first]))
    pairs = np.asarray(pairs, dtype=object).reshape(-1, 2)
    here = [p for p in pairs if p[0] in position.index and p[1] in position.index]
    joins.append(
        np.array([[position[a], position[b]] for a, b in here]).reshape(-1, 2).T
    )
    rows, cols = np.concatenate(joins, axis=1).astype(int)
    graph = coo_array((np.ones(len(rows)), (rows, cols)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    return table.image_id.groupby(component).transform("min").rename("group")


def make(table: pd.DataFrame, seed: int = 0, pairs=(), parts=PARTS) -> pd.Series:
    """Train, calibration or test for each picture: by group, alike in every class.

    Within a class the groups are shuffled, and each goes, largest first, to the part
    that has least of its share: so large lesions spread as evenly as small ones. The
    order of the rows does not matter.
    """
    if table.label.isna().any():
        raise CourseError(
            f"{table.label.isna().sum():,} of {len(table):,} pictures have no label: "
            "leave them out with table[table.label.notna()]"
        )
    group = groups(table, pairs)
    label = table.label.groupby(group.to_numpy()).agg(lambda x: x.mode().iloc[0])
    size = group.value_counts()
    where = {}
    for name in sorted(set(label), key=str):
        members = sorted(label.index[label == name], key=lambda g: _lot(seed, g))
        if len(members) < len(parts):
            raise CourseError(
                f"class {name!r} has {len(members)} lesion(s), and {len(parts)} parts "
                "need one each: add pictures, or leave the class out"
            )
        filled = dict.fromkeys(parts, 0.0)
        for g in sorted(members, key=lambda g: -size[g]):  # stable: keeps the shuffle
            part = min(filled, key=filled.get)
            where[g] = part
            filled[part] += size[g] / parts[part]
    split = group.map(where).rename("split")
    assert not leaks(group, split).any(), "a group is shared between parts"
    return split


def _lot(seed: int, name: str) -> bytes:
    """A shuffle that depends on the seed and on the name, not on the row."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def leaks(group: pd.Series, split: pd.Series) -> pd.Series:
    """For each picture: is it held out while a picture of its group is trained on?"""
    trained = set(group[split == "train"].dropna())
    return (split != "train") & group.isin(trained)


def leakage(table: pd.DataFrame, split: pd.Series, group=None) -> pd.DataFrame:
    """Held-out pictures whose lesion was trained on: overall and per class."""
    leaked = leaks(table.group if group is None else group, split)
    held = pd.DataFrame({"class": table.label, "leaked": leaked})[split != "train"]
    counts = held.groupby("class").leaked.agg(["size", "sum"])
    counts.loc["all"] = counts.sum()
    counts.columns = ["held out", "leaked"]
    return counts.assign(share=counts.leaked / counts["held out"])


def expected_leak(table: pd.DataFrame, share: float = 0.2) -> pd.Series:
    """The leak of a stratified split by picture, exactly: per class, and over all.

    A held-out picture with k-1 siblings escapes only if all of them are held out too:
    of N pictures of the class t are held out, so the chance is a product of (t-j)/(N-j).
    """
    own = table.group.where(
        table.group.notna(), table.image_id
    )  # unknown: stands alone
    k = own.groupby(own).transform("size")
    leak = {}
    for name, size in k.groupby(table.label):
        n, t = len(size), round(len(size) * share)
        j = np.arange(1, size.max())
        escape = np.concatenate([[1], np.cumprod(np.clip(t - j, 0, None) / (n - j))])
        leak[name] = (1 - escape[size - 1]).mean()
    each = table.label.map(leak)
    return pd.Series(leak | {"all": each.mean()}).rename("expected")


def published() -> pd.DataFrame:
    """How many pictures each lesion of the two great public sets has, and its class.

    One row a picture (dataset, image_id, label, group, dx_type), names made up: counted
    from their metadata, for a leak depends on nothing else. No picture is needed.
    """
    sizes = pd.read_csv(Path(__file__).with_name("lesion_sizes.csv"))
    lesions = sizes.loc[sizes.index.repeat(sizes.lesions)].reset_index(drop=True)
    lesions["group"] = [f"L{i}" for i in range(len(lesions))]
    table = lesions.loc[lesions.index.repeat(lesions.pictures)].reset_index(drop=True)
    table["image_id"] = [f"P{i}" for i in range(len(table))]
    return table[["dataset", "image_id", "label", "group", "dx_type"]]


def save(table: pd.DataFrame, path: Path) -> str:
    """Writes image_id, group, split as CSV; returns the split's fingerprint."""
    columns = table[["image_id", "group", "split"]].sort_values("image_id")
    with atomic(path) as part:
        columns.to_csv(part, index=False)
    return fingerprint(table)


def fingerprint(table: pd.DataFrame) -> str:
    """A short hash of which picture is in which part, whatever the order of the rows."""
    rows = sorted(f"{i},{s}" for i, s in zip(table.image_id, table.split, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]
