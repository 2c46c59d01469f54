"""A small U-Net that learns where lesions are: a ceiling for heatmaps (used in 06).

It is taught with masks, which no heatmap ever saw: it says how well one can point who
was told where. What it finds is kept on disk.
"""

import numpy as np
import torch
from filelock import FileLock
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate
from tqdm import tqdm

from . import models, saved
from .files import atomic, below_out
from .settings import CourseError, watched

SIDE = 64  # pixels that it sees: enough for an outline
WIDTHS = (8, 16, 32, 64)


class UNet(nn.Module):
    """Pictures N×3×H×W in [0, 1] → logits N×H×W: is this place lesion?"""

    def __init__(self, widths=WIDTHS):
        super().__init__()
        ins = (3, *widths)
        self.down = nn.ModuleList(
            _block(*pair) for pair in zip(ins, widths, strict=False)
        )
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.up = nn.ModuleList(_block(a + b, b) for a, b in pairs)
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x):
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for block, side in zip(self.up, kept[-2::-1], strict=True):
            x = interpolate(x, side.shape[2:], mode="nearest")
            x = block(torch.cat([x, side], 1))
        return self.last(x)[:, 0]


def _block(ins: int, outs: int) -> nn.Module:
    layers = []
    for width in (ins, outs):
        layers += [
            nn.Conv2d(width, outs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outs),
        ]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def heatmaps(pixels, masks, train, steps: int = 130, seed: int = 0) -> np.ndarray:
    """For every picture, how likely each place is lesion (N×H×W in [0, 1]).

    Learnt from the masks (N×H×W bool) of the pictures in `train` (N bool) alone.
    """
    train = np.asarray(train, bool)
    if (
        masks.shape != pixels.shape[:3]
        or train.shape != (len(pixels),)
        or not train.any()
    ):
        raise CourseError(
            f"pictures {pixels.shape}, masks {masks.shape}, train {train.shape} with "
            f"{train.sum()}: give N×H×W×3, N×H×W, N, and one picture to learn from"
        )
    key = saved.key(steps, seed, SIDE, WIDTHS, pixels, masks[train], train)
    path = below_out("cache", f"unet_{key}.npy")
    with FileLock(path.with_suffix(".lock")):
        try:
            found = np.load(path, allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):  # none yet, or a broken one
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                found = _learnt(pixels, masks, train, steps)
            with atomic(path) as part, open(part, "wb") as to:
                np.save(to, found)
    large = torch.from_numpy(found.astype(np.float32) / 255)[:, None]
    return interpolate(large, pixels.shape[1:3], mode="bilinear")[:, 0].numpy()


def _learnt(pixels, masks, train, steps: int) -> np.ndarray:
    """The small maps as bytes (N×64×64)."""
    small = {"mode": "area", "size": (SIDE, SIDE)}
    x = torch.cat(
        [
            interpolate(models.tensor(pixels[i : i + 256]), **small)
            for i in range(0, len(pixels), 256)
        ]
    ).contiguous()
    y = interpolate(torch.from_numpy(masks[train]).float()[:, None], **small)[:, 0]
    net, seen = UNet(), x[torch.from_numpy(train)]
    adam = torch.optim.AdamW(net.parameters(), 1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 5e-3, total_steps=steps)
    for _ in tqdm(range(steps), desc="U-Net", disable=not watched()):
        rows = torch.randperm(len(seen))[:32]
        turn = torch.randint(4, ()).item()
        some, aim = (torch.rot90(t[rows], turn, (-2, -1)) for t in (seen, y))
        adam.zero_grad()
        binary_cross_entropy_with_logits(net(some), aim).backward()
        adam.step()
        rate.step()
    with torch.inference_mode(), models.quiet(net):
        found = torch.cat([net(some).sigmoid() for some in x.split(64)])
    return (found * 255).round().byte().numpy()
