"""Score-CAM: a channel weighs what the class says to the picture masked by it (in 04)."""

import copy

import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from . import hooks
from .settings import CourseError, watched

VARIANTS = {  # one name, three programs
    "authors' code": {},
    "paper's text": {"channel_softmax": True, "baseline": True},
    "grad-cam": {"score": "logit", "channel_softmax": True, "corners": True},
}


def weights(
    model,
    x,
    A,
    target,
    score: str = "prob",
    channel_softmax: bool = False,
    baseline: bool = False,
    corners: bool = False,
    chunk: int | None = None,
) -> torch.Tensor:
    """Channel weights (N×K) for pictures (N×3×H×W) and maps (N×K×h×w). Wang et al. 2020.

    The class answers in probabilities or logits, less its answer to a black picture if
    `baseline` (which a softmax takes out again); the weights may go through a softmax over
    channels; `corners` is how masks are enlarged. Channels that are the
    same everywhere mask nothing and are skipped. `chunk` pictures exist at a time: 4, or
    64 on a GPU.
    """
    if score not in ("prob", "logit"):
        raise CourseError(f"unknown score {score!r}: choose prob or logit")
    chunk = (4 if x.device.type == "cpu" else 64) if chunk is None else chunk
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise CourseError(f"chunk must be a whole number from 1, not {chunk!r}")
    low, high = A.amin((2, 3)), A.amax((2, 3))
    alive = (high > low).nonzero()  # M×2: picture, channel
    found = torch.full(A.shape[:2], -torch.inf if channel_softmax else 0.0).to(A)
    with torch.inference_mode():
        model = folded(model, x)
        starts = range(0, len(alive), chunk)
        for start in tqdm(starts, desc="Score-CAM", disable=not watched()):
            n, k = alive[start : start + chunk].T
            masks = _masks(A[n, k], x.shape[2:], corners)
            said = _answer(model, x[n] * masks.to(x), target, n, score)
            found[n, k] = said.to(found)
        if baseline:
            n = torch.arange(len(x), device=x.device)
            black = _answer(model, torch.zeros_like(x), target, n, score)
            found -= black.to(found)[:, None]
    if channel_softmax:  # where no channel lives there is nothing to share
        found = found.softmax(1).nan_to_num(0)
    return found


def folded(model, x):
    """The model with its batch norms folded into the convolutions: faster by a third.

    A copy, which answers alike; where it does not, the model itself. What follows what
    is seen by looking on while it answers the first picture of `x`.
    """
    fast, made, pairs = copy.deepcopy(model), {}, []

    def look(module, args, out):
        if isinstance(module, nn.Conv2d):
            made[id(out)] = module, out  # held, so that no other gets its number
        elif id(args[0]) in made:
            pairs.append((made[id(args[0])][0], module))

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    handles = [
        m.register_forward_hook(look) for m in fast.modules() if isinstance(m, kinds)
    ]
    said = fast.forward(x[:1])
    for handle in handles:
        handle.remove()
    for conv, norm in pairs:
        one = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = one.weight, one.bias
        # timm's norms hold the activation that follows
        norm.forward = getattr(norm, "act", nn.Identity()).forward
    fast = fast.to(memory_format=torch.channels_last)
    same = torch.allclose(fast.forward(x[:1]), said, rtol=1e-3, atol=1e-4)
    return fast if same else model


def _masks(A, size, corners: bool):
    """Channels (M×h×w) as masks (M×1×H×W), each from 0 to 1."""
    large = interpolate(A[:, None], size, mode="bilinear", align_corners=corners)
    low, high = large.amin((2, 3), True), large.amax((2, 3), True)
    return (large - low) / (high - low)


def _answer(model, x, target, picture, score: str):
    logits = hooks.wide(model(x))
    return target.of(logits.softmax(1) if score == "prob" else logits, picture)
