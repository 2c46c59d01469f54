"""Rule-based sentences: where the evidence is, and of the lesion itself (taught in 03).

Two things, never mixed: `of_evidence` puts a heatmap into words, which tells of the
model; `of_lesion` measures a lesion's mask and picture, which the model has no part in.
"""

from dataclasses import dataclass
from math import nan

import cv2
import numpy as np
from scipy import ndimage

from . import figures, regions
from .settings import CourseError

# Of the evidence
SURE = (0.5, 0.7, 0.9)  # from 0.5 on, a class outweighs all others; the rest is custom
SIZES = (0.05, 0.20)  # of the area: discs a quarter and half as wide as the picture
THIRDS = (1 / 3, 2 / 3)  # nine equal fields: finer than "upper left" no word goes
ELONGATED = 1.5  # long to wide; a circle in a 4:3 picture squashed square is 1.33
CONTRAST = 5.0  # in L* of 100: twice what one just sees, for skin is never even
SHARP = 2.0  # heat lost over a radius: Gaussian 0.5, a disc blurred by 1/7 of it 2.0
NOT_LESION = (
    "This says where the model's evidence is, not what the lesion is like, "
    "and is not a diagnosis."
)

# Of the lesion; the limits of form part the regular from the irregular painted lesions
TOO_FEW = 64  # pixels: below, the staircase is the shape
ASYMMETRIC = 0.08  # of the area: ellipses measure 0.03 or less, half a disc 0.09
IRREGULAR = 1.02  # outline to hull: 1.00 of discs and ellipses, 1.08 of a 7-lobed star
SMOOTH = 0.01  # of the outline's length: what is finer is staircase, hair or handwork
PRESENT = 0.05  # of the lesion: fewer pixels are a hair, a highlight, the rim's blend
COLOURS = {  # the six of dermoscopy as warm light shows them, not as paint
    "white": (225, 188, 183),
    "red": (185, 70, 80),
    "light brown": (180, 112, 85),
    "dark brown": (112, 62, 44),
    "blue-grey": (105, 95, 102),
    "black": (42, 25, 23),
}


@dataclass(frozen=True)
class Sentence:
    """The evidence for a class in words, the numbers behind each, and the text.

    A word for what cannot be said is "none", and its number is missing (nan).
    """

    label: str
    confidence: str  # low, moderate, high or very high, by
    probability: float  # calibrated
    text: str
    size: str = "none"  # small, medium or large, by
    share: float = 0.0  # of the picture's area
    location: str = "none"  # one of nine fields, by
    centre: tuple[float, float] = (nan, nan)  # (down, right), each in [0, 1]
    shape: str = "none"  # round or elongated, by
    elongation: float = nan  # long to wide, from second moments
    intensity: str = "none"  # darker, similar or lighter, by
    contrast: float = nan  # median L* under the region less that of the rest
    boundary: str = "none"  # gradual or sharp, by
    steepness: float = nan  # the heat's fall at the edge, over the region's radius


@dataclass(frozen=True)
class Lesion:
    """A lesion's own form and colours, in words and numbers, and the text."""

    form: str  # symmetric or asymmetric, by
    asymmetry: float  # 0 … 1
    border: str  # regular or irregular, by
    irregularity: float  # 1 and more
    colours: tuple[str, ...]  # those that are present, by
    shares: dict[str, float]  # of the lesion: nearest to each reference colour
    text: str


def of_evidence(
    image: np.ndarray,
    heatmap: np.ndarray,
    label: str,
    probability: float,
    threshold: float = 0.5,
) -> Sentence:
    """Where a model's evidence for a class is, in words.

    Picture (H×W×3 uint8), heatmap (H×W) and calibrated probability of the same class.
    Round and elongated are meant in the proportions of the picture given.
    """
    if not 0 <= probability <= 1:
        raise CourseError(
            f"the probability must be between 0 and 1, not {probability}; "
            "take the calibrated one of this class"
        )
    heatmap, found = regions.checked(heatmap), regions.region(heatmap, threshold)
    regions.checked_picture(image, heatmap.shape)
    sure = word(probability, SURE, ("low", "moderate", "high", "very high"))
    start = (
        f"The model gives {figures.NAMES.get(label, label)} a calibrated probability "
        f"of {percent(probability)}: {sure} confidence."
    )
    if found.empty:
        text = f"{start} {nowhere(heatmap, threshold)} {NOT_LESION}"
        return Sentence(label, sure, probability, text)
    (y, x), (long, wide), _ = moments(found.mask)
    down, right = float(y / len(heatmap)), float(x / heatmap.shape[1])
    row = word(down, THIRDS, ("upper ", "", "lower "))
    place = (row + word(right, THIRDS, ("left", "", "right"))).strip() or "centre"
    size = word(found.share, SIZES, ("small", "medium", "large"))
    elongation = float(long / wide)
    shape = word(elongation, (ELONGATED,), ("round", "elongated"))
    light, steep = contrast(image, found.mask), steepness(heatmap, found.mask)
    tone = word(light, (-CONTRAST, CONTRAST), ("darker", "similar", "lighter"))
    boundary = word(steep, (SHARP,), ("gradual", "sharp"))
    rest = f" and {boundary} at its boundary; the picture under it is {tone} "
    rest += "to the rest." if tone == "similar" else "than the rest."
    edge = ", reaching the picture's edge" if found.touches_edge else ""
    text = (
        f"{start} The largest region of its evidence for this class is {size} "
        f"({percent(found.share)} of the picture), in the {place}"
        f"{'' if place == 'centre' else ' part'}{edge}, {shape} "
        f"({elongation:.1f} times as long as wide)"
        f"{'; it fills the picture.' if found.mask.all() else rest} {NOT_LESION}"
    )
    words = size, found.share, place, (down, right), shape, elongation
    words += tone, light, boundary, steep
    return Sentence(label, sure, probability, text, *words)


def of_lesion(image: np.ndarray, mask: np.ndarray) -> Lesion:
    """A lesion's own form, border and colours: picture (H×W×3 uint8), mask (H×W bool).

    Colours are those of the photograph: light, camera and skin tone shift them all.
    """
    mask = regions.checked_mask(mask)
    regions.checked_picture(image, mask.shape, "mask")
    parts = cv2.connectedComponents(mask.astype(np.uint8))[1]
    pixels = np.bincount(parts[mask], minlength=1).max()
    if pixels < TOO_FEW:
        raise CourseError(
            f"the mask's largest part has {pixels} pixels, and a form needs {TOO_FEW}; "
            "take another mask, or a larger picture"
        )
    off, dents = asymmetry(mask), irregularity(mask)
    form = word(off, (ASYMMETRIC,), ("symmetric", "asymmetric"))
    border = word(dents, (IRREGULAR,), ("regular", "irregular"))
    shares = colour_shares(image[mask])
    colours = tuple(name for name, share in shares.items() if share >= PRESENT)
    several = "colour" if len(colours) == 1 else "colours"
    cut = mask[[0, -1]].any() or mask[:, [0, -1]].any()
    text = (
        f"The lesion is {form} ({percent(off)} of its area does not meet itself when "
        f"folded along its axes), its border {border} (outline {dents:.2f} times as "
        f"long as its hull's), with {len(colours)} {several}: "
        f"{', '.join(colours)}. "
        f"{'It reaches the edge: only the part seen is measured. ' if cut else ''}"
        "Measured in its mask and picture, without the model; not a diagnosis."
    )
    return Lesion(form, off, border, dents, colours, shares, text)


def nowhere(heatmap: np.ndarray, threshold: float) -> str:
    """Why a heatmap has no region."""
    if heatmap.max() < regions.FLAT:
        return "There is no positive evidence to point at: the map is empty."
    if np.ptp(heatmap) < regions.FLAT:
        return "There is no place to point at: the map is the same everywhere."
    return f"There is no place to point at: the map nowhere reaches {threshold:g}."


def word(value: float, limits: tuple, words: tuple[str, ...]) -> str:
    """The word for a number: one word more than there are rising limits."""
    return "none" if np.isnan(value) else words[np.digitize(value, limits)]


def percent(share: float) -> str:
    """A share as a whole percentage that never rounds to nothing or to certainty."""
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def moments(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (y, x), standard deviations (long, wide), and their axes (in rows).

    A pixel is a square of side 1, with its own variance of 1/12: no shape is 0 wide.
    """
    points = np.argwhere(mask) + 0.5
    spread = np.cov(points.T, bias=True) + np.eye(2) / 12
    variances, axes = np.linalg.eigh(spread)
    return points.mean(axis=0), np.sqrt(variances[::-1]), axes.T[::-1]


def lab(image: np.ndarray) -> np.ndarray:
    """A picture (H×W×3 uint8) in CIE Lab: L* from 0 to 100."""
    return cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2LAB)


def contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """Median L* under the mask less that of the rest; missing if there is none."""
    light = lab(image)[..., 0]
    return (
        nan if mask.all() else float(np.median(light[mask]) - np.median(light[~mask]))
    )


def steepness(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """How far the heat would fall over one radius, at its rate at the region's edge.

    The mean fall from a pixel inside to its neighbour outside, times the radius of the
    disc of the same area: the size of region and picture do not matter.
    """
    falls = [abs(np.diff(heatmap, axis=a))[np.diff(mask, axis=a)] for a in (0, 1)]
    falls = np.concatenate(falls)
    return float(falls.mean() * np.sqrt(mask.sum() / np.pi)) if len(falls) else nan


def asymmetry(mask: np.ndarray) -> float:
    """Share of a mask that is not on its mirror: the mean of both principal axes.

    Where a shape is as long as wide, as a square, chance says where its axes lie.
    """
    centre, _, axes = moments(mask)
    away, off = np.argwhere(mask) + 0.5 - centre, []
    for axis in axes:
        mirrored = centre + 2 * np.outer(away @ axis, axis) - away - 0.5
        on = ndimage.map_coordinates(np.float32(mask), mirrored.T, order=1)
        off.append(np.mean(on < 0.5))
    return float(np.mean(off))


def irregularity(mask: np.ndarray) -> float:
    """Length of a mask's outline to that of its convex hull; of its largest part.

    The outline is smoothed along its way. Long or round does not matter, dents do.
    """
    lines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    line = max(lines, key=cv2.contourArea)[:, 0].astype(np.float32)
    line = ndimage.gaussian_filter1d(line, max(SMOOTH * len(line), 1), 0, mode="wrap")
    return cv2.arcLength(line, True) / cv2.arcLength(cv2.convexHull(line), True)


def colour_shares(pixels: np.ndarray) -> dict[str, float]:
    """Shares of pixels (N×3 uint8) by the nearest reference colour in Lab."""
    references = lab(np.uint8([list(COLOURS.values())]))[0]
    apart = np.linalg.norm(lab(pixels[:, None]) - references, axis=2)
    counts = np.bincount(apart.argmin(axis=1), minlength=len(COLOURS))
    return dict(zip(COLOURS, (counts / len(pixels)).tolist(), strict=True))
