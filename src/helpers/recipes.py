"""The recipes of notebook 02 as data: four from the source documents, and ours.

A recipe says everything about a training but its data. `quick` makes it fit two cores.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from .settings import CourseError, Settings

SMALL = "efficientnet_lite0"  # its ImageNet weights come with the course


@dataclass(frozen=True)
class Recipe:
    name: str
    backbone: str
    head_epochs: int = 0  # the head alone, on features computed once
    frozen_epochs: int = 0  # the trunk frozen but run every time (fastai's freeze)
    epochs: int = 0  # everything learns
    lr: float = 1e-4
    batch: int = 64
    schedule: str = "flat"  # flat, fine_tune (fastai's own), or one_cycle
    head: str = "linear"
    classes: tuple[str, ...] = ()  # () is all of the data set's
    augment: str = "none"  # none, light, crops, strong
    drawn: int = 1  # pictures drawn from each for the head: itself, then augmented ones
    imbalance: str = "none"  # none, weighted, focal, oversampled, adjusted
    patience: int = (
        0  # epochs without a better calibration loss till it stops; 0: never
    )
    plateau: bool = False  # a tenth of the learning rate when the loss stands still
    views: int = 1  # test-time augmentation: the mean over so many turns and mirrorings
    size: int = 224
    small_epochs: int = 0  # the first so many of `epochs` at three quarters of the size


RECIPES = {
    r.name: r
    for r in (
        Recipe(
            "A", "mobilenet_v2", head_epochs=10, lr=1e-4, batch=32, augment="light",
            drawn=4, patience=3, plateau=True, classes=("bkl", "mel", "nv"),
        ),
        Recipe(
            "B", "resnet50", frozen_epochs=1, epochs=5, lr=3e-3, schedule="fine_tune",
            head="fastai",
        ),
        Recipe("C", "resnet50", epochs=10, lr=1e-4, batch=64, augment="crops"),
        Recipe("D", "resnet50", epochs=10, lr=1e-4, batch=64),
        Recipe(
            "E", "efficientnet_b0", head_epochs=5, epochs=20, lr=2e-3, batch=64,
            schedule="one_cycle", augment="strong", imbalance="adjusted", views=8,
            small_epochs=12,
        ),
    )
}  # fmt: skip
QUICK = {  # what two cores can do in about a minute; all else is as above
    "A": {"drawn": 1, "size": 128},
    "B": {"epochs": 2, "size": 96},
    "C": {"epochs": 3, "size": 96},
    "D": {"epochs": 3, "size": 96},
    "E": {"epochs": 5, "size": 128, "small_epochs": 3, "views": 2, "batch": 32},
}


def recipe(name: str, cfg: Settings) -> Recipe:
    """A recipe as this profile runs it."""
    if name not in RECIPES:
        raise CourseError(
            f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}"
        )
    if not cfg.quick:
        return RECIPES[name]
    return replace(RECIPES[name], backbone=SMALL, **QUICK[name])


def published() -> pd.DataFrame:
    """Scores that others report, each with where it is from or what to hold beside it."""
    return pd.read_csv(Path(__file__).with_name("published_scores.csv"))
