"""The planted-truth set: dermoscopy-like pictures whose every secret is known (01).

Seven classes as lesions.py describes them, painted by dermoscopy.py and photographed by
artefacts.py, written in HAM10000's own layout and read by its loader.
Beside it lies the truth, one row a picture: attributes, caption, and paths to the mask of
the pixels that carry the class evidence and to a mask per artefact. Same seed, same bytes.
Nothing measured on these pictures is a statement about patients.
"""

import hashlib
import json
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import current_process, get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from . import artefacts, dermoscopy, fields, lesions, splits
from .files import atomic, below_out
from .lesions import RECIPES
from .settings import CourseError

# HAM10000's lesions and pictures per class: the imbalance that the set copies.
LESIONS = {"akiec": (228, 327), "bcc": (327, 514), "bkl": (727, 1099), "df": (73, 115)}
LESIONS |= {"mel": (614, 1113), "nv": (5403, 6705), "vasc": (98, 142)}
SITES = "back trunk,lower extremity,abdomen,upper extremity,face,chest,scalp".split(",")

PICTURES, MASKS = "HAM10000_images_part_1", "HAM10000_segmentations_lesion_tschandl"
GUARD = (
    "the synthetic set is drawn by several processes: put the code of your script "
    "under  if __name__ == '__main__':  or draw the set first (make report)"
)
CHANCE = {
    "hair": 0.40,
    "ruler": 0.12,
    "ink": 0.07,
    "bubbles": 0.12,
    "dark corners": 0.2,
}


@dataclass(frozen=True)
class Recipe:
    """What to draw. `balance` 1 is HAM10000's imbalance, 0 the same number a class.

    `shortcut` = (artefact, class, probability): in the training split the artefact goes
    with the class that often, and with other classes never; elsewhere it keeps its usual
    chance, whatever the class. The split is written beside the pictures.
    """

    pictures: int = 2000
    size: int = 160  # short side in pixels; pictures are 4:3, as HAM10000's
    seed: int = 0
    balance: float = 1.0
    duplicates: int = 8  # near-duplicate pairs under different lesion ids
    shortcut: tuple[str, str, float] | None = None

    def __post_init__(self):
        if self.pictures < 50 or not 48 <= self.size <= 512:
            raise CourseError(
                f"cannot draw {self.pictures} pictures of {self.size} px: ask for at "
                "least 50 pictures with a short side of 48 to 512"
            )
        if not 0 <= self.duplicates <= self.pictures // 5 or not 0 <= self.balance <= 1:
            raise CourseError(
                f"cannot draw {self.duplicates} duplicates at balance {self.balance}: ask "
                f"for 0 to {self.pictures // 5} (a fifth), and a balance of 0 to 1"
            )
        if self.seed < 0:
            raise CourseError(f"the seed must be 0 or more, not {self.seed}")
        if self.shortcut is None:
            return
        name, label, p = self.shortcut
        if name not in CHANCE or label not in RECIPES or not 0 <= p <= 1:
            raise CourseError(
                f"unknown shortcut {self.shortcut}; give (artefact, class, "
                f"probability): {', '.join(CHANCE)}; {', '.join(RECIPES)}; 0 to 1"
            )


PROFILES = {
    # In 2,000 pictures HAM10000's own shares leave 16 dermatofibromas: too few to learn.
    "quick": Recipe(balance=0.75),
    "full": Recipe(pictures=10015, size=240),
}


def plan(recipe: Recipe) -> pd.DataFrame:
    """The table of pictures to draw: HAM10000's columns, without a pixel yet."""
    rng = np.random.default_rng([recipe.seed, 10_000_000])
    total = sum(pictures for _, pictures in LESIONS.values())
    rows, lesion = [], 0
    for label, (count, pictures) in LESIONS.items():
        even = recipe.pictures / len(LESIONS) * count / pictures
        real = recipe.pictures * count / total
        n = round(real**recipe.balance * even ** (1 - recipe.balance))
        for _ in range(max(n, 5)):
            repeats = 1 + rng.binomial(3, (pictures / count - 1) / 3)
            rows += _lesion(rng, label, lesion, repeats)
            lesion += 1
    table = pd.DataFrame(rows)
    singles = table[~table.lesion.duplicated(keep=False)]
    twins = singles.groupby("dx").sample(1, random_state=recipe.seed)
    more = singles.drop(twins.index).sample(
        max(recipe.duplicates - len(twins), 0), random_state=recipe.seed
    )
    twins = pd.concat([twins, more]).head(recipe.duplicates)
    again = twins.assign(twin_of=twins.index)
    again["lesion_id"] = [f"SYN_{lesion + i:05d}" for i in range(len(again))]
    table = pd.concat([table, again], ignore_index=True)
    order = rng.permutation(len(table))
    names = np.array([f"SYN_{i:07d}" for i in range(len(table))])
    table["image_id"] = names[np.argsort(order)]
    table["twin_of"] = table.twin_of.map(table.image_id)
    return table.sort_values("image_id", ignore_index=True)


def _lesion(rng, label: str, lesion: int, repeats: int) -> list[dict]:
    how = ("histo",) if label == "mel" else ("histo", "follow_up", "consensus")
    chance = {"nv": (0.3, 0.6, 0.1)}.get(label, (0.7, 0.0, 0.3))[: len(how)]
    age = 5 * round(float(np.clip(rng.normal(RECIPES[label]["age"], 13), 5, 85)) / 5)
    row = {
        "lesion_id": f"SYN_{lesion:05d}",
        "dx": label,
        "dx_type": str(rng.choice(how, p=np.array(chance) / sum(chance))),
        "age": age if rng.random() > 0.01 else None,
        "sex": "unknown"
        if rng.random() < 0.005
        else str(rng.choice(["male", "female"])),
        "localization": str(rng.choice(SITES)),
        "lesion": lesion,
        "twin_of": None,
    }
    return [row | {"photo": k} for k in range(repeats)]


def choose_artefacts(recipe: Recipe, table: pd.DataFrame) -> pd.Series:
    """Which artefacts each picture gets; with a shortcut, by class and split."""
    chosen = []
    for row in table.itertuples():
        rng = np.random.default_rng([recipe.seed, row.lesion, row.photo, 1])
        draw = {name: rng.random() for name in CHANCE}
        chance = dict(CHANCE)
        if recipe.shortcut and row.split == "train":
            name, label, p = recipe.shortcut
            chance[name] = p if row.dx == label else 0.0
        chosen.append([name for name in CHANCE if draw[name] < chance[name]])
    return pd.Series(chosen, table.index)


def draw_lesion(job: list[dict], recipe: Recipe, folder: Path) -> list[dict]:
    """Paints one lesion and writes all its pictures and masks; returns their truth."""
    cv2.setNumThreads(1)  # the work is shared out by lesions
    first = job[0]
    rng = np.random.default_rng([recipe.seed, first["lesion"]])
    a = lesions.describe(rng, first["dx"])
    canvas = dermoscopy.paint(rng, recipe.size, a)
    truth = []
    for row in job:
        near = row["twin_of"] is not None
        rng = np.random.default_rng([recipe.seed, row["lesion"], row["photo"], 2])
        present = row["artefacts"]
        made = artefacts.photograph(rng, canvas, recipe.size, present)
        if near:  # the same photograph, a hair's breadth away
            nudge = np.random.default_rng([recipe.seed, row["lesion"], 3])
            made = artefacts.nudge(nudge, *made)
        paths = save(folder, row["image_id"], *made)
        marks = ("image_id", "lesion_id", "split", "twin_of")
        facts = {name: row.get(name) for name in marks} | {"label": row["dx"]}
        facts |= {"caption": lesions.caption(a, present), "artefacts": present}
        facts |= {"evidence_path": paths.pop("evidence")}
        facts |= {"artefact_paths": [paths[name] for name in present]}
        truth.append(
            {
                k: "|".join(v) if isinstance(v, list) else v
                for k, v in (facts | a).items()
            }
        )
    return truth


def save(folder: Path, name: str, image, lesion, evidence, masks) -> dict[str, str]:
    """Writes a picture and its masks; returns where the truth's masks are."""
    _write(folder / PICTURES / f"{name}.jpg", image[..., ::-1])
    _write(folder / MASKS / f"{name}_segmentation.png", lesion * np.uint8(255))
    masks = {"evidence": evidence} | masks
    paths = {kind: f"truth/{name}_{kind.replace(' ', '_')}.png" for kind in masks}
    for kind, mask in masks.items():
        _write(folder / paths[kind], mask * np.uint8(255))
    return paths


def _write(path: Path, pixels: np.ndarray) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1])


def write(recipe: Recipe, folder: Path) -> Path:
    """Draws the whole set into a new folder, all or nothing."""
    table = plan(recipe)
    if recipe.shortcut:
        pairs = table.loc[table.twin_of.notna(), ["image_id", "twin_of"]]
        cases = table.rename(columns={"dx": "label", "lesion_id": "group"})
        table["split"] = splits.make(cases, recipe.seed, pairs=pairs.to_numpy())
    table["artefacts"] = choose_artefacts(recipe, table)
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    twins = table[table.twin_of.notna()]
    pairs = pd.DataFrame({"from_img": twins.twin_of, "to_img": twins.image_id})
    with atomic(folder) as making:
        for name in (PICTURES, MASKS, "truth"):
            (making / name).mkdir(parents=True)
        truth = _draw_all(table, recipe, making)
        table[columns].to_csv(making / "HAM10000_metadata.csv", index=False)
        truth.sort_values("image_id").to_csv(making / "truth.csv", index=False)
        (pairs + ".jpg").to_csv(making / "newly_discovered_duplicates.csv", index=False)
        (making / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    return folder


def _draw_all(table: pd.DataFrame, recipe: Recipe, folder: Path) -> pd.DataFrame:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    jobs: dict[int, list] = {}
    for row in rows:
        jobs.setdefault(row["lesion"], []).append(row)
    work = partial(draw_lesion, recipe=recipe, folder=folder)
    quiet = not sys.stderr.isatty()
    context, deaf = get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(os.cpu_count(), context, signal.signal, deaf) as pool:
        done = pool.map(work, jobs.values(), chunksize=8)
        bar = tqdm(done, "drawing lesions", len(jobs), disable=quiet)
        try:
            return pd.DataFrame([row for rows in bar for row in rows])
        except BrokenProcessPool:
            raise CourseError(GUARD) from None


def ensure(profile: str = "quick", seed: int = 0, **changes) -> Path:
    """The folder of the synthetic set, drawn now if it is not there yet."""
    if profile not in PROFILES:
        raise CourseError(
            f"unknown profile {profile!r}; choose {' or '.join(PROFILES)}"
        )
    recipe = Recipe(**(asdict(PROFILES[profile]) | {"seed": seed} | changes))
    sources = (
        Path(m.__file__) for m in (artefacts, dermoscopy, fields, lesions, splits)
    )
    code = b"".join(p.read_bytes() for p in (*sources, Path(__file__)))
    key = hashlib.sha256(code + json.dumps(asdict(recipe)).encode()).hexdigest()[:10]
    folder = below_out("synthetic", f"{profile}-seed{seed}-{key}")
    if folder.is_dir():
        return folder
    # A helper process reads the script anew: without a guard it would draw, too.
    if getattr(current_process(), "_inheriting", False):
        raise CourseError(GUARD)
    with FileLock(folder.with_suffix(".lock")):
        return folder if folder.is_dir() else write(recipe, folder)


def truth(folder: Path) -> pd.DataFrame:
    """The truth about each picture, one row an image_id; lists are tuples again."""
    table = pd.read_csv(folder / "truth.csv", keep_default_na=False)
    lists = "artefacts artefact_paths zones structures hallmarks colours".split()
    for name in lists:
        table[name] = [tuple(x for x in text.split("|") if x) for text in table[name]]
    table["evidence_path"] = [str(folder / p) for p in table.evidence_path]
    table["artefact_paths"] = [
        {name: str(folder / path) for name, path in zip(names, paths, strict=True)}
        for names, paths in zip(table.artefacts, table.artefact_paths, strict=True)
    ]
    return table
