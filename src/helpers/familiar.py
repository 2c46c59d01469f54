"""Does a picture look like those that a model learnt from? (taught in notebook 08)

A picture is as strange as the angle between its features and those of its fifth nearest
training picture. It counts as unfamiliar if it is stranger than all but a hundredth of
the calibration pictures: that is how often the notice comes in vain.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from . import images, models, weights
from .settings import CourseError
from .trained import Trained

NEAREST = 5
IN_VAIN = 0.01
MOST = 4000  # training pictures that are kept


@dataclass(frozen=True)
class Familiar:
    features: np.ndarray  # N×D float32, each of length 1: of training pictures
    cutoff: float  # stranger than this is unfamiliar

    def strangeness(self, features: np.ndarray) -> np.ndarray:
        """1 - cosine to the fifth nearest (N of N×D): 0 is the same, 1 nothing alike."""
        pair = torch.from_numpy(unit(features)), torch.from_numpy(self.features)
        alike = (pair[0] @ pair[1].float().T).numpy()  # torch's threads, as all else
        return 1 - np.partition(alike, -NEAREST, axis=1)[:, -NEAREST]


def pooled(z: torch.Tensor) -> torch.Tensor:
    """A last map (N×D×h×w) as one vector a picture (N×D); a transformer's is one."""
    return z if z.ndim == 2 else z.mean((2, 3))


def unit(features: np.ndarray) -> np.ndarray:
    long = np.linalg.norm(features, axis=1, keepdims=True)
    return np.float32(features / np.maximum(long, 1e-12))


def ensure(run: Trained) -> Familiar:
    """The rule of a trained model; made now, and kept beside the model, if need be."""
    path = place(run.folder, run.page)
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            _make(run, path)
    return load(run.folder, run.page)


def load(folder: Path, page: dict) -> Familiar | None:
    """The rule that is kept with a model, or None where there is none."""
    path = place(folder, page)
    if not path.is_file():
        return None
    state = weights.read(path)
    try:
        return Familiar(state["features"].numpy(), float(state["cutoff"]))
    except (KeyError, ValueError, RuntimeError):
        raise CourseError(f"{path}: not a rule of ours; remove the file") from None


def place(folder: str | Path, page: dict) -> Path:
    """Its name holds the weights' checksum: another training has another rule."""
    return Path(folder) / f"familiar-{page['sha256'][:8]}.safetensors"


def _make(run: Trained, path: Path) -> None:
    pixels, split = images.load(run.cases, run.model.size), run.cases.split.to_numpy()
    found = {}
    for part in ("train", "calibration"):
        rows = np.flatnonzero(split == part)
        if len(rows) < NEAREST:
            raise CourseError(f"the {part} part has {len(rows)} pictures: too few")
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
        found[part] = unit(
            models.each(run.model, pixels[rows], lambda x: pooled(run.model.map(x)))
        )
    rule = Familiar(found["train"], 0.0)
    cutoff = np.quantile(rule.strangeness(found["calibration"]), 1 - IN_VAIN)
    state = {"features": torch.from_numpy(rule.features).half()}
    weights.write(state | {"cutoff": torch.tensor(cutoff).float()}, path)
