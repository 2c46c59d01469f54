"""What each pixel does to a score: vanilla gradient, SmoothGrad, integrated gradients (07).

All take pictures x (N×3×H×W in [0, 1]) and a list of classes by number, and give an
attribution T×N×3×H×W: one forward pass serves all classes.
"""

import numpy as np
import torch

from . import models

CUT = 0.99  # of the pixels: the few brightest would leave all others dark


def vanilla(model, x: torch.Tensor, targets: list[int]) -> torch.Tensor:
    """The gradient of each class's logit. Simonyan et al. 2014."""
    x = x.detach().clone().requires_grad_()
    with models.quiet(model), torch.enable_grad():
        logits = model(x)
        return torch.stack(
            [
                torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0]
                for k in targets
            ]
        )


def smoothgrad(model, x, targets, n: int = 8, noise: float = 0.1, seed: int = 0):
    """The mean gradient of n noisy copies. Smilkov et al. 2017."""
    draw = torch.Generator().manual_seed(seed)
    copies = (x + noise * torch.randn(x.shape, generator=draw) for _ in range(n))
    return sum(vanilla(model, copy, targets) for copy in copies) / n


def integrated(model, x, targets, steps: int = 16):
    """Gradients along the way from black, times the way. Sundararajan et al. 2017.

    Over all pixels they sum to the logit less that of black, but for the steps' error.
    """
    shares = (torch.arange(steps) + 0.5) / steps  # the middles: no end counts double
    return x * sum(vanilla(model, share * x, targets) for share in shares) / steps


METHODS = {
    "gradient": vanilla,
    "SmoothGrad": smoothgrad,
    "integrated gradients": integrated,
}


def heatmap(attribution: torch.Tensor) -> np.ndarray:
    """Attributions (…×3×H×W) as heatmaps (…×H×W in [0, 1]), signs dropped.

    On a grey film the three channels are one: their sum is what its grey does.
    """
    size = attribution.sum(-3).abs()
    top = size.flatten(-2).quantile(CUT, dim=-1)[..., None, None]
    heat = torch.where(top > 0, size / top, 0)
    return heat.clamp(0, 1).numpy()
