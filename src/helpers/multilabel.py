"""Several findings on one picture: the network, its loss, its training (taught in 07).

The trunk is EfficientNet-Lite0 up to the stage with a map of one place for 16 pixels,
frozen: it is run once. Above it one convolution learns, and the mean of its map is what
the last layer sees: so class activation maps are exact, and twice as fine as at the end
of the trunk.
"""

from collections import OrderedDict

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from . import labels, models, reading, saved, weights
from .files import atomic, below_out
from .settings import CourseError, Settings

BACKBONE, STAGES, WIDTH = "efficientnet_lite0", 5, 128
SIZE = {"quick": 224, "full": 384}
EPOCHS, BATCH, RATE, DECAY = 16, 64, 4e-3, 1e-2


class Reader(models.Classifier):
    """A classifier whose classes are findings, each a question of its own."""

    def __init__(self, findings, size: int):
        super().__init__(BACKBONE, findings, size)
        whole = self.trunk
        parts = {"conv_stem": whole.conv_stem, "bn1": whole.bn1}
        parts |= {"blocks": whole.blocks[:STAGES]}
        self.trunk = nn.Sequential(OrderedDict(parts)).requires_grad_(False)
        channels = whole.blocks[STAGES - 1][-1].conv_pwl.out_channels
        self.neck = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )
        self.head.linear = nn.Linear(WIDTH, len(self.classes))

    def frozen(self, x):
        """What the trunk gives, N×K×h×w: it never changes."""
        return self.trunk((x - self.mean) / self.std)

    def map(self, x):
        return self.neck(self.frozen(x))

    def layer(self, depth: str) -> nn.Module:
        """The layer to explain: middle is half way up the trunk, deep the last."""
        if depth not in ("middle", "deep"):
            raise CourseError(f"unknown depth {depth!r}; choose middle or deep")
        return self.neck if depth == "deep" else self.trunk.blocks[2]


def masked_bce(logits, y, weight):
    """The mean of -log p(truth) over what is known; `weight` (C) is that of a 1."""
    each = binary_cross_entropy_with_logits(
        logits, y.nan_to_num(), pos_weight=weight, reduction="none"
    )
    seen = ~y.isnan()
    return (each * seen).sum() / seen.sum()


def weigh(y: np.ndarray) -> np.ndarray:
    """How much a 1 of each finding counts (C): the root of negatives over positives."""
    ones, zeros = np.nansum(y, axis=0), np.nansum(1 - y, axis=0)
    return np.sqrt(zeros / np.maximum(ones, 1))


def fit(model: Reader, maps: np.ndarray, y: np.ndarray, seed: int, epochs=EPOCHS):
    """Trains neck and head on what the frozen trunk gave (N×K×h×w); the losses.

    Half of the films are mirrored: with few of them that helps, though no heart lies so.
    """
    torch.manual_seed(seed)
    device = model.mean.device
    weight, y = (torch.tensor(a, device=device).float() for a in (weigh(y), y))
    learnt = [*model.neck.parameters(), *model.head.parameters()]
    optimiser = torch.optim.AdamW(learnt, RATE, weight_decay=DECAY)
    steps = max(len(y) // BATCH, 1)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, epochs * steps)
    losses = []
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(y))[: steps * BATCH].tensor_split(steps):
            x = torch.from_numpy(maps[rows.numpy()]).float()
            mirrored = (torch.rand(len(rows)) < 0.5)[:, None, None, None]
            x = torch.where(mirrored, x.flip(3), x).to(device)
            loss = masked_bce(model.head(model.neck(x)), y[rows], weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rates.step()
            losses.append(loss.item())
    model.eval()
    return losses


def build(findings: list[str], size: int) -> Reader:
    """A reader of films with ImageNet's trunk; neck and head know nothing yet."""
    model, whole = Reader(findings, size), models.build(BACKBONE, findings, size)
    state = whole.trunk.state_dict()
    model.trunk.load_state_dict(
        {name: state[name] for name in model.trunk.state_dict()}
    )
    model.normalise(whole.mean.flatten().tolist(), whole.std.flatten().tolist())
    return model.eval()


def ensure(
    cases: pd.DataFrame, cfg: Settings, stuck: np.ndarray | None = None
) -> labels.Run:
    """The model of these films (with `split`), trained now if it is not there yet.

    `stuck` (N bool) are films that get a sticker first, whatever is to be seen on them.
    """
    findings, size = labels.known(cases), SIZE[cfg.profile]
    y, pixels = labels.targets(cases, findings), reading.read(cases, size)
    stuck = np.zeros(len(cases), bool) if stuck is None else np.asarray(stuck)
    parts = cases.split.to_numpy()
    key = saved.key(findings, cfg.seed, y, parts.tolist(), stuck, pixels, EPOCHS)
    name = f"films-{cfg.dataset}-{cfg.profile}-seed{cfg.seed}-{key[:8]}"
    folder = below_out("models", name)
    torch.manual_seed(cfg.seed)
    model = build(findings, size).to(cfg.device)
    with FileLock(folder.with_name(f".{name}.lock")):
        if not folder.is_dir():
            maps = _maps(model, pixels)
            if stuck.any():
                maps = np.array(maps)
                maps[stuck] = _maps(model, reading.stickered(pixels[stuck]))
            train = np.flatnonzero(parts == "train")
            fit(model, maps[train], y[train], cfg.seed)
            logits = _logits(model, maps)
            with atomic(folder) as part:
                part.mkdir()
                weights.write(model.state_dict(), part / saved.WEIGHTS)
                table = pd.DataFrame(logits, cases.image_id, findings)
                table.to_csv(part / "logits.csv")
    state = weights.read(folder / saved.WEIGHTS)
    weights.check(model.state_dict(), state, str(folder / saved.WEIGHTS))
    model.cpu().load_state_dict(state)
    logits = pd.read_csv(folder / "logits.csv")[findings].to_numpy(np.float32)
    return labels.Run(
        model, cases, y, logits, labels.calibrated(logits, y, parts == "calibration")
    )


def _maps(model: Reader, pixels: np.ndarray) -> np.ndarray:
    """What the frozen trunk gives for every film, kept on disk in half precision."""
    key = saved.key(*model.trunk.state_dict().values(), pixels)
    path = below_out("cache", f"maps_{key}.npy")
    if not path.is_file():
        maps = models.each(model, pixels, model.frozen).astype(np.float16)
        with atomic(path) as part, open(part, "wb") as to:
            np.save(to, maps)
    return np.load(path, mmap_mode="r")


def _logits(model: Reader, maps: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        chunks = np.array_split(maps, max(len(maps) // BATCH, 1))
        x = (torch.from_numpy(np.array(chunk)).float() for chunk in chunks)
        x = (part.to(model.mean.device) for part in x)
        return torch.cat([model.head(model.neck(part)).cpu() for part in x]).numpy()
