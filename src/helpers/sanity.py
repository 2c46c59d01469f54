"""Does a heatmap depend on what the network has learnt? (taught in 06)

Weights are drawn anew, the head first, then layer by layer towards the picture. A map
that stays as it was never spoke of the network. Adebayo et al. 2018.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from . import models
from .settings import CourseError


def cascade(model: models.Classifier, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network, each with one part more drawn anew: head, then stages.

    The model itself stays as it is. Stages without weights are passed over.
    """
    found = copy.deepcopy(model).eval()
    parts = {name: found.get_submodule(name) for name in reversed(models.stages(model))}
    draw = torch.Generator().manual_seed(seed)
    for name, part in {"head": found.head, **parts}.items():
        if any(True for _ in part.parameters()):
            redraw(part, draw)
            yield name, copy.deepcopy(found)


def redraw(part: nn.Module, draw: torch.Generator | None = None) -> None:
    """Each tensor of weights as one drawn with the same mean and spread, in place.

    So the network's numbers keep their size, and only what they knew is lost: the running
    means of batch norms, which hold sizes alone, stay. A lone weight loses its sign.
    """
    with torch.no_grad():
        for weight in part.parameters():
            anew = torch.randn(weight.shape, generator=draw).to(weight)
            if weight.numel() == 1:
                weight.mul_(anew)
            else:
                weight.copy_(weight.mean() + weight.std() * anew)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two maps of each picture (N×H×W → N).

    0 if one of them is the same everywhere, for it says nothing about the other.
    """
    _alike(first, second)
    pair = [_centred_ranks(_checked(m)) for m in (first, second)]
    above = (pair[0] * pair[1]).sum(1)
    under = np.sqrt((pair[0] ** 2).sum(1) * (pair[1] ** 2).sum(1))
    return np.divide(above, under, out=np.zeros(len(above)), where=under > 0)


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM of two heatmaps in [0, 1] of each picture (N×H×W → N). Wang et al. 2004.

    Windows are Gaussian, 11 places wide: maps must be as large as that.
    """
    _alike(first, second)
    for maps in map(_checked, (first, second)):
        if min(maps.shape[1:]) < 11 or maps.min() < 0 or maps.max() > 1:
            raise CourseError(
                f"maps are {maps.shape} from {maps.min():.3g} to {maps.max():.3g}: give "
                "heatmaps in [0, 1], at least 11 places high and wide"
            )
    pair = [torch.from_numpy(np.array(m, np.float32))[:, None] for m in (first, second)]
    return np.atleast_1d(ssim(*pair, data_range=1.0, reduction="none").numpy())


def agreement(maps: dict[str, np.ndarray]) -> np.ndarray:
    """The mean rank correlation of each kind of map with each other (M×M).

    Methods that share a formula agree because of it: that is no evidence for either.
    """
    _alike(*maps.values())
    ranks = np.stack([_centred_ranks(_checked(m)) for m in maps.values()])
    length = np.linalg.norm(ranks, axis=2, keepdims=True)
    ranks = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return np.einsum("anp,bnp->abn", ranks, ranks).mean(2)


def _centred_ranks(maps: np.ndarray) -> np.ndarray:
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks - ranks.mean(1, keepdims=True)


def _alike(*maps) -> None:
    if len({m.shape for m in maps}) != 1:
        shapes = ", ".join(str(m.shape) for m in maps)
        raise CourseError(f"maps are {shapes}: give all of one shape, N×H×W")


def _checked(maps: np.ndarray) -> np.ndarray:
    if maps.ndim != 3 or not len(maps) or not np.isfinite(maps).all():
        raise CourseError(f"maps must be N×H×W of finite numbers, not {maps.shape}")
    return maps
