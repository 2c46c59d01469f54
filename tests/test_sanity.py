"""Weights drawn anew, part by part, and how alike two maps are."""

import numpy as np
import pytest
import tiny
import torch
from errors import refused
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from helpers import models, sanity

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(monkeypatch):
    tiny.install(monkeypatch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.build("tiny_net", tiny.CLASSES, 32, start="random")


def changed(one, two) -> set[str]:
    pairs = zip(one.named_parameters(), two.parameters(), strict=True)
    return {name for (name, a), b in pairs if not torch.equal(a, b)}


def test_the_cascade_goes_from_the_head_to_the_picture(model):
    before = {n: w.clone() for n, w in model.state_dict().items()}
    drawn = torch.get_rng_state()
    steps = list(sanity.cascade(model))
    names = [name for name, _ in steps]
    # the two activations have no weights; the norms have weights all alike, which stay so
    stages = [f"trunk.features.{i}" for i in (4, 3, 1, 0)]
    assert names == ["head", *stages]
    head = {"head.linear.weight", "head.linear.bias"}
    assert changed(model, steps[0][1]) == head
    assert changed(model, steps[2][1]) == {*head, "trunk.features.3.weight"}
    assert changed(model, steps[4][1]) == {
        *head,
        *(f"{stages[i]}.weight" for i in (1, 3)),
    }
    assert changed(steps[0][1], steps[1][1]) == set()  # what is drawn once stays
    assert all(not m.training for _, step in steps for m in step.modules())
    assert all(torch.equal(w, before[n]) for n, w in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_seed_decides(model):
    one, same, other = ([m for _, m in sanity.cascade(model, s)][-1] for s in (1, 1, 2))
    assert not changed(one, same) and changed(one, other)


def test_weights_keep_their_mean_and_spread():
    part = torch.nn.Conv2d(64, 64, 3)
    with torch.no_grad():
        part.weight.mul_(3).add_(0.5)
    was = part.weight.clone()
    sanity.redraw(part, torch.Generator().manual_seed(0))
    new = part.weight
    assert new.mean().item() == pytest.approx(was.mean().item(), abs=0.01)
    assert new.std().item() == pytest.approx(was.std().item(), rel=0.03)
    pair = torch.stack([was.flatten(), new.flatten()])
    assert abs(torch.corrcoef(pair)[0, 1].item()) < 0.03


@given(st.integers(0, 99))
def test_rank_correlation_is_that_of_scipy(seed):
    one, two = np.random.default_rng(seed).integers(0, 6, (2, 3, 4, 5)) / 5
    found = sanity.rank_correlation(one, two)
    for a, b, score in zip(one, two, found, strict=True):
        assert score == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert sanity.rank_correlation(one**3, two) == pytest.approx(found)


def test_known_correlations():
    up = np.arange(12.0).reshape(1, 3, 4)
    flat = np.ones((1, 3, 4))
    assert sanity.rank_correlation(up, up**2) == pytest.approx([1])
    assert sanity.rank_correlation(up, -up) == pytest.approx([-1])
    assert sanity.rank_correlation(up, flat) == sanity.rank_correlation(flat, flat) == 0


def test_ssim_is_that_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    one = rng.random((4, 32, 40))
    two = np.clip(one + rng.normal(0, 0.2, one.shape), 0, 1)
    ours = sanity.similarity(one, two)
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = [  # which leaves out a rim of 5, where torchmetrics mirrors the picture
        metrics.structural_similarity(
            *np.pad(p, ((0, 0), (5, 5), (5, 5)), "reflect"), data_range=1, **how
        )
        for p in np.stack([one, two], 1)
    ]
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert sanity.similarity(one, one) == pytest.approx(np.ones(4))
    assert (sanity.similarity(one, 1 - one) < 0).all()
    assert sanity.similarity(one[:1], two[:1]) == pytest.approx(ours[:1], abs=1e-6)


def test_agreement_is_the_mean_of_the_correlations():
    rng = np.random.default_rng(0)
    maps = {name: rng.random((5, 6, 7)) for name in "abc"}
    maps["a again"] = 2 * maps["a"]
    found = sanity.agreement(maps)
    assert found.shape == (4, 4) and found == pytest.approx(found.T)
    assert np.diag(found) == pytest.approx(np.ones(4)) and found[0, 3] == pytest.approx(
        1
    )
    each = sanity.rank_correlation(maps["a"], maps["b"])
    assert found[0, 1] == pytest.approx(each.mean())


def test_what_does_not_fit_is_refused():
    maps = np.full((2, 16, 16), 0.5)
    bad = maps.copy()
    bad[1, 0, 0] = np.nan
    for ask in (sanity.rank_correlation, sanity.similarity):
        refused(lambda ask=ask: ask(maps, maps[:, :12]), "one shape")
        refused(lambda ask=ask: ask(maps, bad), "finite")
        refused(lambda ask=ask: ask(maps[0], maps[0]), "N×H×W")
        refused(lambda ask=ask: ask(maps[:0], maps[:0]), "N×H×W")
    refused(lambda: sanity.agreement({"a": maps, "b": maps[:1]}), "one shape")
    refused(lambda: sanity.similarity(maps * 4, maps), "[0, 1]")
    refused(lambda: sanity.similarity(maps[:, :7, :7], maps[:, :7, :7]), "11 places")
