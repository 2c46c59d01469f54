"""Does a heatmap point at what is known to be there? (taught in 03, more in 06)

Heatmaps are N×H×W and not negative, masks N×H×W bool. What never looks at the model is
measured beside it: a map that beats none of these has shown nothing.
"""

import cv2
import numpy as np
import pandas as pd

from . import metrics
from .settings import CourseError


def energy(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The share of each map's heat that lies inside its mask (N); 0 for an empty map."""
    if heatmaps.shape != masks.shape or heatmaps.ndim != 3:
        raise CourseError(
            f"heatmaps are {heatmaps.shape} and masks {masks.shape}: give N×H×W of both"
        )
    total = heatmaps.sum((1, 2), dtype=float)
    inside = (heatmaps * masks).sum((1, 2), dtype=float)
    return np.divide(inside, total, out=np.zeros(len(total)), where=total > 0)


def table(maps: dict, masks: np.ndarray, group) -> pd.DataFrame:
    """The mean share of heat inside of each kind of map: score, low, high, n, lesions."""
    return metrics.means({name: energy(m, masks) for name, m in maps.items()}, group)


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
    return {
        "the same everywhere": np.ones((n, height, width), np.float32),
        "centred Gaussian": np.broadcast_to(centre, (n, height, width)),
        "edges (Sobel)": np.stack(edges),
    }
