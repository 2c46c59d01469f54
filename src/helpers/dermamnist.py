"""Loader of DermaMNIST, which is HAM10000 in one small NumPy file (taught in 01)."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from . import cases, skin
from .files import atomic, writing
from .settings import CourseError, data_folder, out_folder
from .transfer import DAMAGE

NAME = "dermamnist"
SPLITS = {"train": "train", "val": "calibration", "test": "test"}


def dermamnist(folder: str | Path, need_images: bool = True) -> pd.DataFrame:
    """HAM10000 squashed to squares, with DermaMNIST's own `split` (it parts lesions).

    The pictures are unpacked once, as PNGs. `dermamnist_split_info.csv` says which
    HAM10000 image each one is, and HAM10000's table its lesion, age, sex and site.
    """
    folder = cases.existing(NAME, folder)
    names = [f"dermamnist{size}.npz" for size in ("_224", "_128", "_64", "")]
    file = next((folder / n for n in names if (folder / n).is_file()), None)
    if file is None:
        raise CourseError(
            f"{NAME}: no dermamnist.npz in {folder}; {cases.way_out(NAME, folder)}"
        )
    try:
        table = _unpack(file)
    except (OSError, ValueError, LookupError, TypeError, *DAMAGE):
        raise CourseError(
            f"{file}: is damaged, or no DermaMNIST; {cases.way_out(NAME, folder)}"
        ) from None
    table = _joined(folder, table)
    table["split"] = table["split"].map(SPLITS)
    return cases.build(NAME, folder, table.drop(columns="index"), need_images)


def _unpack(file: Path) -> pd.DataFrame:
    """One PNG a picture in the cache, once; split, index, label and path of each."""
    stat = file.stat()
    key = f"{file} {stat.st_size} {stat.st_mtime_ns}"
    key = hashlib.sha256(key.encode()).hexdigest()[:16]
    cache = out_folder() / "cache" / f"{NAME}_{key}"
    rows, classes = [], dict(enumerate(skin.HAM10000))
    with np.load(file, allow_pickle=False) as arrays:
        for split in SPLITS:
            for index, label in enumerate(arrays[f"{split}_labels"].ravel()):
                image = f"{split}_{index:05d}"
                path = str(cache / f"{image}.png")
                rows.append((image, path, classes[int(label)], split, str(index)))
        with writing(cache), FileLock(cache.with_suffix(".lock")):
            if not cache.is_dir():
                with atomic(cache) as part:
                    part.mkdir()
                    for split in SPLITS:
                        _write(part, split, arrays[f"{split}_images"])
    columns = ["image_id", "path", "label", "split", "index"]
    return pd.DataFrame(rows, columns=columns)


def _write(folder: Path, split: str, pictures: np.ndarray) -> None:
    """N×H×W×3 uint8, one PNG each."""

    def save(index: int) -> None:
        Image.fromarray(pictures[index]).save(folder / f"{split}_{index:05d}.png")

    with ThreadPoolExecutor(2) as pool:
        saved = pool.map(save, range(len(pictures)))
        list(tqdm(saved, total=len(pictures), desc=f"unpacking {split}", disable=None))


def _joined(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """HAM10000's image ids, and what its table knows of them, where both are there."""
    info = "dermamnist_split_info.csv"
    if not (folder / info).is_file():
        print(f"{NAME}: lesions are unknown without {info} in {folder}")
        return table
    key = ["split", "index"]
    ids = cases.read_csv(NAME, folder, info, columns=[*key, "image_id"])
    ids = ids[[*key, "image_id"]].rename(columns={"image_id": "known"})
    table = table.merge(ids, "left", on=key)
    table["image_id"] = table.pop("known").fillna(table["image_id"])
    places = (folder, folder.parent / "ham10000", data_folder() / "ham10000")
    ham = next((p for p in places for f in skin.HAM_FILES if (p / f).is_file()), None)
    if ham is None:
        print(f"{NAME}: lesions are unknown without {skin.HAM_FILES[0]} in {folder}")
        return table
    theirs = skin.ham_table(NAME, ham).rename(columns={"label": "theirs"})
    theirs = theirs[["image_id", "theirs", "group", "age", "sex", "site"]]
    table = table.merge(theirs, "left", on="image_id")
    other = table[table["theirs"].notna() & (table["theirs"] != table["label"])]
    if len(other):
        raise CourseError(
            f"{NAME}: {other.iloc[0].image_id} has other labels here and in {ham}; "
            f"take {info} of the same release as the pictures, or remove it"
        )
    return table.drop(columns="theirs")
