"""A case and its map, ready for a figure: enlarged, with all words (used from 03 on)."""

import cv2
import numpy as np

from . import figures, heatmaps, images, trained
from .cam import Explanation
from .files import below_out

WIDTH = 360  # pixels across


def shown(run: trained.Trained, place, found: Explanation, at=0) -> heatmaps.Shown:
    """The map `at` of a batch over the picture of the case at `place` of `run.cases`.

    What is predicted is the model's kept answer: calibrated, and the mean of its views.
    """
    case = run.cases.loc[place]
    image = figures.thumbnail(case.path, WIDTH)
    probs = trained.probabilities(run.page, run.logits[[place]])[0]
    named = isinstance(found.target, str)
    return heatmaps.Shown(
        image,
        fit(found.heatmap[at], image),
        case.image_id,
        case.label,
        run.classes[probs.argmax()],
        float(probs.max()),
        found.target if named else run.classes[found.target[at]],
        found.layer,
        found.method,
        lesion(case, image),
        bool(found.valid[at]),
    )


def film(image: np.ndarray, maps: dict, name: str, caption: str) -> None:
    """Overlays of maps (H×W) side by side, and the same as an animated GIF to download."""
    frames = [heatmaps.overlay(image, fit(one, image)) for one in maps.values()]
    alts = [f"overlay of the map {label}" for label in maps]
    figures.sheet(frames, alts, list(maps), caption, width=120)
    path = below_out("results", "figures", f"{name}.gif")
    heatmaps.download(heatmaps.gif(frames, path, maps), "The same as an animation")


def fit(heatmap: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A heatmap (H×W in [0, 1]) at the size of a picture."""
    size = image.shape[1::-1]
    return cv2.resize(np.asarray(heatmap, np.float32), size).clip(0, 1)


def lesion(case, image: np.ndarray) -> np.ndarray | None:
    """The lesion's mask at the size of a picture, where there is one."""
    if not isinstance(case.mask_path, str):
        return None
    mask = images.read_mask(case.mask_path).astype(np.uint8)
    return cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
