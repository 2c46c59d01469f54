"""Pictures with one, two or three lesions of a class, and each one's masks (used in 04)."""

import numpy as np

from . import artefacts, dermoscopy, lesions
from .lesions import RECIPES
from .settings import CourseError

SMALLER = 0.6  # of a lesion's radius: three must fit into one picture


def picture(label: str, count: int, number: int, size: int = 160, seed: int = 0):
    """One picture (H×W×3 uint8), and the masks of its lesions and evidence (count×H×W).

    Each lesion is drawn by chance as the class has it, and they stand around the middle;
    the same seed and number give the same picture.
    """
    if label not in RECIPES or count not in (1, 2, 3):
        raise CourseError(
            f"cannot draw {count} of {label!r}: 1 to 3 of {', '.join(RECIPES)}"
        )
    rng = np.random.default_rng([seed, 20_000_000, list(RECIPES).index(label), number])
    drawn = [lesions.describe(rng, label) for _ in range(count)]
    for attributes in drawn:
        attributes["radius"] *= SMALLER
        attributes["islands"] = 0
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
    away = 0.29 * size * (count > 1)
    places = away * np.stack([1.2 * np.cos(angles), np.sin(angles)], 1)
    canvases = dermoscopy.paint_several(rng, size, drawn, places)
    camera = rng.integers(2**32)  # the same for each: one photograph, several masks
    photos = [
        artefacts.photograph(np.random.default_rng(camera), canvas, size, [])
        for canvas in canvases
    ]
    return photos[0][0], *(np.stack([photo[k] for photo in photos]) for k in (1, 2))
