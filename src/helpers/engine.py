"""All that a model says of a picture, in batches: classes, set, map (taught in 08).

The service and the archive both ask here; nothing in it knows of HTTP or of files.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from . import calibration, cam, familiar, models, saved, trained, viewing
from . import sentences as words
from .familiar import Familiar
from .models import Classifier
from .settings import CourseError

METHODS = cam.GRADIENT  # those of one pass; Score-CAM would make all others wait
LAYERS = ("early", "middle", "deep")
ALPHA = (
    0.1  # a set of classes misses the true one in about a tenth of a class's pictures
)


@dataclass(frozen=True)
class Engine:
    model: Classifier  # in eval mode
    page: dict  # what model.json says
    probs: np.ndarray  # K×C: calibrated, of calibration pictures, one a lesion
    truth: np.ndarray  # K: their true classes
    familiar: Familiar | None  # does a picture look like those of the training?

    @property
    def classes(self) -> list[str]:
        return list(self.model.classes)

    @property
    def always(self) -> np.ndarray:
        """Classes (C, bool) in every set: too few calibration lesions to rule them out."""
        n = np.bincount(self.truth, minlength=len(self.classes))
        return 1 / (n + 1) > ALPHA


@dataclass(frozen=True)
class Asked:
    target: int | None = None  # a class by number; None is what is predicted
    method: str = "grad-cam"
    layer: str = "deep"


@dataclass(frozen=True)
class Answer:
    """Of one picture."""

    logits: np.ndarray  # C
    probs: np.ndarray  # C, calibrated
    chosen: np.ndarray  # C bool: the conformal set
    strangeness: float  # nan where the model has no rule for it
    target: int  # the class that the map is about
    heatmap: np.ndarray  # S×S in [0, 1]
    small: np.ndarray  # h×w in [0, 1]: the same as the layer has it
    valid: bool  # False where nothing is positive, and the map all zeros


def load(folder: str | Path, device: str = "cpu") -> Engine:
    """The engine of a trained model's folder."""
    folder = Path(folder)
    model, page = saved.load(folder, device)
    path, classes = folder / "logits.csv", list(model.classes)
    try:
        table = pd.read_csv(path)
        table = table[table["split"] == "calibration"].reset_index(drop=True)
        table = table[calibration.one_per_lesion(table["group"], page["seed"])]
        probs = trained.probabilities(page, table[classes].to_numpy(np.float32))
        truth = trained.positions(table["label"], classes)
        calibration.conformal(probs, truth, probs[:1], ALPHA)
        _views(page)
    except (OSError, ValueError, LookupError, TypeError, CourseError) as error:
        raise CourseError(
            f"{path}: does not go with the model ({type(error).__name__}); "
            "train the model again"
        ) from None
    return Engine(model, page, probs, truth, familiar.load(folder, page))


def answers(engine: Engine, pixels: np.ndarray, asked: list[Asked]) -> list:
    """An `Answer` for each picture (N×S×S×3 uint8), or the `CourseError` that it met.

    One pass answers all; a second one maps those of the same method and layer together.
    """
    model = engine.model
    views, x = _views(engine.page), models.tensor(pixels, engine.model.mean.device)
    with models.quiet(model), torch.inference_mode():
        last = [model.map(turned) for turned in models.turns(x, views)]
        logits = (sum(map(model.head, last)) / views).float().cpu().numpy()
        features = familiar.pooled(last[0]).float().cpu().numpy()
    probs = trained.probabilities(engine.page, logits)
    chosen = calibration.conformal(engine.probs, engine.truth, probs, ALPHA)
    strange = np.full(len(pixels), np.nan)
    if engine.familiar:
        strange = engine.familiar.strangeness(features)
    wanted = [
        int(p.argmax()) if one.target is None else one.target
        for one, p in zip(asked, probs, strict=True)
    ]
    told: list = [None] * len(asked)
    for way in dict.fromkeys((one.method, one.layer) for one in asked):
        rows = [i for i, one in enumerate(asked) if (one.method, one.layer) == way]
        try:
            aims = {"": [wanted[i] for i in rows]}
            (maps,) = cam.maps(model, x[rows], way[:1], way[1:], aims).values()
        except CourseError as error:
            maps = error
        for at, i in enumerate(rows):
            if isinstance(maps, CourseError):
                told[i] = maps
                continue
            raw = np.where(maps.valid[at], np.maximum(maps.raw[at], 0), 0)
            told[i] = Answer(
                logits[i],
                probs[i],
                chosen[i],
                float(strange[i]),
                wanted[i],
                maps.heatmap[at],
                np.float32(raw / (raw.max() or 1)),
                bool(maps.valid[at]),
            )
    return told


def sentence(engine: Engine, answer: Answer, shown: np.ndarray) -> words.Sentence:
    """The evidence in words, over the picture as it is shown (H×W×3 uint8)."""
    heatmap = viewing.fit(answer.heatmap, shown)
    label, p = engine.classes[answer.target], float(answer.probs[answer.target])
    return words.of_evidence(shown, heatmap, label, min(max(p, 0.0), 1.0))


def _views(page: dict) -> int:
    return int(page["recipe"]["views"])
