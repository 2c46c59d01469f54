"""The table of cases that every loader returns, and what the loaders share (01).

One row a picture. What is not known is missing (`None` or NaN), never invented.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from . import images, settings
from .settings import CourseError

COLUMNS = (
    "image_id",
    "path",
    "label",  # a string, or a tuple of findings where a picture may have several
    "group",  # the lesion: never to be split
    "patient",
    "source",  # who took the picture
    "age",
    "sex",  # "female" or "male"
    "site",
    "mask_path",
    "split",  # "train", "calibration" or "test", where the set comes with one
    "boxes",  # (finding, x, y, w, h) in pixels of the file at `path`
)
PICTURES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".dcm",
)  # which wins where two have one name
ASKED_FOR = {
    "ph2": "ask for it at https://www.fc.up.pt/addi/ph2%20database.html",
    "chexpert": "it needs an agreement with Stanford and is only read: "
    "https://stanfordmlgroup.github.io/competitions/chexpert/",
}


def way_out(name: str, folder: Path) -> str:
    """How to come by a data set, as the end of an error's line."""
    if name in ASKED_FOR:
        return f"{ASKED_FOR[name]}, then put it into {folder}"
    words = [sys.executable, "-m", "helpers.datasets", "download", name]
    return f"get it with: {shlex.join([*words, '--to', str(Path(folder).absolute())])}"


def existing(name: str, folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        data, why = settings.data_folder(), ""
        if os.environ.get("XAI_DERM_DATA") and not data.is_dir():
            why = f" (XAI_DERM_DATA names {data}, and that folder is not there)"
        raise CourseError(f"{name}: no folder {folder}{why}; {way_out(name, folder)}")
    return folder


def walk(folder: Path) -> Iterator[Path]:
    """Every file anywhere below, without macOS's stubs and hidden things."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f[0] != "." and f != "__MACOSX")
        yield from (Path(place, name) for name in sorted(names) if name[0] != ".")


def pictures(folder: Path) -> dict[str, str]:
    """The path of every picture or mask anywhere below, by its name without ending."""
    found: dict[str, tuple[int, str]] = {}
    for path in walk(folder):
        if path.suffix.lower() in PICTURES:
            mine = (PICTURES.index(path.suffix.lower()), str(path))
            found[path.stem] = min(mine, found.get(path.stem, mine))
    return {stem: path for stem, (_, path) in found.items()}


def read_csv(name: str, folder: Path, *files: str, columns: list[str]) -> pd.DataFrame:
    """The first of the files that exists, all as text; `columns` must be there."""
    path = next((folder / f for f in files if (folder / f).is_file()), None)
    if path is None:
        raise CourseError(f"{name}: no {files[0]} in {folder}; {way_out(name, folder)}")
    try:
        with open(path, encoding="utf-8-sig") as lines:
            head = lines.readline()
        separator = max("\t;,", key=head.count)
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' errors are ValueErrors
        raise CourseError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); "
            f"{way_out(name, folder)}"
        ) from None
    lost = [column for column in columns if column not in table]
    if lost:
        raise CourseError(
            f"{path}: no column {', '.join(lost)}; {way_out(name, folder)}"
        )
    return table


def number(column: pd.Series) -> pd.Series:
    """Text as numbers; what is none is missing."""
    return pd.to_numeric(column, errors="coerce").astype(float)


def known(name: str, table: pd.DataFrame, classes) -> pd.DataFrame:
    """The table without the few rows whose label the data set does not have."""
    strange = ~table["label"].isin(classes)
    labels = ", ".join(sorted({repr(x) for x in table.loc[strange, "label"]}))
    return without(
        name, table, strange, f"unknown label {labels}; known are {', '.join(classes)}"
    )


def without(name: str, table: pd.DataFrame, bad: pd.Series, why: str) -> pd.DataFrame:
    """The table without its bad rows, said in a line; over 1 % bad is refused."""
    if not bad.any():
        return table
    ids = table.loc[bad, "image_id"].astype(str).to_list()
    which = _first_few(ids)
    said = f"{name}: {len(ids):,} of {len(table):,} rows"
    if bad.mean() > 0.01:
        raise CourseError(
            f"{said} are bad: {which} ({why}); correct the table, or get it again"
        )
    print(f"{said} left out: {which} ({why})")
    return table[~bad].reset_index(drop=True)


def _first_few(names: list[str]) -> str:
    return ", ".join(names[:5]) + f" and {len(names) - 5:,} more" * (len(names) > 5)


def build(
    name: str, folder: Path, table: pd.DataFrame, need_images: bool
) -> pd.DataFrame:
    """COLUMNS in their order, the rest behind; unless told otherwise, with pictures."""
    table = without(name, table, table["image_id"].isna(), "no image id")
    twice = table["image_id"].duplicated()
    table = without(name, table, twice, "the image id stands there twice")
    for column in COLUMNS:
        if column not in table:
            table[column] = None
    table["age"] = table["age"].astype(float)
    if need_images:
        has = table["path"].notna()
        if not has.any():
            raise CourseError(
                f"{name}: none of {len(table):,} pictures found below {folder}; "
                f"{way_out(name, folder)}"
            )
        if not has.all():
            print(f"{name}: {has.sum():,} of {len(table):,} images found")
        table = table[has].reset_index(drop=True)
    return table[[*COLUMNS, *(c for c in table if c not in COLUMNS)]]


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the rows whose picture or mask cannot be decoded; one line.

    Every file is opened and decoded: nothing less finds a truncated one.
    """
    with ThreadPoolExecutor(2) as pool:
        masks = table.get("mask_path", pd.Series(None, table.index, dtype=object))
        found = pool.map(_fault, table["path"], masks)
        faults = list(tqdm(found, total=len(table), desc="checking", disable=None))
    bad = np.array([fault is not None for fault in faults], dtype=bool)
    if not bad.any():
        return table
    names = [
        f"{Path(path).name if isinstance(path, str) else image} ({fault})"
        for image, path, fault in zip(
            table["image_id"], table["path"], faults, strict=True
        )
        if fault
    ]
    line = f"{len(names):,} of {len(table):,} pictures left out: {_first_few(names)}"
    if bad.mean() > 0.05:
        raise CourseError(
            line.replace("left out", "are bad")
            + "; over 5 % is no accident: get the data set again"
        )
    print(line)
    return table[~bad].reset_index(drop=True)


def _fault(path, mask_path) -> str | None:
    if not isinstance(path, str):
        return "missing"
    fault = images.fault(path)
    if fault is None and isinstance(mask_path, str):
        fault = images.fault(mask_path)
        return fault and f"its mask: {fault}"
    return fault
