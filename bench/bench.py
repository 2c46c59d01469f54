"""How fast the parts are, as numbers and ratios measured in this one run: `make bench`.

Nothing here is a test: machines differ. Each line names what it is compared with.
"""

import os
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pandas as pd
import torch
import torchcam.methods
import torchvision
from captum.attr import LayerGradCam
from PIL import Image
from pytorch_grad_cam import GradCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from helpers import (
    cam,
    duplicates,
    faithfulness,
    images,
    metrics,
    models,
    recipes,
    scorecam,
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


def one_pass(backbone: str, layer: str, batch: int = 8) -> None:
    """All gradient maps of a batch together, and each peer's Grad-CAM, by one answer."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(backbone, num_classes=7).eval()
    net = net.to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, 224, 224).to(memory_format=torch.channels_last)
    module, wanted = dict(net.named_modules())[layer], [ClassifierOutputTarget(0)]
    peers = {
        "grad-cam": lambda: theirs(x, wanted * batch),
        "torchcam": lambda: torch_cam(0, torch_cam.model(x)),
        "captum": lambda: captums.attribute(x, 0),
    }

    def answer():
        with torch.inference_mode():
            net(x)

    theirs, captums = GradCAM(net, [module]), LayerGradCam(net, module)
    times = {"ours": [], "answer": []} | {name: [] for name in peers}
    with torchcam.methods.GradCAM(net, layer) as torch_cam:
        works = {"answer": answer, **peers}
        works["ours"] = lambda: cam.maps(net, x, cam.GRADIENT, layer, [0])
        for _ in range(11):  # in turn, so that a busy moment strikes all alike
            for name, work in works.items():
                answer()  # so that each starts from the same memory, not from a peer's
                start = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - start)
    usual = {name: median(t) for name, t in times.items()}
    ratios = {name: usual[name] / usual["answer"] for name in ("ours", *peers)}
    told = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    print(
        f"maps          {told} × one answer ({backbone}, {batch} pictures; ours: all "
        f"{len(cam.GRADIENT)} gradient methods, peers: Grad-CAM alone)"
    )


def peak() -> float:
    """The most memory that this process ever had, in MiB (Linux tells)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def masked(who: str) -> tuple[float, float, np.ndarray]:
    """Seconds, MiB of memory and the map of one Score-CAM, in a process of its own."""
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v2(num_classes=7).eval()
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        net(x)
    before = peak()
    start = time.perf_counter()
    if who == "ours":
        variant = scorecam.VARIANTS["grad-cam"]
        net = net.to(memory_format=torch.channels_last)
        found = cam.explain(net, x, "score-cam", "features", 0, **variant).raw[0]
    else:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            found = ScoreCAM(net, [net.features])(x, [ClassifierOutputTarget(0)])[0]
    taken = time.perf_counter() - start
    return taken, peak() - before, found


def masking() -> None:
    """Score-CAM against grad-cam's, in its own mode: time, memory, and the same map."""
    done = {}
    for who in ("ours", "grad-cam"):
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            done[who] = alone.submit(masked, who).result()
    (ours, mib, raw), (theirs, their_mib, heatmap) = done.values()
    large = cv2.resize(np.maximum(raw, 0), heatmap.shape[::-1])
    large = (large - large.min()) / (large.max() - large.min())
    print(
        f"Score-CAM     {ours / theirs:.2f} × grad-cam's time, {mib:,.0f} MiB against "
        f"{their_mib:,.0f} MiB more memory (MobileNetV2, one picture, its mode); the "
        f"maps differ by at most {np.abs(large - heatmap).max():.0e}"
    )


def flipping(backbone: str, size: int, n: int = 64, repeats: int = 3) -> None:
    """Deletion and insertion against Quantus' PixelFlipping, at the same steps.

    Quantus wants steps that divide the height times the width, and counts every channel:
    a quarter of them makes 12 steps. One of its runs is a deletion; two are the same work.
    """
    import quantus

    torch.manual_seed(0)
    net, steps = (
        models.build(backbone, list("abcdefg"), size, start="random").eval(),
        12,
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    heat = rng.random((n, size, size), dtype=np.float32)
    y, x = np.zeros(n, int), np.ascontiguousarray(models.tensor(pixels).numpy())
    peer = quantus.PixelFlipping(
        3 * size * size // steps, perturb_baseline="mean", disable_warnings=True
    )

    def theirs():
        peer(net, x, y, heat[:, None], device="cpu", batch_size=64, channel_first=True)

    def ours():
        faithfulness.curves(net, pixels, heat, y, steps=steps)

    mine, other = [], []
    for _ in range(repeats):  # in turn, so that a busy moment strikes both alike
        mine.append(seconds(ours, 1))
        other.append(seconds(theirs, 1))
    ratio = min(mine) / min(other)
    print(
        f"deletion and insertion  {ratio / 2:.2f} × the time of two runs of Quantus' "
        f"PixelFlipping, {ratio:.2f} × of one ({backbone}, {n} pictures at {size} px, "
        f"{steps} steps)"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        drawing(Path(temporary))
        reading(Path(temporary))
        os.environ["XAI_DERM_OUT"] = temporary  # features of the bench stay its own
        frozen_trunk(Path(temporary))
    searching()
    one_pass("resnet50", "layer4")
    one_pass("mobilenet_v2", "features")
    masking()
    flipping("efficientnet_lite0", 128)
    flipping("resnet50", 224, n=16, repeats=1)
