"""The course's models: trained once, kept, and found again (taught in notebook 02).

`ensure` gives the model of a recipe on a table of cases with its split. The first call
trains it; later ones, from any notebook, load it. All that matters (recipe, pictures,
split, seed) is in the name of its folder. In a terminal, `python -m helpers.trained E`
trains recipe E; with `accelerate launch -m helpers.trained E` on several GPUs.
"""

import argparse
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from . import (
    calibration,
    cards,
    course,
    images,
    metrics,
    models,
    recipes,
    saved,
    settings,
    splits,
)
from .files import atomic, below_out
from .recipes import Recipe
from .settings import CourseError, Settings

KEPT = (saved.PAGE, saved.WEIGHTS, "history.csv", "logits.csv", "card.md")


@dataclass(frozen=True)
class Trained:
    model: models.Classifier  # in eval mode
    cases: pd.DataFrame  # the pictures of the model's classes, with their split
    logits: np.ndarray  # N×C of all of them, in the order of `cases`
    history: pd.DataFrame  # one row an epoch
    page: dict  # what model.json says
    folder: Path

    @property
    def classes(self) -> list[str]:
        return list(self.model.classes)

    @property
    def y(self) -> np.ndarray:
        """The position of each picture's true class (N)."""
        return positions(self.cases.label, self.classes)

    @property
    def probs(self) -> np.ndarray:
        """Calibrated probabilities of all cases (N×C)."""
        return probabilities(self.page, self.logits)

    @property
    def answers(self) -> pd.DataFrame:
        """The cases with what the model says of each (`predicted`) and how sure (`p`)."""
        probs = self.probs
        said = np.array(self.classes)[probs.argmax(1)]
        return self.cases.assign(predicted=said, p=probs.max(1))


def ensure(recipe: Recipe, cases: pd.DataFrame, cfg: Settings) -> Trained:
    """The model of a recipe on these cases (with `split`); trained now if need be."""
    rows, classes = of_classes(cases, recipe)
    pixels = images.load(rows, recipe.size)
    y, parts = positions(rows.label, classes), rows.split.to_numpy()
    if "test" not in parts:
        raise CourseError("the test part has no picture to score: split again")
    key = saved.key(
        asdict(recipe),
        classes,
        cfg.seed,
        rows[["image_id", "group"]].to_numpy().tolist(),
        y,
        parts.tolist(),
        pixels,
    )
    name = f"{recipe.name}-{cfg.dataset}-{cfg.profile}-seed{cfg.seed}-{key[:8]}"
    folder = below_out("models", name)
    first = settings.process() == 0  # of several processes the first keeps the files
    lock = folder.with_name(f".{name}.lock")
    with FileLock(lock) if first else nullcontext():
        if _lacking(folder, cfg):
            _train(recipe, rows, pixels, y, classes, folder, cfg)
    model, page = saved.load(folder, cfg.device)
    logits = pd.read_csv(folder / "logits.csv")[classes].to_numpy(np.float32)
    return Trained(
        model, rows, logits, pd.read_csv(folder / "history.csv"), page, folder
    )


def _lacking(folder: Path, cfg: Settings) -> bool:
    """Is a file of the model not there? Of several processes the first one decides."""
    lacking = [not all((folder / name).is_file() for name in KEPT)]
    if settings.processes() > 1:
        from . import training

        training.join(cfg.device)
        torch.distributed.broadcast_object_list(lacking, 0)
    return lacking[0]


def _train(recipe, rows, pixels, y, classes, folder: Path, cfg: Settings) -> None:
    """Trains a recipe into a folder that appears when all of it is there."""
    from . import training  # fastai takes five seconds to import

    work = folder.with_name(f"{folder.name}.training")
    start = perf_counter()
    model, history = training.train(
        recipe, pixels, y, rows.split.to_numpy(), classes, work, cfg.seed, cfg.device
    )
    told = {"seconds": round(perf_counter() - start), "epochs": len(history)}
    if settings.process():
        _wait_for_all()  # until the first process has written
        return
    with training.explained(recipe, cfg.device):
        logits = models.logits(model, pixels, recipe.views)
    told |= summary(recipe, rows, y, logits, classes, cfg)
    rmtree(folder, ignore_errors=True)  # one that lacks a file
    with atomic(folder) as part:
        page = saved.save(model, part, **told)
        history.to_csv(part / "history.csv", index=False)
        table = rows[["image_id", "group", "split", "label"]]
        table.join(pd.DataFrame(logits, columns=classes)).to_csv(
            part / "logits.csv", index=False
        )
        (part / "card.md").write_text(cards.card(page), encoding="utf-8")
    rmtree(work)
    _wait_for_all()


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def summary(recipe, rows, y, logits, classes, cfg: Settings) -> dict:
    """What model.json says of a training: its data, its scores, its calibration."""
    held, test = (
        np.flatnonzero(rows.split == part) for part in ("calibration", "test")
    )
    shift = shift_of(recipe, y[rows.split == "train"], len(classes))
    temperature = calibration.temperature(logits[held] + shift, y[held])
    names, group = np.array(classes), rows.group.iloc[test]
    truth, said = names[y[test]], names[logits[test].argmax(1)]
    probs = calibration.softmax(logits[test] + shift, temperature)
    sure = calibration.measures(probs, y[test], group)
    always = np.full(len(test), rows.label[rows.split == "train"].mode()[0])
    return {
        "recipe": asdict(recipe),
        "dataset": cfg.dataset,
        "profile": cfg.profile,
        "seed": cfg.seed,
        "split": splits.fingerprint(rows),
        "pictures": pd.crosstab(rows.label, rows.split).to_dict("index"),
        "shift": shift.tolist(),
        "temperature": temperature,
        "scores": metrics.scores(truth, said, group).to_dict("index"),
        "calibration": sure.to_dict("index"),
        "blind": metrics.scores(truth, always, group).to_dict("index"),
        "commonest": always[0],
        "recalls": metrics.per_class(truth, said, group).to_dict("index"),
    }


def shift_of(recipe: Recipe, y_train: np.ndarray, classes: int) -> np.ndarray:
    """What turns a recipe's logits into those for the class shares of its data (C)."""
    counts = np.bincount(y_train, minlength=classes)
    alike = recipe.imbalance in ("weighted", "oversampled", "adjusted")
    return np.log(counts / counts.sum()) if alike else np.zeros(classes)


def probabilities(page: dict, logits: np.ndarray) -> np.ndarray:
    """Calibrated probabilities (N×C) of a model's logits, by what its page says."""
    return calibration.softmax(logits + np.array(page["shift"]), page["temperature"])


def of_classes(cases: pd.DataFrame, recipe: Recipe) -> tuple[pd.DataFrame, list[str]]:
    """The pictures that a recipe is about, and their classes in order."""
    rows = cases[cases.label.isin(recipe.classes)] if recipe.classes else cases
    if not len(rows):
        about = ", ".join(recipe.classes) or "all classes"
        raise CourseError(
            f"recipe {recipe.name} is about {about}, and the table has no such picture"
        )
    return rows.reset_index(drop=True), sorted(set(rows.label))


def positions(labels, classes) -> np.ndarray:
    """The position of each label in `classes`; one that is not there is refused."""
    place = {name: i for i, name in enumerate(classes)}
    strange = sorted(set(labels) - set(place))
    if strange:
        raise CourseError(
            f"the model knows {', '.join(classes)}, not {strange[0]!r}: keep the pictures "
            "that it knows, table[table.label.isin(model.classes)]"
        )
    return np.array([place[name] for name in labels], dtype=int)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m helpers.trained", description=__doc__)
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="A, B, C, D or E")
    chosen = parser.parse_args(arguments)
    try:
        cfg = settings.load(among=settings.SKIN)
        if chosen.recipe is None:
            pages = below_out("models").glob(f"[!.]*/{saved.PAGE}")
            for page in sorted(pages, key=_made, reverse=True):
                print(f"{_made(page):%Y-%m-%d %H:%M}  {_scored(page.parent)}")
            return 0
        done = ensure(recipes.recipe(chosen.recipe, cfg), course.cases(cfg), cfg)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if settings.process() == 0:
        print(_scored(done.folder))
    return 0


def _made(page: Path) -> datetime:
    return datetime.fromtimestamp(page.stat().st_mtime)


def _scored(folder: Path) -> str:
    """A folder of a model and its score, if its page tells one."""
    try:
        found = saved.read_page(folder).get("scores", {}).get("balanced accuracy")
    except CourseError as error:  # the others are to be listed all the same
        return str(error)
    if not found:
        return f"{folder}: no score is known"
    score, n = found["score"], found["n"]
    return f"{folder}: balanced accuracy {score:.3f}, n = {n}"


if __name__ == "__main__":
    sys.exit(main())
