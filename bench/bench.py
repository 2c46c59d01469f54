"""How fast the parts are, as numbers and ratios measured in this one run: `make bench`.

Nothing here is a test: machines differ. Each line names what it is compared with.
"""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from helpers import (
    duplicates,
    images,
    metrics,
    models,
    recipes,
    skin,
    synthetic,
    training,  # brings in fastai without its warnings
)


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


def frozen_trunk(folder: Path, n: int = 1200, epochs: int = 10) -> None:
    """A head on features computed once, against fastai running the frozen trunk always."""
    table = skin.ham10000(
        synthetic.write(synthetic.Recipe(n, 128, 0, 0.0), folder / "f")
    )
    pixels = np.array(images.load(table, 128, folder))
    classes = sorted(set(table.label))
    y = table.label.map(classes.index).to_numpy()
    parts = np.where(np.arange(len(y)) % 4, "train", "calibration")
    quick = recipes.Recipe(
        "A", recipes.SMALL, head_epochs=epochs, lr=1e-3, batch=32, size=128
    )
    held = parts == "calibration"
    warm = models.build(quick.backbone, classes)
    models.logits(warm, pixels[:64])  # what the first call imports is not timed

    def score(model) -> str:
        said = models.logits(model, pixels[held]).argmax(1)
        found = metrics.scores(y[held], said, np.arange(held.sum()))
        return "{score:.3f} [{low:.3f}, {high:.3f}]".format(**found.iloc[1])

    for drawn, augment in ((1, "none"), (4, "light")):
        plan = replace(quick, drawn=drawn, augment=augment)
        start = time.perf_counter()
        kept, _ = training.train(plan, pixels, y, parts, classes, folder / f"{drawn}")
        once = time.perf_counter() - start
        start = time.perf_counter()
        every = always(plan, pixels, y, parts, classes)
        ratio = (time.perf_counter() - start) / once
        print(
            f"frozen trunk  {ratio:7.1f} × faster over {epochs} epochs, {drawn} view(s) "
            f"kept, augmentation {augment}; balanced accuracy {score(kept)}, always run "
            f"{score(every)} (n = {held.sum()})"
        )


def always(plan, pixels, y, parts, classes):
    """The peer: fastai's Learner with the trunk frozen, its batch norm too."""
    from fastai.callback.training import BnFreeze

    torch.manual_seed(0)
    model = models.build(plan.backbone, classes, plan.size)
    dls = training.loaders(pixels, y, parts, plan, "cpu")
    learn = training.learner(dls, model, plan, "cpu")
    learn.train_bn = False
    learn.freeze()
    with learn.no_bar(), learn.no_logging():
        learn.fit(plan.head_epochs, plan.lr, cbs=BnFreeze())
    return model


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        drawing(Path(temporary))
        reading(Path(temporary))
        os.environ["XAI_DERM_OUT"] = temporary  # features of the bench stay its own
        frozen_trunk(Path(temporary))
    searching()
