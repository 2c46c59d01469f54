"""Does a heatmap point at what is known to be there? (taught in 03, more in 06)

Heatmaps are N×H×W and not negative, masks N×H×W bool. What never looks at the model is
measured beside it: a map that beats none of these has shown nothing.
"""

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter
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


def precision(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Average precision of the places, hottest first (AUPRC, N); missing without a mask.

    Chance is the mask's share of the picture, which `masks.mean((1, 2))` tells. Places
    equally hot come in together, as scikit-learn has it.
    """
    _check(heatmaps, masks)
    flat, inside = heatmaps.reshape(len(masks), -1), masks.reshape(len(masks), -1)
    turn = np.argsort(-flat, axis=1, kind="stable")
    hot = np.take_along_axis(flat, turn, 1)
    found = np.take_along_axis(inside, turn, 1).astype(float)
    share = np.cumsum(found, 1) / np.arange(1, found.shape[1] + 1)
    last = np.ones(hot.shape, bool)  # of places equally hot, the last says for all
    last[:, :-1] = hot[:, 1:] != hot[:, :-1]
    place = np.where(last, np.arange(hot.shape[1]), hot.shape[1])
    place = np.minimum.accumulate(place[:, ::-1], 1)[:, ::-1]
    share = np.take_along_axis(share, place, 1)
    n = found.sum(1)
    return np.divide(
        (share * found).sum(1), n, out=np.full(len(n), np.nan), where=n > 0
    )


def pointing(heatmaps: np.ndarray, masks: np.ndarray, tolerance=15 / 224) -> np.ndarray:
    """Does the hottest place lie in the mask (N)? Of several, the share that does.

    `tolerance`: how far beside it may lie, as a share of the height. A map that is the
    same everywhere points everywhere.
    """
    _check(heatmaps, masks)
    reach = round(tolerance * masks.shape[1])
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = maximum_filter(masks, footprint=(y**2 + x**2 <= reach**2)[None])
    hottest = heatmaps == heatmaps.max((1, 2), keepdims=True)
    return (hottest & near).sum((1, 2)) / hottest.sum((1, 2))


def overlap(heatmaps: np.ndarray, masks: np.ndarray, thresholds) -> np.ndarray:
    """IoU of what is at least as hot as each threshold with the mask (N×T).

    A threshold is a number for all, or an array with one for each picture. Nothing there
    and nothing to find is missing.
    """
    _check(heatmaps, masks)
    columns = []
    for level in thresholds:
        hot = heatmaps >= np.broadcast_to(level, len(masks))[:, None, None]
        hot &= heatmaps > 0
        columns.append(_iou(hot, masks))
    return np.stack(columns, 1)


def dice(iou):
    """The Dice score that goes with an IoU: always the larger, never another order."""
    return 2 * iou / (1 + iou)


def as_large(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """IoU when each map keeps just as many places as its mask has (N).

    Of places equally hot at the border, those first in the picture.
    """
    _check(heatmaps, masks)
    flat, n = heatmaps.reshape(len(masks), -1), masks.sum((1, 2))
    kept = rankdata(-flat, "ordinal", axis=1) <= n[:, None]
    return _iou(kept.reshape(masks.shape), masks)


def otsu(heatmaps: np.ndarray, bins: int = 256) -> np.ndarray:
    """Otsu's threshold of each map (N): it parts cold and hot best (its own range)."""
    flat = heatmaps.reshape(len(heatmaps), -1)
    low, high = flat.min(1, keepdims=True), flat.max(1, keepdims=True)
    width = np.where(high > low, high - low, 1)
    bin_of = np.minimum((flat - low) / width * bins, bins - 1).astype(int)
    at = bin_of + bins * np.arange(len(flat))[:, None]
    counts = np.bincount(at.ravel(), minlength=bins * len(flat)).reshape(-1, bins)
    below, centres = counts.cumsum(1), np.arange(bins) + 0.5
    heat = (counts * centres).cumsum(1)
    above = below[:, -1:] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = heat / below - (heat[:, -1:] - heat) / above
    apart = np.nan_to_num(below * above * gap**2)
    best = (apart[:, :-1].argmax(1) + 1) / bins
    return low[:, 0] + best * width[:, 0]


def tuned(heatmaps: np.ndarray, masks: np.ndarray, grid=None) -> float:
    """The threshold of the best mean IoU: choose it on the calibration split."""
    grid = np.linspace(0.05, 0.95, 19) if grid is None else np.asarray(grid)
    return float(grid[np.nanmean(overlap(heatmaps, masks, grid), 0).argmax()])


def reachable(masks: np.ndarray, cells: int) -> np.ndarray:
    """The best IoU that whole cells of a grid (cells×cells) can have with a mask (N).

    The best choice is the fullest cells, as many as serve: all prefixes are tried.
    """
    cuts = [
        np.linspace(0, side, cells + 1).round().astype(int) for side in masks.shape[1:]
    ]
    sums = np.add.reduceat(masks.astype(int), cuts[0][:-1], 1)
    sums = np.add.reduceat(sums, cuts[1][:-1], 2).reshape(len(masks), -1)
    sizes = np.outer(*(np.diff(cut) for cut in cuts)).ravel()
    turn = np.argsort(-sums / sizes, axis=1, kind="stable")
    hit = np.take_along_axis(sums, turn, 1).cumsum(1)
    taken = sizes[turn].cumsum(1)
    whole = sums.sum(1, keepdims=True)
    best = (hit / (taken + whole - hit)).max(1)
    return np.where(whole[:, 0] > 0, best, np.nan)


def unlike_skin(pixels: np.ndarray, rim: float = 0.08) -> np.ndarray:
    """How far each place's colour is from the rim's usual one (N×H×W); asks no model."""
    edge = max(1, round(rim * pixels.shape[1]))
    inner = np.s_[:, edge:-edge, edge:-edge]
    outside = np.ones(pixels.shape[1:3], bool)
    outside[inner[1:]] = False
    usual = np.median(pixels[:, outside], axis=1)[:, None, None]
    return np.linalg.norm(pixels - usual, axis=3).astype(np.float32)


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


def _iou(hot: np.ndarray, masks: np.ndarray) -> np.ndarray:
    either = (hot | masks).sum((1, 2))
    both = (hot & masks).sum((1, 2))
    return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def _check(heatmaps, masks) -> None:
    if heatmaps.shape != masks.shape or heatmaps.ndim != 3:
        raise CourseError(
            f"heatmaps are {heatmaps.shape} and masks {masks.shape}: give N×H×W of both"
        )
    low = heatmaps.min() if heatmaps.size else 0
    if not np.isfinite(low + heatmaps.sum()) or low < 0:
        raise CourseError(
            "heatmaps must be finite and not negative: take Explanation.heatmap, or "
            "what is positive of a map"
        )
