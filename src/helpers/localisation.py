"""Does a heatmap point at what is known to be there? (taught in 03, more in 06)

Heatmaps are N×H×W and not negative, masks N×H×W bool. Where a mask is empty there is
nothing to find, and every measure is missing (NaN): `metrics.means` leaves that picture
out and counts those that stay. What never looks at the model is measured beside it: a map
that beats none of these has shown nothing.
"""

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from scipy.stats import rankdata

from . import metrics
from .settings import CourseError


def energy(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The share of each map's heat that lies inside its mask (N); 0 for an empty map."""
    _check(heatmaps, masks)
    total = heatmaps.sum((1, 2), dtype=float)
    inside = (heatmaps * masks).sum((1, 2), dtype=float)
    share = np.divide(inside, total, out=np.zeros(len(total)), where=total > 0)
    return _there(share, masks)


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
    """Average precision of the places, hottest first (AUPRC, N).

    Chance is the mask's share of the picture: `masks.mean((1, 2))`. Places equally hot
    come in together, so a map that is the same everywhere has just that.
    """
    _check(heatmaps, masks)
    flat, inside = heatmaps.reshape(len(masks), -1), masks.reshape(len(masks), -1)
    turn = np.argsort(-flat, axis=1)
    hot = np.take_along_axis(flat, turn, 1)
    found = np.take_along_axis(inside, turn, 1).cumsum(1)
    last = np.ones(hot.shape, bool)  # of places equally hot, the last says for all
    last[:, :-1] = hot[:, 1:] != hot[:, :-1]
    known = np.maximum.accumulate(np.where(last, found, 0), 1)
    gained = np.diff(known, axis=1, prepend=0)  # places of the mask that came in here
    n = found[:, -1]
    total = (gained * found / np.arange(1, found.shape[1] + 1)).sum(1)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


def pointing(heatmaps: np.ndarray, masks: np.ndarray, tolerance=15 / 224) -> np.ndarray:
    """Does the hottest place lie in the mask (N)? Of several, the share that does.

    `tolerance`: how far beside it may lie, as a share of the height (15 of 224 pixels in
    Zhang et al. 2018). A map that is the same everywhere points everywhere.
    """
    _check(heatmaps, masks)
    height, width = masks.shape[1:]
    apart = height + width  # farther than any two places of one picture
    away = distance_transform_edt(~masks, sampling=(apart, 1, 1))
    near = away <= max(tolerance, 0) * height
    hottest = heatmaps == heatmaps.max((1, 2), keepdims=True)
    return _there((hottest & near).sum((1, 2)) / hottest.sum((1, 2)), masks)


def overlap(heatmaps: np.ndarray, masks: np.ndarray, thresholds) -> np.ndarray:
    """IoU of what is at least as hot as each threshold with the mask (N×T).

    A threshold is a number for all, or an array with one for each picture. What has no
    heat at all is never taken, whatever the threshold.
    """
    _check(heatmaps, masks)
    columns = []
    for level in thresholds:
        hot = heatmaps >= np.broadcast_to(level, len(masks))[:, None, None]
        hot &= heatmaps > 0
        columns.append(_iou(hot, masks))
    return np.stack(columns, 1)


def dice(iou):
    """The Dice score of each IoU: never smaller, and in the same order.

    Of each picture's, not of a mean of them: means may come in another order.
    """
    return 2 * iou / (1 + iou)


def as_large(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """IoU when each map keeps just as many places as its mask has (N).

    Where places at the border are equally hot, each is kept in part: a map that is the
    same everywhere has what keeping places by lot would have.
    """
    _check(heatmaps, masks)
    flat, inside = heatmaps.reshape(len(masks), -1), masks.reshape(len(masks), -1)
    n = inside.sum(1, keepdims=True)
    level = np.take_along_axis(np.sort(flat, 1), np.minimum(-n, -1), 1)
    above, border = flat > level, flat == level
    part = (n - above.sum(1, keepdims=True)) / border.sum(1, keepdims=True)
    both = ((above + part * border) * inside).sum(1)
    return _there(both / np.maximum(2 * n[:, 0] - both, 1), masks)


def otsu(heatmaps: np.ndarray, bins: int = 256) -> np.ndarray:
    """Otsu's threshold of each map (N): what is at least as hot differs most from the rest.

    The lower end of a bin between the map's coldest and hottest. A map that is the same
    everywhere has no hot part: its threshold lies above it.
    """
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
    if not masks.any():
        raise CourseError(
            "no mask has a place in it: a threshold needs one to be tuned"
        )
    grid = np.linspace(0.05, 0.95, 19) if grid is None else np.asarray(grid)
    return float(grid[np.nanmean(overlap(heatmaps, masks, grid), 0).argmax()])


def reachable(masks: np.ndarray, cells: int) -> np.ndarray:
    """The best IoU that whole cells of a grid (cells×cells) can have with a mask (N).

    The best choice is the fullest cells, as many as serve: all are tried. A map enlarged
    smoothly can round its corners, and so come out a little above.
    """
    if not 1 <= cells <= min(masks.shape[1:]):
        raise CourseError(
            f"{cells} cells a side: give 1 to {min(masks.shape[1:])}, a pixel in each"
        )
    cuts = [
        np.linspace(0, side, cells + 1).round().astype(int) for side in masks.shape[1:]
    ]
    sums = np.add.reduceat(masks.astype(int), cuts[0][:-1], 1)
    sums = np.add.reduceat(sums, cuts[1][:-1], 2).reshape(len(masks), -1)
    sizes = np.outer(*(np.diff(cut) for cut in cuts)).ravel()
    turn = np.argsort(-sums / sizes, axis=1)
    hit = np.take_along_axis(sums, turn, 1).cumsum(1)
    taken = sizes[turn].cumsum(1)
    return _there((hit / (taken + hit[:, -1:] - hit)).max(1), masks)


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


def dumb(pixels: np.ndarray, usual: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """More such maps, each from 0 to 1: not darkness, but at random, by colour, and where
    lesions `usual`-ly lie: the mean of training masks (H×W)."""
    found, shape = blind(pixels), pixels.shape[:3]
    found.pop("darkness")
    found["random"] = np.random.default_rng(seed).random(shape, np.float32)
    found["colour unlike skin"] = unlike_skin(pixels)
    found["mean training lesion"] = np.broadcast_to(usual, shape)
    highest = {
        n: np.maximum(m.max((1, 2), keepdims=True), 1e-9) for n, m in found.items()
    }
    return {name: m / highest[name] for name, m in found.items()}


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
    both, either = (hot & masks).sum((1, 2)), (hot | masks).sum((1, 2))
    return _there(both / np.maximum(either, 1), masks)


def _there(score: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The score (N) where there is something to find, elsewhere missing."""
    return np.where(masks.any((1, 2)), score, np.nan)


def _check(heatmaps, masks) -> None:
    if heatmaps.shape != masks.shape or heatmaps.ndim != 3:
        raise CourseError(
            f"heatmaps are {heatmaps.shape} and masks {masks.shape}: give N×H×W of both"
        )
    if masks.dtype != bool:
        raise CourseError(f"masks are {masks.dtype}, not bool: give masks > 0")
    bad = ~(np.isfinite(heatmaps) & (heatmaps >= 0)).all((1, 2))
    if bad.any():
        raise CourseError(
            f"heatmaps must be finite and not negative, and {bad.sum()} are not, first "
            f"number {bad.argmax()}: take Explanation.heatmap, or what is positive of a map"
        )
