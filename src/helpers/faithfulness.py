"""Does the model need what a heatmap shows? Metrics that ask it again (taught in 06).

Pictures are N×H×W×3 uint8, heatmaps N×H×W, classes N numbers. Each metric changes the
pictures, and asks for the probability of the class. What a changed picture is to a
network that never saw one like it, no metric can say.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from . import models, scorecam
from .settings import CourseError

FILLS = ("mean", "blur", "black")


def probabilities(model, x: torch.Tensor, classes, chunk: int = 16) -> np.ndarray:
    """The probability of each picture's class (x: N×3×H×W in [0, 1])."""
    return _answers(model, x, classes, chunk, lambda logits: logits.softmax(1))


def fill(pixels: np.ndarray, how: str = "mean") -> np.ndarray:
    """What takes the place of what is taken out: N×H×W×3 uint8.

    The picture's mean colour, its blurred self, or black.
    """
    if how not in FILLS:
        raise CourseError(f"unknown filling {how!r}; choose one of {', '.join(FILLS)}")
    if how == "black":
        return np.zeros_like(pixels)
    if how == "mean":
        mean = pixels.mean((1, 2), keepdims=True).round().astype(np.uint8)
        return np.broadcast_to(mean, pixels.shape)
    return np.stack([cv2.GaussianBlur(p, (0, 0), p.shape[0] / 12) for p in pixels])


def order(heatmaps: np.ndarray, seed: int = 0) -> np.ndarray:
    """The turn of each place, hottest first (N×H×W, from 0); equal ones by lot."""
    flat = np.reshape(heatmaps, (len(heatmaps), -1))
    lot = np.random.default_rng(seed).permutation(flat.shape[1])
    places = lot[np.argsort(-flat[:, lot], axis=1, kind="stable")]
    turn = np.empty(flat.shape, np.int32)
    np.put_along_axis(turn, places, np.arange(flat.shape[1], dtype=np.int32)[None], 1)
    return turn.reshape(np.shape(heatmaps))


def curves(
    model, pixels, heatmaps, classes, how: str = "mean", steps: int = 16, fast=True
) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion: the class's probability after each step (two N×(steps+1)).

    Deletion takes out the hottest places first; insertion begins with nothing and puts
    the hottest in first. Both ways meet at their ends, which are asked once. `fast`
    folds batch norms into convolutions; the answers are the same.
    """
    check(pixels, heatmaps)
    turn = torch.from_numpy(order(heatmaps))[..., None].permute(0, 3, 1, 2)
    x, base = models.tensor(pixels), models.tensor(fill(pixels, how))
    cuts = np.linspace(0, turn[0].numel(), steps + 1).round().astype(int)
    with torch.inference_mode(), models.quiet(model):
        asked = scorecam.folded(model, x[:2]) if fast else model
        ends = [probabilities(asked, some, classes) for some in (x, base)]
        deleted, inserted = [ends[0]], [ends[1]]
        for cut in cuts[1:-1].tolist():
            hot = turn < cut
            gone, alone = torch.where(hot, base, x), torch.where(hot, x, base)
            deleted.append(probabilities(asked, gone, classes))
            inserted.append(probabilities(asked, alone, classes))
    return np.stack([*deleted, ends[1]], 1), np.stack([*inserted, ends[0]], 1)


def area(curve: np.ndarray) -> np.ndarray:
    """The area under curves (N×(steps+1) → N), their steps equally far apart."""
    return (curve[:, 1:] + curve[:, :-1]).mean(1) / 2


def drop(model, pixels, heatmaps, classes) -> tuple[np.ndarray, np.ndarray]:
    """Average drop and increase, a picture each (two N): the picture times its heatmap.

    The share of the probability that is lost, never below 0; and whether it rose. A map
    that is one everywhere loses nothing: the first of the two is won without looking.
    """
    check(pixels, heatmaps)
    if np.min(heatmaps) < 0 or np.max(heatmaps) > 1:
        raise CourseError("heatmaps must lie in [0, 1], for the picture is times them")
    x = models.tensor(pixels)
    shown = torch.from_numpy(np.ascontiguousarray(heatmaps, np.float32))[:, None]
    before = probabilities(model, x, classes)
    after = probabilities(model, x * shown, classes)
    lost = np.maximum(before - after, 0) / np.maximum(before, 1e-12)
    return lost, after > before


def road(
    model, pixels, heatmaps, classes, shares=(0.2, 0.4, 0.6), seed=0
) -> np.ndarray:
    """Remove and debias (N): the probability that stays when the coldest places go, less
    what stays when the hottest do. Above 0: the hot places matter more.

    `shares` of the picture go, and the mean is taken. Places are filled in from their
    neighbours, with a little noise, so that the hole's outline says less. Rong et al.
    2022; the filling is grad-cam's, whose ROADCombined is half of this.
    """
    check(pixels, heatmaps)
    if not all(0 < share < 1 for share in shares):
        raise CourseError(f"shares must lie between 0 and 1, not {tuple(shares)}")
    x, turn = models.tensor(pixels), order(heatmaps, seed)
    imputer, places = NoisyLinearImputer(), turn[0].size
    kept = {"hot": [], "cold": []}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for share in shares:
            cut = share * places
            for name, gone in (("hot", turn < cut), ("cold", turn >= places - cut)):
                there = torch.from_numpy(~gone).float()
                pairs = zip(x.contiguous(), there, strict=True)
                filled = torch.stack([imputer(*pair) for pair in pairs])
                kept[name].append(probabilities(model, filled, classes))
    return np.mean(kept["cold"], 0) - np.mean(kept["hot"], 0)


def infidelity(
    model, pixels, raw, classes, draws: int = 8, noise: float = 0.1, seed: int = 0
) -> np.ndarray:
    """How far a map is from foretelling what noise does to the logit (N). Yeh et al. 2019.

    `raw` are signed maps N×H×W; each is given the scale that serves it best, for a
    heatmap has none of its own. 0 foretells all, 1 nothing, as a map of zeros does; by
    that one free number, chance comes to about 1 − 1/`draws`. Missing where noise changes
    nothing.
    """
    check(pixels, raw)
    x, raw = models.tensor(pixels), torch.tensor(np.asarray(raw, np.float32))
    draw = torch.Generator().manual_seed(seed)
    told, happened = [], []
    before = _answers(model, x, classes)
    for _ in range(draws):
        change = noise * torch.randn(x.shape, generator=draw)
        happened.append(before - _answers(model, x - change, classes))
        told.append((change.mean(1) * raw).sum((1, 2)).numpy())
    told, happened = np.array(told, float), np.array(happened, float)
    power = (told**2).sum(0)
    scale = np.divide(
        (told * happened).sum(0), power, np.zeros_like(power), where=power > 0
    )
    left = ((scale * told - happened) ** 2).sum(0)
    whole = (happened**2).sum(0)
    return np.divide(left, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def sensitivity(
    explain: Callable[[np.ndarray], np.ndarray],
    pixels,
    radius: int = 5,
    draws: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """The most that a map changes under noise that nobody sees (N), by its own length.

    `explain` makes heatmaps N×H×W of pixels; `radius` is in grey values of 255. An empty
    map that stays empty has 0; one that appears out of nothing has 1. Yeh et al. 2019.
    """
    rng = np.random.default_rng(seed)
    first, worst = explain(pixels), np.zeros(len(pixels))
    check(pixels, first)
    length = np.linalg.norm(first.reshape(len(first), -1), axis=1)
    for _ in range(draws):
        noise = rng.integers(-radius, radius + 1, pixels.shape)
        moved = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        second = explain(moved)
        check(pixels, second)
        gap = np.linalg.norm((second - first).reshape(len(first), -1), axis=1)
        gap = np.divide(gap, length, out=(gap > 0).astype(float), where=length > 0)
        worst = np.maximum(worst, gap)
    return worst


def _answers(model, x, classes, chunk=16, scale=lambda logits: logits) -> np.ndarray:
    """What the model says of each picture's class (N), in chunks, where it lives."""
    classes = np.asarray(classes)
    if classes.shape != (len(x),) or classes.dtype.kind not in "iu":
        raise CourseError(
            f"classes are {classes.shape} of {classes.dtype}: give the number of one class "
            f"for each of {len(x)} pictures"
        )
    device, said = next(model.parameters()).device, []
    with torch.inference_mode(), models.quiet(model):
        for some, c in zip(
            x.split(chunk), torch.from_numpy(classes).split(chunk), strict=True
        ):
            found = scale(model(some.to(device))).cpu()
            said.append(found.gather(1, c.long()[:, None])[:, 0])
    return torch.cat(said).numpy()


def check(pixels, heatmaps) -> None:
    """Refuses maps that do not fit their pictures, or hold what is no number."""
    if len(pixels) == 0 or np.shape(heatmaps) != np.shape(pixels)[:3]:
        raise CourseError(
            f"pictures are {np.shape(pixels)} and maps {np.shape(heatmaps)}: give "
            "N×H×W×3 and N×H×W, at least one of each"
        )
    if not np.isfinite(heatmaps).all():
        bad = int(np.flatnonzero(~np.isfinite(heatmaps).all((1, 2)))[0])
        raise CourseError(f"map {bad} holds values that are not finite: make it again")
