"""Chest films as they are read: which set, negatives, lungs, stickers, bones (07)."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd

from . import chest, datasets, films, images
from .settings import CHEST, Settings

STICKER = (0.04, 0.09)  # where the planted word begins


def about(cfg: Settings) -> Settings:
    """The settings of notebook 07: with a set of skin pictures, the synthetic films."""
    if cfg.dataset in ("synthetic", *CHEST):
        return cfg
    print(f"{cfg.title} has no chest film: the synthetic films are read instead")
    return replace(cfg, dataset="synthetic")


def load(cfg: Settings) -> pd.DataFrame:
    """The table of films of a run, those that can be decoded."""
    if cfg.dataset in CHEST:
        return datasets.usable(datasets.load(cfg.dataset))
    return datasets.usable(chest.chestxray14(films.ensure(cfg.profile, cfg.seed)))


def lungs(table: pd.DataFrame, cfg: Settings, size: int) -> np.ndarray | None:
    """The lungs of each film (N×size×size bool); None where nobody drew them."""
    if cfg.dataset != "synthetic":
        return None
    truth = films.truth(films.ensure(cfg.profile, cfg.seed)).set_index("image_id")
    paths = table.image_id.map(truth.lungs_path)
    return images.load_masks(table.assign(mask_path=paths), size)


def negatives(pixels: np.ndarray) -> np.ndarray:
    """Which films (N×H×W×3) are stored as negatives of the others (N bool).

    A PNG cannot say so, as a DICOM file's MONOCHROME1 does: these run against the median.
    """
    coarse = np.stack(
        [cv2.resize(f[..., 0], (16, 16), interpolation=3) for f in pixels]
    )
    flat = coarse.reshape(len(pixels), -1).astype(float)
    middle = np.median(flat, axis=0)
    centred = flat - flat.mean(1, keepdims=True)
    return centred @ (middle - middle.mean()) < 0


def read(table: pd.DataFrame, size: int) -> np.ndarray:
    """The films of a table, N×size×size×3 uint8; negatives are turned, and named."""
    pixels = images.load(table, size)
    turned = negatives(pixels)
    if turned.any():
        names = table.image_id[turned].tolist()
        print(
            f"{len(names):,} films are negatives and were turned: {', '.join(names[:5])}"
        )
        pixels = np.where(turned[:, None, None, None], 255 - pixels, pixels)
    return pixels


def stickered(pixels: np.ndarray, word: str = "SUPINE") -> np.ndarray:
    """Copies of films (N×H×W×3 uint8) with a word in the upper left corner."""
    return np.array([films.write_on(film, word, STICKER, 0.65) for film in pixels])


def sticker_mask(size: int, margin: float = 0, word: str = "SUPINE") -> np.ndarray:
    """Where the sticker lies (H×W bool): the box around its letters, and a margin."""
    empty = np.zeros((1, size, size, 3), np.uint8)
    x, y, w, h = films.box_of(stickered(empty, word)[0].any(2))
    mask, edge = np.zeros((size, size), bool), round(margin * size)
    mask[max(y - edge, 0) : y + h + edge, max(x - edge, 0) : x + w + edge] = True
    return mask


def bones(film: np.ndarray) -> np.ndarray:
    """A film (H×W×3 uint8) with its edges drawn out: ribs and borders stand clear."""
    calm = cv2.GaussianBlur(film[..., 0], (0, 0), film.shape[0] / 400)  # less grain
    grey = cv2.createCLAHE(2.5, (8, 8)).apply(calm)
    smooth = cv2.GaussianBlur(grey, (0, 0), film.shape[0] / 40)
    sharp = cv2.addWeighted(grey, 2.2, smooth, -1.5, 40)
    return np.repeat(sharp[..., None], 3, axis=2)
