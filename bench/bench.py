"""How fast the parts are, as numbers and ratios measured in this one run: `make bench`.

Nothing here is a test: machines differ. Each line names what it is compared with.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from helpers import duplicates, images, synthetic


def seconds(work, repeats: int = 3) -> float:
    """The fastest of a few runs: what the machine can do when left in peace."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def drawing(folder: Path) -> None:
    recipe = synthetic.Recipe(pictures=600)
    taken = seconds(lambda: synthetic.write(recipe, folder / "drawn"), repeats=1)
    n = len(pd.read_csv(folder / "drawn" / "truth.csv"))
    print(
        f"drawing       {n / taken:7.0f} pictures/s at 160 px, with all masks (n = {n})"
    )


def reading(folder: Path, n: int = 300) -> None:
    """JPEGs of HAM10000's size, against the cache at working size."""
    rng = np.random.default_rng(0)
    paths = []
    for k in range(n):
        small = Image.fromarray(rng.integers(0, 255, (45, 60, 3), dtype=np.uint8))
        paths.append(str(folder / f"{k}.jpg"))
        small.resize((600, 450), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    table = pd.DataFrame({"image_id": range(n), "path": paths})

    def plain():
        for path in paths:
            Image.open(path).convert("RGB").resize((128, 128))

    decode = seconds(plain)
    images.load(table, 128, folder)
    cached = seconds(lambda: np.array(images.load(table, 128, folder)))
    print(
        f"cached epoch  {decode / cached:7.0f} × faster than decoding (n = {n} JPEGs)"
    )


def searching(n: int = 10_000) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    taken = seconds(lambda: duplicates.find(pictures), repeats=1)
    print(f"near-duplicates {taken:5.1f} s for {n:,} pictures, 8 ways of turning each")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        drawing(Path(temporary))
        reading(Path(temporary))
    searching()
