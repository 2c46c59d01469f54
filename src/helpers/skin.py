"""Loaders of the dermoscopy sets: HAM10000, ISIC 2019, PH2 (taught in 01).

Each takes the folder of a set in its upstream layout and returns the table of cases.
"""

from pathlib import Path

import pandas as pd

from . import cases
from .settings import CourseError

HAM10000 = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")  # DermaMNIST's order too
ISIC2019 = ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc")
HAM_FILES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
HAM_COLUMNS = ["lesion_id", "image_id", "dx", "age", "sex", "localization"]
HAM_NAMES = {"lesion_id": "group", "dx": "label", "localization": "site"}
HAM_NAMES |= {"dataset": "source"}

ISIC_NAMES = {"age_approx": "age", "anatom_site_general": "site"}
ISIC_NAMES |= {"lesion_id": "group", "sex": "sex"}

PH2_DIAGNOSES = ("common nevus", "atypical nevus", "melanoma")
PH2_LETTERS = {"A": "absent", "AT": "atypical", "P": "present", "T": "typical"}
PH2_SIGNS = ("pigment_network", "dots_globules", "streaks", "regression_areas")
PH2_SIGNS += ("blue_whitish_veil",)
PH2_COLOURS = ("white", "red", "light brown", "dark brown", "blue-grey", "black")


def ham10000(
    folder: str | Path, need_images: bool = True, name: str = "ham10000"
) -> pd.DataFrame:
    """HAM10000: seven classes, `group` the lesion; `dx_type` behind the columns."""
    folder = cases.existing(name, folder)
    table = ham_table(name, folder)
    table = cases.known(name, table, HAM10000)
    found = cases.pictures(folder)
    table["path"] = table["image_id"].map(found)
    table["mask_path"] = (table["image_id"] + "_segmentation").map(found)
    return cases.build(name, folder, table, need_images)


def ham_table(name: str, folder: Path) -> pd.DataFrame:
    """HAM10000's metadata under the names of the table of cases."""
    table = cases.read_csv(name, folder, *HAM_FILES, columns=HAM_COLUMNS)
    table = table.rename(columns=HAM_NAMES)
    table["age"] = cases.number(table["age"])
    for column in ("sex", "site"):
        table[column] = table[column].where(table[column] != "unknown")
    return table


def isic2019(folder: str | Path, need_images: bool = True) -> pd.DataFrame:
    """ISIC 2019: eight classes; `source` is HAM, BCN or MSK, from the lesion's id.

    All of HAM10000 is in it, but what is akiec there is ak or scc here: the labels of
    the two are never merged. Where the lesion is unknown, `group` is missing.
    """
    name, file = "isic2019", "ISIC_2019_Training_{}.csv".format
    folder = cases.existing(name, folder)
    classes = [label.upper() for label in ISIC2019]
    truth = cases.read_csv(
        name, folder, file("GroundTruth"), columns=["image", *classes]
    )
    more = cases.read_csv(
        name, folder, file("Metadata"), columns=["image", *ISIC_NAMES]
    )
    hot = truth.reindex(columns=[*classes, "UNK"]).apply(cases.number).fillna(0)
    label = hot.idxmax(axis=1).str.lower().where(hot.sum(axis=1) == 1, "none or two")
    table = truth[["image"]].assign(label=label)
    table = table.merge(more, "left", on="image").rename(columns=ISIC_NAMES)
    table = table.rename(columns={"image": "image_id"})
    table["age"] = cases.number(table["age"])
    table["source"] = table["group"].str.extract(r"^([A-Z]+)", expand=False)
    unknown = table["label"] == "unk"
    print(f"{name}: unk has {unknown.sum()} training images and is no class here")
    table = table[~unknown].reset_index(drop=True)
    table = cases.known(name, table, ISIC2019)
    found = cases.pictures(folder)
    table["path"] = table["image_id"].map(found)
    masks = table["image_id"].str.removesuffix("_downsampled") + "_segmentation"
    table["mask_path"] = masks.map(found)
    return cases.build(name, folder, table, need_images)


def ph2(folder: str | Path, need_images: bool = True) -> pd.DataFrame:
    """PH2: nevus or melanoma, with the dermatologists' signs behind the usual columns.

    `asymmetry` counts the axes (0 to 2); `colours` is a tuple of the table's six.
    """
    name = "ph2"
    folder = cases.existing(name, folder)
    file = folder / "PH2_dataset.txt"
    if not file.is_file():
        raise CourseError(
            f"{name}: no {file.name} in {folder}; {cases.way_out(name, folder)}"
        )
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    found = cases.pictures(folder)
    rows = [_ph2_row(file, line) for line in lines if line.startswith("|| IMD")]
    if not rows:
        raise CourseError(f"{file}: no row '|| IMD… ||'; {cases.way_out(name, folder)}")
    table = pd.DataFrame(rows)
    table.insert(1, "path", table["image_id"].map(found))
    table["mask_path"] = (table["image_id"] + "_lesion").map(found)
    print(f"{name}: nv stands for common and atypical nevus (column diagnosis)")
    return cases.build(name, folder, table, need_images)


def _ph2_row(file: Path, line: str) -> dict:
    """One line of PH2's table; an empty cell counts, `||` is a wide `|`."""
    try:
        cells = [cell.strip() for cell in line.replace("||", "|").split("|")[1:-1]]
        image, _histology, diagnosis, asymmetry, *signs, colours = cells
        return {
            "image_id": image,
            "label": "mel" if diagnosis == "2" else "nv",
            "diagnosis": PH2_DIAGNOSES[int(diagnosis)],
            "asymmetry": int(asymmetry),
            **{
                sign: PH2_LETTERS[cell]
                for sign, cell in zip(PH2_SIGNS, signs, strict=True)
            },
            "colours": tuple(PH2_COLOURS[int(c) - 1] for c in colours.split()),
        }
    except (ValueError, LookupError):
        raise CourseError(
            f"{file}: cannot make sense of the row {line!r}; "
            f"{cases.way_out('ph2', file.parent)}"
        ) from None
