"""Trainings that take no time: a network of 2,000 weights, and discs that have a colour."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from helpers import models, training, weights
from helpers.recipes import Recipe

CLASSES = ["bkl", "mel", "nv"]
RECIPE = Recipe("tiny", "tiny_net", lr=1e-2, batch=8, size=32)


def tiny_net() -> nn.Module:
    """The shape of torchvision's networks, for `models.network`."""
    net = nn.Module()
    net.features = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    )
    net.classifier = nn.Linear(16, 1000)
    return net


def install(patch) -> None:
    """Makes the network known to the course, with "ImageNet weights" of its own."""
    known = models.Backbone("tiny_net", "features", ("features.0",) * 3)
    patch.setitem(models.BACKBONES, "tiny_net", known)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = tiny_net().state_dict()
    network, imagenet = models.network, weights.imagenet
    patch.setattr(
        models, "network", lambda n: tiny_net() if n == "tiny_net" else network(n)
    )
    patch.setattr(
        weights, "imagenet", lambda n: (state, None) if n == "tiny_net" else imagenet(n)
    )


def discs(n: int = 48, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures N×size×size×3: a disc on noise, red, green or blue; and which (N)."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, size, size, 3))
    y = np.arange(n) % 3
    at = np.arange(size) - size / 2
    inside = at[:, None] ** 2 + at**2 < (size / 3) ** 2
    for picture, channel in zip(pixels, y, strict=True):
        picture[inside, channel] = picture[inside, channel] // 2 + 100
    return pixels.astype(np.uint8), y


def parts(n: int = 48) -> np.ndarray:
    """Half is for training, a quarter each for calibration and test; classes alike."""
    return np.repeat(["train", "train", "calibration", "test"], 3)[np.arange(n) % 12]


def train(folder, seed: int = 0, n: int = 48, **changes):
    """The model and the history of a training with these changes to RECIPE."""
    recipe = replace(RECIPE, **changes)
    return training.train(recipe, *discs(n), parts(n), CLASSES, folder, seed)


def cases(folder, n: int = 48) -> pd.DataFrame:
    """A table of cases, its pictures written below `folder`; two pictures a lesion."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, y = discs(n)
    table = pd.DataFrame({"image_id": [f"P{i:03d}" for i in range(n)]})
    table["path"] = [str(folder / f"{name}.png") for name in table.image_id]
    for path, picture in zip(table.path, pixels, strict=True):
        Image.fromarray(picture).save(path)
    table["label"], table["split"] = np.array(CLASSES)[y], parts(n)
    table["group"] = [f"L{i // 24}{i % 12}" for i in range(n)]
    return table
