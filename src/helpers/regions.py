"""Heatmap → region: its box, crop, dimmed background and outlines (taught in 03).

A heatmap is H×W floats in [0, 1] of the same size as its picture (H×W×3 uint8). A map
with nothing to point at gives an empty region, which every function here takes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .settings import CourseError

LEVELS = (0.25, 0.5, 0.75)
FLAT = 1e-6  # values that differ by less are rounding: the map points nowhere
SOFT_EDGE = 0.03  # the dimming sets in over this share of the picture's shorter side
DARK = (20, 20, 20)  # the edge of every line, as in figures.outlined

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two half-open


@dataclass(frozen=True, eq=False)
class Region:
    """The largest connected part of a heatmap at or above a threshold."""

    mask: np.ndarray  # H×W bool
    box: Box | None  # the smallest that holds the mask; None if there is none
    share: float  # of the picture's area
    touches_edge: bool  # it may go on outside the picture

    @property
    def empty(self) -> bool:
        return self.box is None


def region(heatmap: np.ndarray, threshold: float = 0.5) -> Region:
    """The largest part of a heatmap at or above the threshold; of equals, the hottest.

    Pixels that meet at a corner are connected. A flat map has no region.
    """
    heatmap = checked(heatmap)
    above = heatmap >= checked_level(threshold, "threshold")
    if np.ptp(heatmap) < FLAT or not above.any():
        return Region(np.zeros_like(above), None, 0.0, False)
    count, parts = cv2.connectedComponents(above.astype(np.uint8), connectivity=8)
    areas = np.bincount(parts.ravel(), minlength=count)[1:]
    heats = np.bincount(parts.ravel(), heatmap.ravel(), minlength=count)[1:]
    mask = parts == 1 + np.lexsort((heats, areas))[-1]
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = (int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
    height, width = mask.shape
    touches = 0 in box[:2] or box[2] == height or box[3] == width
    return Region(mask, box, float(mask.mean()), touches)


def box_with_margin(box: Box | None, shape: tuple, margin: float = 0.1) -> Box:
    """A box with a share of its own sides added all round, kept inside the picture.

    `shape` is the picture's (H, W); without a box it is the whole picture.
    """
    if not 0 <= margin < np.inf:
        raise CourseError(f"the margin must be 0 or more, such as 0.1, not {margin}")
    height, width = shape[:2]
    if box is None:
        return 0, 0, height, width
    top, left, bottom, right = box
    y, x = round(margin * (bottom - top)), round(margin * (right - left))
    grown = max(top - y, 0), max(left - x, 0)
    return *grown, min(bottom + y, height), min(right + x, width)


def crop(image: np.ndarray, box: Box | None) -> np.ndarray:
    """The part of a picture in a box, as a copy; the whole picture without a box."""
    height, width = image.shape[:2]
    top, left, bottom, right = (0, 0, height, width) if box is None else box
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise CourseError(
            f"the box {tuple(box)} is not inside the picture of {height}×{width}; "
            "give (top, left, bottom, right) of a region of this very picture"
        )
    return image[top:bottom, left:right].copy()


def dimmed(image: np.ndarray, mask: np.ndarray, strength: float = 0.65) -> np.ndarray:
    """A copy of a picture, dark outside the mask (H×W bool); inside nothing changes.

    The dark sets in softly, outside the mask. With an empty mask everything is dark.
    """
    if not 0 <= strength <= 1:
        raise CourseError(f"the strength must be between 0 and 1, not {strength}")
    mask = checked_mask(mask)
    checked_picture(image, mask.shape, "mask")
    width = max(SOFT_EDGE * min(mask.shape), 1)
    outside = np.ones(mask.shape, np.float32)
    if mask.any():
        away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        outside = np.minimum(away / width, 1)
    return np.uint8(np.round(image * (1 - strength * outside[..., None])))


def outlines(heatmap: np.ndarray, levels=LEVELS) -> list[list[np.ndarray]]:
    """The outlines of a heatmap: for each level, lowest first, a list of closed lines.

    A line is N×2 whole numbers (x, y): the outermost pixels at or above the level,
    and those around each hole. A flat map has none.
    """
    heatmap = checked(heatmap)
    levels = sorted(checked_level(level, "level") for level in levels)
    if np.ptp(heatmap) < FLAT:
        return [[] for _ in levels]
    found = []
    for level in levels:
        above = (heatmap >= level).astype(np.uint8)
        lines, _ = cv2.findContours(above, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        found.append([line[:, 0] for line in lines])
    return found


def drawn(image: np.ndarray, heatmap: np.ndarray, levels=LEVELS) -> np.ndarray:
    """A copy of a picture with the outlines of its heatmap.

    The higher the level, the brighter and wider its line; a dark edge shows every line
    on light skin, its brightness on dark skin.
    """
    found = outlines(heatmap, levels)
    checked_picture(image, np.shape(heatmap))
    image, unit = image.copy(), max(min(image.shape[:2]) / 250, 1)
    for step, lines in enumerate(found, start=1):
        grey = round(145 + 110 * step / len(found))
        wide = round(unit * (1 + 2 * (step - 1) / max(len(found) - 1, 1)))
        edge = wide + 2 * round(unit)
        cv2.polylines(image, lines, True, DARK, edge, cv2.LINE_AA)
        cv2.polylines(image, lines, True, (grey,) * 3, wide, cv2.LINE_AA)
    return image


def checked(heatmap: np.ndarray) -> np.ndarray:
    """A heatmap as floats, or the one line on what is wrong with it."""
    heatmap = np.asarray(heatmap, float)
    if heatmap.ndim != 2 or heatmap.size == 0:
        raise CourseError(
            f"the heatmap has shape {heatmap.shape}, not (H, W); "
            "take the map of one picture and one class, such as heatmaps[0]"
        )
    lost = np.count_nonzero(~np.isfinite(heatmap))
    if lost:
        raise CourseError(
            f"the heatmap: {lost} of {heatmap.size} values are missing or infinite; "
            "look at the gradients, or at a division by a maximum of 0"
        )
    low, high = heatmap.min(), heatmap.max()
    if low < -FLAT or high > 1 + FLAT:
        raise CourseError(
            f"the heatmap runs from {low:.3g} to {high:.3g}, not within 0 and 1; "
            "cut it off below 0 and divide it by its maximum"
        )
    return heatmap


def checked_level(level: float, name: str) -> float:
    if not 0 < level < 1:
        raise CourseError(f"the {name} must lie between 0 and 1, not at {level}")
    return level


def checked_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise CourseError(
            f"the mask has shape {mask.shape} of {mask.dtype}, not (H, W) of bool; "
            "read it with images.read_mask, or compare it with a threshold"
        )
    return mask


def checked_picture(image: np.ndarray, shape: tuple, what: str = "heatmap") -> None:
    """Refuses what is no picture, and one of another size than its heatmap or mask."""
    if np.ndim(image) != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise CourseError(
            f"the picture is {np.shape(image)} of {kind}, not (H, W, 3) of uint8; "
            "read it with images.read"
        )
    if image.shape[:2] != tuple(shape):
        ours, theirs = ("×".join(map(str, s)) for s in (image.shape[:2], shape))
        raise CourseError(
            f"the picture is {ours} pixels and the {what} {theirs} (H×W); "
            f"give both the same size: cv2.resize({what}, image.shape[1::-1])"
        )
