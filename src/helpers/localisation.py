"""Does a heatmap point at what is known to be there? (taught in 03, more in 06)

Heatmaps are N×H×W and not negative, masks N×H×W bool. What never looks at the model is
measured beside it: a map that beats none of these has shown nothing.
"""

import cv2
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from . import metrics
from .settings import CourseError


def energy(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The share of each map's heat that lies inside its mask (N); 0 for an empty map."""
    _check(heatmaps, masks)
    total = heatmaps.sum((1, 2), dtype=float)
    inside = (heatmaps * masks).sum((1, 2), dtype=float)
    return np.divide(inside, total, out=np.zeros(len(total)), where=total > 0)


def ranking(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The chance that a place in the mask is hotter than one outside (AUC, N).

    One half for a map that is the same everywhere. How wide or bright a map is does not
    matter, only its order: a spot in the middle scores the same at any width.
    """
    _check(heatmaps, masks)
    flat, inside = heatmaps.reshape(len(masks), -1), masks.reshape(len(masks), -1)
    ranks = rankdata(flat, axis=1)
    n = inside.sum(1)
    above = (ranks * inside).sum(1) - n * (n + 1) / 2
    pairs = n * (inside.shape[1] - n)
    return np.divide(above, pairs, out=np.full(len(n), np.nan), where=pairs > 0)


def table(maps: dict, masks: np.ndarray, group, measure=ranking) -> pd.DataFrame:
    """The mean of a measure for each kind of map: score, low, high, n, lesions."""
    return metrics.means({name: measure(m, masks) for name, m in maps.items()}, group)


def blind(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Heatmaps of pictures (N×H×W×3 uint8) that ask no model: each N×H×W."""
    n, height, width = pixels.shape[:3]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centre = np.exp(-(x**2 + y**2) / (2 * 0.5**2))  # its width: half of the half side
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pixels]
    edges = [
        np.hypot(*(cv2.Sobel(g, cv2.CV_32F, *d) for d in ((1, 0), (0, 1))))
        for g in grey
    ]
    darkness = 255 - np.stack(grey).astype(np.float32)
    return {
        "the same everywhere": np.ones((n, height, width), np.float32),
        "centred Gaussian": np.broadcast_to(centre, (n, height, width)),
        "edges (Sobel)": np.stack(edges),
        "darkness": darkness,
    }


def _check(heatmaps, masks) -> None:
    if heatmaps.shape != masks.shape or heatmaps.ndim != 3:
        raise CourseError(
            f"heatmaps are {heatmaps.shape} and masks {masks.shape}: give N×H×W of both"
        )
