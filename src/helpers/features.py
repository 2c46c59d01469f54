"""A frozen trunk is run once: its features, kept on disk (taught in notebook 02).

A head of a few thousand weights learns from them in a second, as often as one likes.
"""

import numpy as np
import torch
from filelock import FileLock

from . import models, saved
from .files import atomic, below_out


def of(model, pixels: np.ndarray, augment="none", drawn=1, seed=0) -> np.ndarray:
    """Features of pictures (N×H×W×3 uint8 → N×K×D): of each itself, then K - 1 drawn ones.

    The further views are drawn as a recipe's `augment` draws its training pictures.
    """
    told = (augment, drawn, seed) if drawn > 1 else ("itself",)
    seen = model.mean, model.std, *model.trunk.state_dict().values()
    key = saved.key(told, *seen, pixels)
    path = below_out("cache", f"features_{model.backbone}_{key}.npy")
    with FileLock(path.with_suffix(".lock")):
        try:
            return np.load(path, allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):  # none yet, or a broken one
            made = _made(model, pixels, augment, drawn, seed)
        with atomic(path) as part, open(part, "wb") as to:
            np.save(to, made)
    return made


def _made(model, pixels, augment: str, drawn: int, seed: int) -> np.ndarray:
    """The features of `of`; its draws depend on the seed alone, and disturb no others."""
    if drawn == 1:
        return models.features(model, pixels)[:, None]
    from fastai.torch_core import no_random

    from . import augments  # like fastai seconds to import: only for those who draw

    draw = augments.drawing(augment, pixels.shape[1])

    def views(x):
        seen = [x, *(draw(x) for _ in range(drawn - 1))]
        return torch.stack([model.features(v) for v in seen], 1)

    with no_random(seed):
        return models.each(model, pixels, views)
