"""Gradients of pixels, against captum."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers import saliency

torch.manual_seed(0)
MODEL = nn.Sequential(
    nn.Conv2d(3, 6, 3, padding=1), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
)
MODEL.append(nn.Linear(24, 4))
MODEL = MODEL.double()
X = torch.rand(2, 3, 10, 12, dtype=torch.float64)


def test_the_gradient_is_captums_for_every_class():
    found = saliency.vanilla(MODEL, X, [0, 3])
    assert found.shape == (2, 2, 3, 10, 12)
    for ours, k in zip(found, (0, 3), strict=True):
        theirs = Saliency(MODEL).attribute(X, target=k, abs=False)
        assert torch.allclose(ours, theirs)


def test_integrated_gradients_are_captums_and_add_up():
    found = saliency.integrated(MODEL, X, [1], steps=50)[0]
    theirs = IntegratedGradients(MODEL).attribute(
        X, target=1, n_steps=50, method="riemann_middle"
    )
    assert torch.allclose(found, theirs, atol=1e-8)
    rise = (MODEL(X) - MODEL(0 * X))[:, 1]
    assert torch.allclose(found.sum((1, 2, 3)), rise, rtol=1e-3)


def test_smoothgrad_is_the_mean_of_gradients_of_noisy_copies():
    found = saliency.smoothgrad(MODEL, X, [2], n=4, noise=0.2, seed=5)[0]
    draw, parts = torch.Generator().manual_seed(5), []
    for _ in range(4):
        copy = X + 0.2 * torch.randn(X.shape, generator=draw)
        parts.append(Saliency(MODEL).attribute(copy, target=2, abs=False))
    assert torch.allclose(found, torch.stack(parts).mean(0))
    still = saliency.smoothgrad(MODEL, X, [2], n=3, noise=0)
    assert torch.allclose(still, saliency.vanilla(MODEL, X, [2]))


def test_the_model_and_the_pictures_stay_as_they_were():
    model, x = nn.Sequential(nn.Dropout(0.5), MODEL).train(), X.clone()
    first, second = (saliency.vanilla(model, x, [0]) for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    assert model.training and not x.requires_grad and torch.equal(x, X)
    assert all(p.grad is None for p in model.parameters())


@given(st.integers(0, 99), st.floats(1e-6, 1e6))
def test_heatmaps_lie_between_0_and_1_and_know_no_scale_or_sign(seed, scale):
    draw = torch.Generator().manual_seed(seed)
    one = torch.randn(2, 3, 3, 8, 9, generator=draw, dtype=torch.float64)
    heat = saliency.heatmap(one)
    assert heat.shape == (2, 3, 8, 9) and heat.min() >= 0 and heat.max() == 1
    assert saliency.heatmap(-scale * one) == pytest.approx(heat)


def test_an_attribution_of_nothing_is_an_empty_heatmap():
    assert (saliency.heatmap(torch.zeros(1, 3, 5, 5)) == np.zeros((1, 5, 5))).all()
