"""Near-duplicates, found from the pixels alone. Taught in notebook 01."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from . import cases

SIDE = 12  # a thumbnail of 12×12 pixels: what is left of a picture at a glance
PAIR = ["from_img", "to_img"]
ALIKE = 0.98  # cosine of two thumbnails from which we call them the same photograph


def thumbprints(images: np.ndarray) -> np.ndarray:
    """Tiny thumbnails (N×H×W×3 → N×432), without overall colour, of length one.

    Two photographs that differ in light and a little in framing lie close together; a
    picture without any content (one flat colour) gets the zero vector.
    """
    if not len(images):
        return np.empty((0, SIDE * SIDE * 3), np.float32)
    small = [
        Image.fromarray(im).resize((SIDE, SIDE), Image.Resampling.BOX) for im in images
    ]
    x = np.stack([np.asarray(s, np.float32) for s in small]).reshape(len(images), -1, 3)
    x = (x - x.mean(1, keepdims=True)).reshape(len(images), -1)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 1e-3)


def turned(x: np.ndarray) -> list[np.ndarray]:
    """Thumbprints as they would be with the picture turned and mirrored: 8 ways."""
    grid = x.reshape(-1, SIDE, SIDE, 3)
    both = (grid, grid[:, :, ::-1])
    ways = (np.rot90(g, k, axes=(1, 2)) for g in both for k in range(4))
    return [np.ascontiguousarray(w).reshape(x.shape) for w in ways]


def find(images: np.ndarray, alike: float = ALIKE, chunk: int = 1024) -> pd.DataFrame:
    """Pairs of rows that show the same photograph, also turned or mirrored.

    One matrix product a chunk and way: 10,000 pictures take seconds, and memory stays
    at chunk × N. Returns first, second (row numbers, first < second) and similarity.
    """
    prints = thumbprints(images)
    found: dict[tuple[int, int], float] = {}
    for other in turned(prints):
        for start in range(0, len(prints), chunk):
            cosine = prints[start : start + chunk] @ other.T
            rows, cols = np.nonzero(cosine > alike)
            for i, j, c in zip(rows + start, cols, cosine[rows, cols], strict=True):
                if i < j:
                    pair = (int(i), int(j))
                    found[pair] = max(found.get(pair, 0.0), float(c))
    rows = [(i, j, c) for (i, j), c in sorted(found.items())]
    table = pd.DataFrame(rows, columns=["first", "second", "similarity"])
    return table.astype({"first": int, "second": int, "similarity": float})


def known(folder: Path) -> np.ndarray:
    """Pairs of image ids that are known to show one lesion under two ids (…×2).

    Read from the list that Abhishek et al. publish for HAM10000, in the set's folder or
    in HAM10000's beside it (DermaMNIST shows the same lesions); the synthetic set
    writes its planted ones in the same layout. No list, no pairs.
    """
    places = (Path(folder), Path(folder).parent / "ham10000")
    lists = [place / "newly_discovered_duplicates.csv" for place in places]
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        return np.empty((0, 2), dtype=object)
    pairs = cases.read_csv("pairs", path.parent, path.name, columns=PAIR)[PAIR]
    return pairs.apply(lambda ids: ids.str.removesuffix(".jpg")).to_numpy(dtype=object)
