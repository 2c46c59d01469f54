"""A model folder as training leaves it, its network untrained: for service and archive."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from PIL import Image

from helpers import familiar, models, saved

CLASSES = ["bkl", "mel", "nv"]
SIZE = 64
PNG = {"Content-Type": "image/png"}


def model(folder: Path) -> Path:
    """A network whose weights were drawn, with its calibration pictures and its rule."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.build("mobilenet_v2", CLASSES, SIZE, start="random").eval()
    pixels = np.stack([skin(k) for k in range(72)])
    y, part = np.arange(72) % 3, np.repeat(["train", "calibration"], 36)
    logits = models.logits(net, pixels, 2)
    told = {"recipe": {"views": 2}, "shift": [0.0] * 3, "temperature": 0.01, "seed": 0}
    page = saved.save(net, folder, **told)
    table = {"image_id": [f"P{k}" for k in range(72)], "group": np.arange(72) // 2}
    table |= {"split": part, "label": np.array(CLASSES)[y]}
    table |= dict(zip(CLASSES, logits.T, strict=True))
    table = pd.DataFrame(table)
    table.to_csv(folder / "logits.csv", index=False)
    paths = folder.with_name("pictures")
    paths.mkdir()
    table["path"] = [str(paths / f"{name}.png") for name in table.image_id]
    for path, picture in zip(table.path, pixels, strict=True):
        Image.fromarray(picture).save(path)
    familiar.ensure(SimpleNamespace(model=net, page=page, cases=table, folder=folder))
    return folder


def skin(seed: int, size: int = SIZE, wide: int | None = None) -> np.ndarray:
    """Something like a lesion: a dark spot on light noise (size×wide×3 uint8)."""
    rng, wide = np.random.default_rng(seed), wide or size
    y, x = np.mgrid[:size, :wide]
    away = np.hypot(y - size * rng.uniform(0.3, 0.7), x - wide * rng.uniform(0.3, 0.7))
    spot = 90 * (away < size * rng.uniform(0.15, 0.35))[..., None]
    noise = rng.normal(0, 6, (size, wide, 3))
    return np.uint8(np.clip([205, 160, 135] - spot * [0.8, 1, 1] + noise, 0, 255))


def data(pixels, kind: str = "PNG", **how) -> bytes:
    """A picture as a file's bytes."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()
