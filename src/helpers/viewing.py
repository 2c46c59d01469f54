"""A case and its map, ready for a figure: enlarged, with all words (used from 03 on)."""

import cv2
import numpy as np

from . import figures, heatmaps, images, trained
from .cam import TITLES, Explanation
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
        TITLES[found.method],
        lesion(case, image),
        bool(found.valid[at]),
    )


def titled(maps: dict, image: np.ndarray, at=0) -> dict[tuple, np.ndarray]:
    """Heatmaps of one picture by (method, layer, target), for `toggles`."""
    return {
        (TITLES[method], layer, target): fit(e.heatmap[at], image)
        for (method, layer, target), e in maps.items()
    }


def film(image: np.ndarray, maps: dict, name: str, caption: str) -> None:
    """Maps (H×W) side by side, and their overlays as an animated GIF to download."""
    large = {label: fit(one, image) for label, one in maps.items()}
    colours = [heatmaps.coloured(one) for one in large.values()]
    alts = [f"the heatmap {label}" for label in large]
    figures.sheet(colours, alts, list(large), caption, width=190)
    frames = [heatmaps.overlay(image, one) for one in large.values()]
    path = heatmaps.gif(frames, below_out("results", "figures", f"{name}.gif"), large)
    heatmaps.download(path, "Download the overlays as an animated GIF")


def fit(heatmap: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A heatmap (H×W in [0, 1]) at the size of a picture."""
    size = image.shape[1::-1]
    return cv2.resize(np.asarray(heatmap, np.float32), size).clip(0, 1)


def nearest(heatmap: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A heatmap at the size of a picture, its squares left as they are."""
    size = image.shape[1::-1]
    return cv2.resize(np.float32(heatmap), size, interpolation=cv2.INTER_NEAREST)


def lesion(case, image: np.ndarray) -> np.ndarray | None:
    """The lesion's mask at the size of a picture, where there is one."""
    if not isinstance(case.mask_path, str):
        return None
    mask = images.read_mask(case.mask_path).astype(np.uint8)
    return cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
