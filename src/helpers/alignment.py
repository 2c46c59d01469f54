"""Do maps agree with radiologists' boxes? By finding, and by definition (taught in 07).

An instance is a finding on a film with at least one box of it; its mask is all of its
boxes. Heatmaps and masks are M×S×S, one an instance. The same is asked of maps that never
saw the film: above all the average box of that finding, from the training films.
"""

import cv2
import numpy as np
import pandas as pd
import torch

from . import cam, images, localisation, metrics
from .settings import CourseError

SIDE = 112  # of masks and heatmaps, whatever the size of film and map
LEVELS = np.linspace(0.05, 0.95, 19)  # thresholds to choose from
HOT = 0.5  # "high attention", where no threshold is tuned
# CheXlocalize's own table: Grad-CAM of a DenseNet-121 on 10 findings of CheXpert's
# validation set, mean IoU over all films, at the best probability cut (repository
# rajpurkarlab/cheXlocalize, sample/probability_tuning_results.csv).
CHEXLOCALIZE = {
    "Edema": 0.233,
    "Cardiomegaly": 0.223,
    "Consolidation": 0.211,
    "Airspace Opacity": 0.204,
    "Enlarged Cardiomediastinum": 0.191,
    "Support Devices": 0.167,
    "Atelectasis": 0.134,
    "Effusion": 0.133,
    "Pneumothorax": 0.125,
    "Lung Lesion": 0.000,
}
TOLERANCE = 15 / 224  # of the side: the pointing game's 15 pixels


def instances(cases: pd.DataFrame, findings: list[str]) -> tuple:
    """One row an instance (film, finding, k, patient, split, boxes, area), and masks."""
    rows, masks = [], []
    for film, case in enumerate(cases.itertuples()):
        if not isinstance(case.boxes, list):
            continue
        high, wide = images.shape(case.path)
        for k, finding in enumerate(findings):
            own = [box for name, *box in case.boxes if name == finding]
            mask = boxed(own, (high, wide))
            if mask.any():
                told = film, finding, k, case.group, case.split, len(own), mask.mean()
                rows.append(told)
                masks.append(mask)
    if not rows:
        raise CourseError(
            "no film has a box: choose chestxray14, or the synthetic films"
        )
    columns = ["film", "finding", "k", "group", "split", "boxes", "area"]
    return pd.DataFrame(rows, columns=columns), np.array(masks)


def boxed(boxes, shape: tuple[int, int], side: int = SIDE) -> np.ndarray:
    """Boxes (x, y, w, h) on a film of (H, W) as a mask (side×side bool).

    Every place that a box touches is in it: a small nodule does not vanish.
    """
    mask = np.zeros((side, side), bool)
    for x, y, w, h in boxes:
        top, low = (v * side / shape[0] for v in (y, y + h))
        left, right = (v * side / shape[1] for v in (x, x + w))
        rows = slice(int(top + 1e-6), int(np.ceil(low - 1e-6)))
        mask[rows, int(left + 1e-6) : int(np.ceil(right - 1e-6))] = True
    return mask


def heat(raw: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Raw maps (M×h×w) as heatmaps (M×side×side in [0, 1])."""
    return cam.to_heatmap(torch.from_numpy(raw), (side, side))[0].numpy()


def average_box(table: pd.DataFrame, masks: np.ndarray, wanted) -> np.ndarray:
    """For each wanted finding the mean of its training masks, over its maximum."""
    train = (table.split == "train").to_numpy()
    mean = {
        finding: masks[train & (table.finding == finding).to_numpy()].mean(0)
        for finding in dict.fromkeys(wanted)
    }
    return np.stack([mean[f] / mean[f].max() for f in wanted]).astype(np.float32)


# The measures: heatmaps and masks M×S×S → M numbers between 0 and 1.


def hit(heatmaps, masks, tolerance: float = 0) -> np.ndarray:
    """The pointing game: is the hottest place in a box, or `tolerance` away from one?"""
    if tolerance:
        reach = round(tolerance * masks.shape[2])
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = (np.hypot(x, y) <= reach).astype(np.uint8)
        masks = np.array([cv2.dilate(m.astype(np.uint8), disc) > 0 for m in masks])
    flat = heatmaps.reshape(len(masks), -1)
    place = flat.argmax(1)
    found = masks.reshape(len(masks), -1)[np.arange(len(masks)), place]
    return np.where(flat.any(1), found, False).astype(float)


def iou(heatmaps, masks, threshold=HOT) -> np.ndarray:
    """What is hot and boxed, over what is hot or boxed; a threshold, or one each (M)."""
    hot = heatmaps >= np.reshape(threshold, (-1, 1, 1))
    return (hot & masks).sum((1, 2)) / (hot | masks).sum((1, 2))


def overlaps(heatmaps, masks, threshold=HOT) -> np.ndarray:
    """Does the hot area touch a box at all?"""
    return ((heatmaps >= threshold) & masks).any((1, 2)).astype(float)


def covered(heatmaps, masks, threshold=HOT) -> np.ndarray:
    """The share of the boxes that is hot."""
    return ((heatmaps >= threshold) & masks).sum((1, 2)) / masks.sum((1, 2))


def agreement(heatmaps, masks, threshold=HOT) -> np.ndarray:
    """The share of all places that are hot and boxed, or neither."""
    return ((heatmaps >= threshold) == masks).mean((1, 2))


def same_side(heatmaps, masks) -> np.ndarray:
    """Is the hottest place in a half of the film, left or right, that a box reaches?"""
    half = masks.shape[2] // 2
    right = heatmaps.reshape(len(masks), -1).argmax(1) % masks.shape[2] >= half
    sides = masks[:, :, :half].any((1, 2)), masks[:, :, half:].any((1, 2))
    return np.where(right, sides[1], sides[0]).astype(float)


DEFINITIONS = {
    "mean IoU, hot at half": iou,
    "box AUPRC": localisation.precision,
    "share of the heat in the boxes": localisation.energy,
    "IoU at least a tenth": lambda h, m: (iou(h, m) >= 0.1).astype(float),
    "share of the boxes that is hot at half": covered,
    "pointing game": hit,
    "pointing game, 15 pixels allowed": lambda h, m: hit(h, m, TOLERANCE),
    "hot at half touches a box": overlaps,
    "hottest place on a side with a box": same_side,
    "a place in a box is hotter than one outside": localisation.ranking,
    "hot at a quarter touches a box": lambda h, m: overlaps(h, m, 0.25),
    "places alike, hot at half": agreement,
    "places alike, hot at three quarters": lambda h, m: agreement(h, m, 0.75),
}


def by_definition(heatmaps, masks, group, lungs=None) -> pd.DataFrame:
    """Every definition's mean over instances: score, low, high, n.

    Where the lungs are known (M×S×S), the share of the heat that lies on them is one.
    """
    values = {name: rule(heatmaps, masks) for name, rule in DEFINITIONS.items()}
    if lungs is not None:
        values["share of the heat on the lungs"] = localisation.energy(heatmaps, lungs)
    return metrics.means(values, group)


def tuned(heatmaps, masks, finding) -> pd.Series:
    """For each finding the threshold of the best mean IoU on these instances."""
    scores = pd.DataFrame({t: iou(heatmaps, masks, t) for t in LEVELS})
    return scores.groupby(np.asarray(finding)).mean().idxmax(axis=1)


def by_finding(values: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """The mean of a measure for each finding: score, low, high, n, patients."""
    rows = {}
    for finding, own in table.reset_index(drop=True).groupby("finding"):
        score = metrics.mean_interval(values[own.index], own.group)
        rows[finding] = *score, len(own), own.group.nunique()
    columns = ["score", "low", "high", "n", "patients"]
    frame = pd.DataFrame(rows, columns).T
    return frame.astype({"n": int, "patients": int})
