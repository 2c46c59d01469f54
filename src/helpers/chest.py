"""Loaders of the two chest X-ray sets, ChestX-ray14 and CheXpert (taught in 07).

A picture may show several findings: `label` is a tuple, empty where there is none.
"""

from pathlib import Path

import pandas as pd

from . import cases, images
from .settings import CourseError

BOX = ["Bbox [x", "y", "w", "h]"]  # what NIH's header becomes when split at commas
ENTRIES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
NOTHING = "No Finding"
NIH_SIDE = 1024  # the boxes are in pixels of the original pictures
SEXES = {"M": "male", "F": "female", "Male": "male", "Female": "female"}
CHEXPERT = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
CHESTXRAY14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
POLICIES = ("missing", "positive", "negative")


def chestxray14(folder: str | Path, need_images: bool = True) -> pd.DataFrame:
    """ChestX-ray14: radiologists' boxes, scaled to whatever size each file has.

    The box list's "Infiltrate" is called Infiltration, as in the labels. A box outside
    its picture is cut at the edge.
    """
    name = "chestxray14"
    folder = cases.existing(name, folder)
    boxes = _nih_boxes(name, folder)
    table = _nih_table(name, folder, boxes)
    found = cases.pictures(folder)
    table["path"] = table["image_id"].map(found)
    drawn = (table["image_id"] + ".png").map(boxes)
    table["boxes"] = [
        _in_picture(*pair) for pair in zip(drawn, table["path"], strict=True)
    ]
    return cases.build(name, folder, table, need_images)


def _nih_boxes(name: str, folder: Path) -> dict[str, list[tuple]]:
    """(finding, x, y, w, h) at 1024×1024, listed by the picture's file name."""
    file, columns = "BBox_List_2017.csv", ["Image Index", "Finding Label", *BOX]
    drawn = cases.read_csv(name, folder, file, columns=columns)[columns]
    drawn["Finding Label"] = drawn["Finding Label"].replace(
        "Infiltrate", "Infiltration"
    )
    drawn[BOX] = drawn[BOX].apply(cases.number)
    drawn = drawn.assign(image_id=drawn["Image Index"])
    bad = drawn.isna().any(axis=1)
    drawn = cases.without(name, drawn, bad, "a box lacks a number")
    drawn = _of_the_fourteen(name, drawn, drawn["Finding Label"].map(lambda f: [f]))
    x, y, w, h = (drawn[side] for side in BOX)
    seen = (x < NIH_SIDE) & (y < NIH_SIDE) & (x + w > 0) & (y + h > 0)
    outside = ~seen | (w <= 0) | (h <= 0)
    drawn = cases.without(name, drawn, outside, "a box outside its film")[columns]
    return {
        image: list(rows.iloc[:, 1:].itertuples(index=False, name=None))
        for image, rows in drawn.groupby("Image Index", sort=False)
    }


def _of_the_fourteen(name: str, table: pd.DataFrame, labels) -> pd.DataFrame:
    """The table without the few rows that name a finding which the set does not have."""
    strange = [sorted({*findings} - {*CHESTXRAY14}) for findings in labels]
    told = ", ".join(sorted({repr(f) for few in strange for f in few}))
    bad = pd.Series([bool(few) for few in strange], table.index)
    why = f"unknown finding {told}; known are {', '.join(CHESTXRAY14)}"
    return cases.without(name, table, bad, why)


def _in_picture(drawn, path) -> list[tuple] | None:
    """The boxes at the picture's own size, read from its header; None if it has none."""
    if not isinstance(drawn, list) or not isinstance(path, str):
        return None
    try:
        shape = images.shape(path)
    except CourseError:  # no picture: `usable` names it and leaves it out
        return None
    return [scaled(box, shape) for box in drawn]


def scaled(box: tuple, shape: tuple[int, int]) -> tuple:
    """(finding, x, y, w, h) at 1024×1024, in a picture of shape (H, W), cut there."""
    finding, x, y, w, h = box
    high, wide = (side / NIH_SIDE for side in shape)
    left, top = (min(max(v, 0), NIH_SIDE) for v in (x, y))
    right, low = (min(max(v, 0), NIH_SIDE) for v in (x + w, y + h))
    return (finding, left * wide, top * high, (right - left) * wide, (low - top) * high)


def _nih_table(name: str, folder: Path, boxes: dict[str, list]) -> pd.DataFrame:
    """One row a picture: from the entry table, or else from the list of boxes."""
    if not any((folder / file).is_file() for file in ENTRIES):
        print(f"{name}: no {ENTRIES[0]}, so the labels are those of the boxes")
        table = pd.DataFrame({"image": list(boxes)})
        table["label"] = [
            tuple(dict.fromkeys(finding for finding, *_ in boxes[image]))
            for image in boxes
        ]
    else:
        columns = ["Image Index", "Finding Labels", "Patient ID", "Patient Age"]
        columns += ["Patient Gender", "View Position"]
        raw = cases.read_csv(name, folder, *ENTRIES, columns=columns)
        raw = _labelled(name, raw.assign(image_id=raw["Image Index"]))
        table = pd.DataFrame({"image": raw["Image Index"]})
        table["label"] = [
            tuple(cell.split("|")) if cell != NOTHING else ()
            for cell in raw["Finding Labels"]
        ]
        age = cases.number(raw["Patient Age"].str.removesuffix("Y"))  # 058Y in 2017
        table["age"] = age.where(age <= 120)  # some are typing errors, 414 for one
        table["sex"] = raw["Patient Gender"].map(SEXES)
        table["view"] = raw["View Position"]
    table["image_id"] = table.pop("image").str.removesuffix(".png")
    table["patient"] = table["image_id"].str.split("_").str[0]
    return table


def _labelled(name: str, raw: pd.DataFrame) -> pd.DataFrame:
    """The films whose labels can be believed: some, known ones, no contradiction."""
    cell = raw["Finding Labels"]
    raw = cases.without(name, raw, cell.isna(), "no label; a healthy film says so")
    parts = raw["Finding Labels"].str.split("|")
    both = parts.map(lambda found: NOTHING in found and len(found) > 1)
    raw = cases.without(name, raw, both, f"{NOTHING} together with a finding")
    parts = raw["Finding Labels"].replace(NOTHING, "").str.split("|")
    return _of_the_fourteen(name, raw, parts.map(lambda found: [f for f in found if f]))


def chexpert(
    folder: str | Path, need_images: bool = True, uncertain: str = "missing"
) -> pd.DataFrame:
    """CheXpert: the positive findings of each picture; the labeller's doubts apart.

    A doubtful finding (-1) stays open in the column `uncertain` ("missing"), or counts
    as "positive" or "negative". CheXpert is read, never downloaded.
    """
    name = "chexpert"
    if uncertain not in POLICIES:
        raise CourseError(
            f"unknown uncertain={uncertain!r}; choose one of {', '.join(POLICIES)}"
        )
    folder = cases.existing(name, folder)
    raw = _chexpert_csvs(name, folder)
    raw = cases.without(name, raw.assign(image_id="?"), raw["Path"].isna(), "no path")
    value = raw[list(CHEXPERT)].apply(cases.number)
    positive = (value == 1) | ((value == -1) & (uncertain == "positive"))
    doubt = (value == -1) & (uncertain == "missing")
    inside = raw["Path"].str.split("/", n=1).str[1]  # the paths begin with the folder
    table = pd.DataFrame({"image_id": inside.str.rsplit(".", n=1).str[0]})
    paths = [folder / path for path in inside]
    table["path"] = [str(path) if path.is_file() else None for path in paths]
    table["label"] = _named(positive)
    table["patient"] = inside.str.extract(r"(patient\d+)", expand=False)
    table["age"] = cases.number(raw["Age"])
    table["sex"] = raw["Sex"].map(SEXES)
    table["split"] = raw["split"]
    table["view"] = raw["Frontal/Lateral"]
    table["uncertain"] = _named(doubt)
    return cases.build(name, folder, table, need_images)


def _chexpert_csvs(name: str, folder: Path) -> pd.DataFrame:
    """Both tables, or the one that is there; the official validation part calibrates."""
    columns = ["Path", "Sex", "Age", "Frontal/Lateral", *CHEXPERT]
    parts = {"train": "train.csv", "calibration": "valid.csv"}
    there = {k: f for k, f in parts.items() if (folder / f).is_file()}
    tables = [
        cases.read_csv(name, folder, file, columns=columns).assign(split=split)
        for split, file in (there or parts).items()
    ]
    return pd.concat(tables, ignore_index=True)


def _named(flags: pd.DataFrame) -> list[tuple[str, ...]]:
    """The names of the true columns, row by row."""
    return [
        tuple(name for name, flag in zip(flags.columns, row, strict=True) if flag)
        for row in flags.to_numpy()
    ]
