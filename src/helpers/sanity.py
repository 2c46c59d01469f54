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
    """Copies of a network, each with one part more drawn anew: head, then stages."""
    found = copy.deepcopy(model)
    parts = {"head": found.head}
    parts |= {
        name: found.get_submodule(name) for name in reversed(models.stages(model))
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, part in parts.items():
            redraw(part)
            yield name, copy.deepcopy(found).eval()


def redraw(part: nn.Module) -> None:
    """Each weight as one drawn with the same mean and spread, in place.

    So the network's numbers keep their size, and only what they knew is lost.
    """
    with torch.no_grad():
        for weight in part.parameters():
            spread = weight.std() if weight.numel() > 1 else weight.abs().mean()
            weight.copy_(weight.mean() + spread * torch.randn_like(weight))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two maps of each picture (N×H×W → N); 0 if one is flat."""
    pair = [_centred_ranks(_checked(m)) for m in (first, second)]
    above = (pair[0] * pair[1]).sum(1)
    under = np.sqrt((pair[0] ** 2).sum(1) * (pair[1] ** 2).sum(1))
    return np.divide(above, under, out=np.zeros(len(above)), where=under > 0)


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM of two maps in [0, 1] of each picture (N×H×W → N)."""
    pair = [
        torch.from_numpy(np.array(_checked(m), np.float32))[:, None]
        for m in (first, second)
    ]
    return np.atleast_1d(ssim(*pair, data_range=1.0, reduction="none").numpy())


def agreement(maps: dict[str, np.ndarray]) -> np.ndarray:
    """The mean rank correlation of each kind of map with each other (M×M)."""
    ranks = np.stack([_centred_ranks(_checked(m)) for m in maps.values()])
    length = np.linalg.norm(ranks, axis=2, keepdims=True)
    ranks = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return np.einsum("anp,bnp->abn", ranks, ranks).mean(2)


def _centred_ranks(maps: np.ndarray) -> np.ndarray:
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks - ranks.mean(1, keepdims=True)


def _checked(maps: np.ndarray) -> np.ndarray:
    if maps.ndim != 3 or not len(maps) or not np.isfinite(maps).all():
        raise CourseError(f"maps must be N×H×W of finite numbers, not {maps.shape}")
    return maps
