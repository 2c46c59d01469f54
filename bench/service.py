"""The service under load, and Ray against a loop: `make bench`, or `service.py 60`.

Seconds of load are the argument (5 without). The clients run on the same machine, so
that a ratio to the bare model is a lower bound. No test: machines differ.
"""

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from PIL import Image

from helpers import archive, crews, engine, familiar, images, models, saved, serving
from helpers.explainer import Explainer

CLASSES, SIZE, CLIENTS = ["bkl", "mel", "nv"], 128, 32


def prepared(folder: Path, n: int = 320) -> tuple[Path, Path]:
    """A model of our size whose weights are drawn, and pictures of HAM10000's size."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    paths = [folder / "pictures" / f"{k:03d}.jpg" for k in range(n)]
    for path in paths:
        small = Image.fromarray(rng.integers(0, 255, (45, 60, 3), dtype=np.uint8))
        small.resize((600, 450), Image.Resampling.BICUBIC).save(path, quality=90)
    torch.manual_seed(0)
    net = models.build("efficientnet_lite0", CLASSES, SIZE).eval()
    told = {"recipe": {"views": 2}, "shift": [0.0] * 3, "temperature": 1.0, "seed": 0}
    page = saved.save(net, folder / "model", **told)
    table = pd.DataFrame({"image_id": range(n), "path": list(map(str, paths))})
    table["split"] = np.where(np.arange(n) % 2, "train", "calibration")
    table["label"], table["group"] = np.array(CLASSES)[np.arange(n) % 3], range(n)
    table[CLASSES] = rng.normal(size=(n, 3))
    table.to_csv(folder / "model" / "logits.csv", index=False)
    run = SimpleNamespace(model=net, page=page, cases=table, folder=folder / "model")
    familiar.ensure(run)
    return folder / "model", folder / "pictures"


def loaded(model: Path, pictures: Path, seconds: float) -> None:
    files = [path.read_bytes() for path in sorted(pictures.iterdir())[:64]]
    ready = engine.load(model)
    pixels = np.stack(
        [images.squashed(images.read(p), SIZE) for p in sorted(pictures.iterdir())[:64]]
    )

    def bare() -> float:
        start = perf_counter()
        for i in range(0, 64, 16):
            engine.answers(ready, pixels[i : i + 16], [engine.Asked()] * 16)
        return 64 / (perf_counter() - start)

    bare()
    for name, batch in (("micro-batched", "16"), ("one by one", "1")):
        rate = max(bare() for _ in range(3))
        with serving.running(model, "--batch", batch, "--room", "64") as address:
            serving.load(address, files, CLIENTS, 1)  # what is done once is not timed
            done = serving.load(address, files, CLIENTS, seconds)
        rate = max(rate, *(bare() for _ in range(3)))
        told, other = serving.told(done), sorted(set(done.status) - {200, 503})
        print(
            f"service       {told['a second']:.1f}/s, {told['a second'] / rate:.2f} × the "
            f"bare model with maps ({rate:.1f}/s); p50 {told['p50']:.2f}, p95 "
            f"{told['p95']:.2f}, p99 {told['p99']:.2f} s ({name}, {CLIENTS} clients for "
            f"{seconds:g} s, n = {told['n']}, {told['503']} times 503, "
            f"other answers: {other or 'none'})"
        )


def archived(model: Path, pictures: Path, folder: Path, turns: int = 3) -> None:
    """Seconds a picture, from the difference of two sizes: what starts is not counted."""
    try:
        import ray
    except ImportError:
        print("archive       no Ray here: pip install 'xai-derm[archive]'")
        return
    few = folder / "few"
    few.mkdir()
    for path in sorted(pictures.iterdir())[:64]:
        (few / path.name).symlink_to(path)
    ray.init(
        num_cpus=1,
        object_store_memory=crews.STORE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    ready, took = Explainer(str(model)), {}
    for turn in range(turns):  # in turn, so that a busy moment strikes both
        for how in crews.RUNS:
            for source in (few, pictures):
                out = folder / f"{how}-{source.name}-{turn}"
                start = perf_counter()
                archive.explain(source, out, ready, how, shard=32)
                key = how, source.name
                took[key] = min(took.get(key, np.inf), perf_counter() - start)
    ray.shutdown()
    more = len(list(pictures.iterdir())) - 64
    each = {
        how: (took[how, pictures.name] - took[how, "few"]) / more for how in crews.RUNS
    }
    same = all(
        path.read_bytes() == (folder / "ray-pictures-0" / path.name).read_bytes()
        for path in (folder / "local-pictures-0").glob("*.parquet")
    )
    print(
        f"archive       {1 / each['local']:.1f} pictures/s in a loop; a worker of Ray "
        f"takes {each['ray'] / each['local']:.2f} × its time a picture (n = {more}; "
        f"the same bytes: {same}; {took['ray', 'few']:.0f} s for 64, where the loop takes "
        f"{took['local', 'few']:.0f})"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XAI_DERM_OUT"] = temporary
        model, pictures = prepared(Path(temporary))
        loaded(model, pictures, float(sys.argv[1]) if sys.argv[1:] else 5)
        archived(model, pictures, Path(temporary))
