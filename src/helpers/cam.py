"""Class activation maps from scratch, all in one forward pass (taught in 03 and 04).

The trunk runs without a graph; from the first layer asked for on, one is kept, and the
gradient of the score is taken to the layers alone. So all gradient methods, for several
layers, targets and a whole batch, cost little more than the answer itself. The model,
its modes, its gradients and its hooks are afterwards as they were.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from . import hooks, models, scorecam, targets
from .settings import CourseError, watched


@dataclass(frozen=True)
class Explanation:
    """What one method says about a batch of pictures."""

    raw: np.ndarray  # N×h×w, signed, as the formula gives it, before its ReLU
    heatmap: (
        np.ndarray
    )  # N×H×W in [0, 1]: its positive part, enlarged, over its maximum
    valid: np.ndarray  # N: False where nothing is positive or all alike; then all zeros
    logits: np.ndarray  # N×C
    target: np.ndarray | str  # N classes by number, or the name of another score
    layer: str
    method: str


# The formulas: A are the activations, g the gradient of the score (both N×K×h×w).


def grad_cam(A, g):
    """A channel weighs what its gradient is on average. Selvaraju et al. 2017."""
    return weighted(g.mean((2, 3)), A)


def hirescam(A, g):
    """Gradient times activation, place by place. Draelos and Carin 2020."""
    return torch.einsum("nkhw,nkhw->nhw", g, A)


def layercam(A, g):
    """The same, where the gradient is positive. Jiang et al. 2021."""
    return torch.einsum("nkhw,nkhw->nhw", g.relu(), A)


def grad_cam_pp(A, g):
    """Grad-CAM++ in its exact form for Y = exp(S). Chattopadhay et al. 2018.

    α = g² / (2g² + ΣA·g³) = 1 / (2 + ΣA·g) needs no epsilon: where A ≥ 0 and g > 0 it is
    at most ½. Where A may be negative, α can turn negative: such a place weighs nothing.
    """
    under = 2 + g * A.sum((2, 3), keepdim=True)
    alpha = torch.where(under > 0, 1 / under, 0)
    return weighted((alpha * g.relu()).sum((2, 3)), A)


def weighted(weights, A):
    """The sum of the channels (N×K×h×w), each times its weight (N×K)."""
    return torch.einsum("nk,nkhw->nhw", weights, A)


FORMULAS = {
    "grad-cam": grad_cam,
    "hirescam": hirescam,
    "grad-cam++": grad_cam_pp,
    "layercam": layercam,
}
GRADIENT = ("cam", *FORMULAS)  # of one pass; CAM itself needs no gradient at all
METHODS = (*GRADIENT, "score-cam")
TITLES = {"cam": "CAM", "grad-cam": "Grad-CAM", "hirescam": "HiResCAM"}
TITLES |= {"grad-cam++": "Grad-CAM++", "layercam": "LayerCAM", "score-cam": "Score-CAM"}


def explain(
    model, x, method="grad-cam", layer="deep", target=None, reshape=None, **options
) -> Explanation:
    """One method, layer and target of `maps`."""
    found = maps(model, x, [method], [layer], {"": target}, reshape, **options)
    return next(iter(found.values()))


def maps(
    model: nn.Module,
    x: torch.Tensor,
    methods=("grad-cam",),
    layers=("deep",),
    wanted=(None,),
    reshape=None,
    **options,
) -> dict[tuple[str, str, str], Explanation]:
    """The maps of a batch (x: N×3×H×W) under (method, layer, target).

    A layer is early, middle or deep, a module's dotted name, or the module itself. What
    is wanted is as `targets.read` has it; a dict gives the targets names of your own.
    `reshape` makes a map (N×K×h×w) of what the layer gives; a ViT's tokens need none.
    `options` go to Score-CAM.
    """
    methods = _known(methods)
    if options and "score-cam" not in methods:
        raise CourseError(
            f"{', '.join(options)}: options of score-cam, not of {methods}"
        )
    named = hooks.modules(model, layers)
    x = _checked(model, x)
    with models.quiet(model), torch.inference_mode(False):
        x = x.clone() if x.is_inference() else x
        logits, outputs = hooks.forward(model, x, named)
        answer, done = hooks.wide(logits).detach().cpu().numpy(), {}
        chosen = targets.read(wanted, logits, getattr(model, "classes", None))
        for name, target in chosen.items():
            gradients = hooks.gradients(logits, outputs, target)
            for layer, output in outputs.items():
                A = hooks.as_map(output.detach(), layer, x, reshape)
                g = hooks.as_map(gradients[layer], layer, x, reshape)
                for method in methods:
                    if method == "score-cam":  # its answers as the caller computes them
                        weights = scorecam.weights(model, x, A, target, **options)
                    with torch.autocast(x.device.type, enabled=False):
                        if method in FORMULAS:
                            raw = FORMULAS[method](A, g)
                        elif method == "cam":
                            of_logits = gradients["logits"]
                            raw = weighted(
                                _last_weights(model, A, of_logits, logits), A
                            )
                        else:
                            raw = weighted(weights, A)
                        found = raw, *to_heatmap(raw, x.shape[2:])
                    arrays = (t.detach().cpu().numpy() for t in found)
                    done[method, layer, name] = Explanation(
                        *arrays, answer, target.told, layer, method
                    )
    return done


def of_pixels(
    model, pixels: np.ndarray, methods, layers=("deep",), wanted=(None,), chunk=16
) -> dict[tuple[str, str, str], Explanation]:
    """`maps` of many pictures (N×H×W×3 uint8), some at a time."""
    wanted, parts = targets.named(wanted, getattr(model, "classes", None)), []
    for target in wanted.values():
        if targets.is_each(target) and len(target) != len(pixels):
            raise CourseError(
                f"{len(target)} targets for {len(pixels)} pictures: give one to each"
            )
    if not len(pixels):
        raise CourseError("no picture to explain: give at least one")
    for i in tqdm(range(0, len(pixels), chunk), desc="maps", disable=not watched()):
        some = slice(i, i + chunk)
        mine = {n: t[some] if targets.is_each(t) else t for n, t in wanted.items()}
        parts.append(maps(model, models.tensor(pixels[some]), methods, layers, mine))
    return {key: _joined([part[key] for part in parts]) for key in parts[0]}


def _joined(parts: list[Explanation]) -> Explanation:
    def all_of(field):
        return np.concatenate([getattr(part, field) for part in parts])

    first = parts[0]
    target = first.target if isinstance(first.target, str) else all_of("target")
    arrays = map(all_of, ("raw", "heatmap", "valid", "logits"))
    return Explanation(*arrays, target, first.layer, first.method)


def to_heatmap(raw: torch.Tensor, size) -> tuple[torch.Tensor, torch.Tensor]:
    """The positive part of maps (N×h×w), enlarged and divided by its maximum: N×H×W.

    And which are valid (N): one without a positive place, or the same everywhere, says
    nothing about where; it is all zeros, never 0/0.
    """
    finite = raw.isfinite().all(2).all(1)
    small = torch.where(finite[:, None, None], raw, 0).relu()
    large = interpolate(small[:, None], tuple(size), mode="bilinear")[:, 0]
    high = large.flatten(1).amax(1)
    spread = small.amax((1, 2)) - small.amin((1, 2))
    valid = finite & (spread > 1e-6 * high) & (high > 0)
    return large.div_(torch.where(valid, high, torch.inf)[:, None, None]), valid


def _last_weights(model, A, of_logits, logits):
    """CAM's weights (N×K): the last layer's, of the class. Zhou et al. 2016.

    Allowed only where they are true: a class map's mean and the bias are the logit.
    """
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if linear and linear[-1].weight.shape == (logits.shape[1], A.shape[1]):
        weight, bias = linear[-1].weight.detach().to(A), linear[-1].bias
        sums = A.mean((2, 3)) @ weight.T + (0 if bias is None else bias.detach())
        close = 1e-3 if logits.dtype.itemsize > 2 else 3e-2
        if torch.allclose(sums.to(A), logits.detach().to(A), rtol=close, atol=close):
            return of_logits.to(A) @ weight
    raise CourseError(
        "CAM needs a map, its mean, and one linear layer after it, and here is something "
        "else: take the last map of a network that ends so, or method='grad-cam'"
    )


def _known(methods) -> list[str]:
    methods = [methods] if isinstance(methods, str) else list(methods)
    for method in methods:
        if method not in METHODS:
            raise CourseError(
                f"unknown method {method!r}: choose of {', '.join(METHODS)}"
            )
    return methods


def _checked(model, x) -> torch.Tensor:
    """The pictures where the model is and in its precision; refused if they cannot be."""
    if not torch.is_tensor(x) or x.ndim != 4 or not len(x):
        what = hooks.shape(x) if torch.is_tensor(x) else type(x).__name__
        raise CourseError(
            f"x must be pictures N×3×H×W, at least one, not {what}; "
            "models.tensor makes them of pixels"
        )
    size = getattr(model, "size", None)
    if isinstance(model, models.Classifier) and x.shape[2:] != (size, size):
        raise CourseError(
            f"pictures of {x.shape[2]}×{x.shape[3]} for a model of {size}×{size}: load "
            f"them with images.load(cases, {size})"
        )
    low, high = x.aminmax()  # NaN if any is NaN
    if isinstance(model, models.Classifier) and (low < 0 or high > 1):
        raise CourseError(
            f"pictures have values from 0 to 1, not {low:.3g} to {high:.3g}: "
            "models.tensor makes them of pixels, and the model normalises by itself"
        )
    if not (low.isfinite() and high.isfinite()):
        bad = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
        raise CourseError(
            f"picture {bad} holds values that are not finite: load it again"
        )
    like = next(model.parameters(), x)
    return x.detach().to(like.device, like.dtype)
