"""The synthetic chest films: every finding known to the pixel (07).

Painted by radiograph.py and pathologies.py, written in ChestX-ray14's own layout and read
by its loader. Beside it lies the truth: masks of the lungs and of each finding, and which
markers and tubes lie over the film. Same seed, same bytes.
Nothing measured on these films is a statement about patients.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from . import chest, fields, pathologies, radiograph
from .files import atomic, below_out
from .pathologies import FINDINGS
from .settings import CourseError, watched

CHANCE = {"L": 0.7, "PORTABLE": 0.15, "tube": 0.15}  # whatever the findings
RARE = {"Hernia": 0.5}  # drawn less often than the others


@dataclass(frozen=True)
class Recipe:
    """What to draw: how many films, of how many pixels a side, from which seed."""

    films: int = 1200
    size: int = 256
    seed: int = 0

    def __post_init__(self):
        if self.films < 20 or not 64 <= self.size <= 1024 or self.seed < 0:
            raise CourseError(
                f"cannot draw {self.films} films of {self.size} px from seed {self.seed}: "
                "ask for at least 20 films of 64 to 1,024 px, and a seed of 0 or more"
            )


PROFILES = {"quick": Recipe(), "full": Recipe(films=6000, size=512)}


def plan(recipe: Recipe) -> pd.DataFrame:
    """The table of films to draw, several a patient: what is to be seen on each."""
    rng = np.random.default_rng([recipe.seed, 30_000_000])
    weight = np.array([RARE.get(name, 1.0) for name in FINDINGS])
    rows, patient = [], 0
    while len(rows) < recipe.films:
        patient += 1
        count = rng.choice(4, p=[0.2, 0.35, 0.3, 0.15])
        ill = rng.choice(list(FINDINGS), count, replace=False, p=weight / weight.sum())
        told = {
            "Patient ID": patient,
            "Patient Age": int(np.clip(rng.normal(50, 17), 5, 95)),
            "Patient Gender": str(rng.choice(["M", "F"])),
        }
        for follow_up in range(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])):
            seen = [name for name in ill if rng.random() < 0.85]
            rows.append(
                told
                | {
                    "Image Index": f"{patient:08d}_{follow_up:03d}.png",
                    "Finding Labels": "|".join(sorted(seen)) or "No Finding",
                    "Follow-up #": follow_up,
                    "View Position": str(rng.choice(["PA", "AP"], p=[0.6, 0.4])),
                    "marks": [m for m, p in CHANCE.items() if rng.random() < p],
                }
            )
    return pd.DataFrame(rows[: recipe.films])


def draw(row: dict, recipe: Recipe):
    """A film (H×W uint8), its lungs (H×W bool), its findings' parts by name."""
    patient, follow_up = row["Patient ID"], row["Follow-up #"]
    body = np.random.default_rng([recipe.seed, patient])
    rng = np.random.default_rng([recipe.seed, patient, follow_up + 1])
    one = radiograph.Chest(rng, body, recipe.size)
    findings = [f for f in row["Finding Labels"].split("|") if f != "No Finding"]
    if "Cardiomegaly" in findings:
        one.heart_width *= rng.uniform(1.4, 1.65)
    if "Emphysema" in findings:
        one.stretch()
    one.anatomy()
    for name in findings:
        FINDINGS[name](one)
    film = one.film()
    for name in row["marks"]:
        film = mark(rng, film, name)
    return film, one.lungs[0] | one.lungs[1], one.masks


def mark(rng, film: np.ndarray, name: str) -> np.ndarray:
    """A film (H×W uint8) with a letter, a word or a tube that has nothing to tell."""
    size = film.shape[0]
    if name == "tube":
        t = np.linspace(0, 1, 9)
        bend = rng.choice([-1, 1]) * rng.uniform(0.02, 0.12) * t**2
        path = np.stack([0.5 + rng.normal(0, 0.01) + bend, 0.55 * t], 1) * size
        tube = fields.strokes(film.shape, [path], [0.008 * size])
        return np.uint8(np.clip(film + 50 * tube, 0, 255))
    left, high = rng.uniform(0.03, 0.08), rng.uniform(0.06, 0.16)
    if name == "L":
        return write_on(film, name, (0.94 - left, high), 0.65)
    return write_on(film, name, (left, high), 0.42)


def write_on(film: np.ndarray, word: str, place: tuple, large: float) -> np.ndarray:
    """A copy of a film (H×W, or H×W×3) with a word in lead letters at (x, y), shares."""
    size, film = film.shape[0], film.copy()
    at = tuple(round(share * size) for share in place)
    scale, thick = large * size / 256, max(round(2.3 * large * size / 256), 1)
    ink, font = (245,) * 3, cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(film, word, at, font, scale, ink, thick, cv2.LINE_AA)
    return film


def box_of(mask: np.ndarray) -> tuple[int, ...]:
    """x, y, w, h of a mask (H×W bool), in its pixels."""
    return cv2.boundingRect(mask.astype(np.uint8))


def write(recipe: Recipe, folder: Path) -> Path:
    """Draws the whole set into a new folder, all or nothing."""
    table = plan(recipe)
    with atomic(folder) as making, ThreadPoolExecutor(2) as pool:
        for name in ("images", "truth"):
            (making / name).mkdir(parents=True)
        work = pool.map(
            partial(_one, recipe=recipe, to=making), table.to_dict("records")
        )
        done = list(tqdm(work, "drawing films", len(table), disable=not watched()))
        boxes = "".join(
            f"{image},{name},{','.join(map(str, box))},,,\n"
            for boxes, _ in done
            for image, name, box in boxes
        )
        head = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        (making / "BBox_List_2017.csv").write_text(head + boxes)
        entries = making / "Data_Entry_2017_v2020.csv"
        table.drop(columns="marks").to_csv(entries, index=False)
        truth = pd.DataFrame([told for _, told in done])
        truth.to_csv(making / "truth.csv", index=False)
        (making / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    return folder


def _one(row: dict, recipe: Recipe, to: Path) -> tuple[list, dict]:
    """Draws a film and writes it with its masks; returns its boxes and its truth."""
    film, lungs, parts = draw(row, recipe)
    image = row["Image Index"]
    name = image.removesuffix(".png")
    _png(to / "images" / image, film)
    _png(to / "truth" / f"{name}_lungs.png", lungs * np.uint8(255))
    boxes = []
    for finding, masks in parts.items():
        whole = np.any(masks, axis=0)
        _png(to / "truth" / f"{name}_{finding}.png", whole * np.uint8(255))
        scaled = (
            np.multiply(box_of(mask), chest.NIH_SIDE / recipe.size) for mask in masks
        )
        boxes += [(image, finding, box.tolist()) for box in scaled]
    return boxes, {
        "image_id": name,
        "marks": "|".join(row["marks"]),
        "findings": "|".join(parts),
        "lungs_path": f"truth/{name}_lungs.png",
    }


def _png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels)[1])


def ensure(profile: str = "quick", seed: int = 0, **changes) -> Path:
    """The folder of the synthetic films, drawn now if it is not there yet."""
    if profile not in PROFILES:
        raise CourseError(
            f"unknown profile {profile!r}; choose {' or '.join(PROFILES)}"
        )
    recipe = replace(PROFILES[profile], seed=seed, **changes)
    code = b"".join(
        Path(m.__file__).read_bytes() for m in (fields, pathologies, radiograph)
    )
    told = code + Path(__file__).read_bytes() + json.dumps(asdict(recipe)).encode()
    key = hashlib.sha256(told).hexdigest()[:10]
    folder = below_out("films", f"{profile}-seed{seed}-{key}")
    if folder.is_dir():
        return folder
    with FileLock(folder.with_suffix(".lock")):
        return folder if folder.is_dir() else write(recipe, folder)


def truth(folder: Path) -> pd.DataFrame:
    """The truth about each film: its marks, findings, lungs, a mask by finding."""
    table = pd.read_csv(folder / "truth.csv", keep_default_na=False)
    for name in ("marks", "findings"):
        table[name] = [tuple(x for x in text.split("|") if x) for text in table[name]]
    table["lungs_path"] = [str(folder / path) for path in table.lungs_path]
    table["mask_paths"] = [
        {f: str(folder / "truth" / f"{image}_{f}.png") for f in findings}
        for image, findings in zip(table.image_id, table.findings, strict=True)
    ]
    return table
