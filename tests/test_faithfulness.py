"""Metrics that ask the model again: known answers, and the same numbers as the peers'."""

import numpy as np
import pytest
import tiny
import torch
from captum.metrics import infidelity, sensitivity_max
from errors import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import quantus
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
from torch import nn

from helpers import faithfulness, models, scorecam

SIDE = 16
pytestmark = pytest.mark.usefixtures("one_thread")


class Corner(nn.Module):
    """p(class 1) rises with the brightness of the upper left quarter alone."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(4.0))

    def forward(self, x):
        score = self.slope * x[:, :, : SIDE // 2, : SIDE // 2].mean((1, 2, 3))
        return torch.stack([0 * score, score], 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


QUARTER = np.zeros((1, SIDE, SIDE))
QUARTER[:, : SIDE // 2, : SIDE // 2] = 1
WHITE = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
ONE = np.array([1])
FULL, NONE = sigmoid(4.0), 0.5


@pytest.fixture(scope="module")
def case():
    """A small network that has never learnt, pictures, maps without ties, classes."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        tiny.install(patch)
        torch.manual_seed(0)
        model = models.build("tiny_net", tiny.CLASSES, 32, start="random").eval()
    pixels, y = tiny.discs(6)
    with torch.no_grad():
        for norm in (model.trunk.features[1], model.trunk.features[4]):
            norm.running_var.uniform_(0.01, 0.1)
        said = model(models.tensor(pixels))  # now so that it has an opinion
        model.head.linear.weight.div_(said.std(0)[:, None])
        model.head.linear.bias.sub_(said.mean(0)).div_(said.std(0))
    rng = np.random.default_rng(0)
    maps = rng.permuted(np.arange(1024.0)[None].repeat(6, 0), axis=1) / 1023
    return model, pixels, maps.reshape(6, 32, 32).astype(np.float32), y


def test_deletion_and_insertion_of_a_model_that_is_known():
    gone, alone = faithfulness.curves(Corner(), WHITE, QUARTER, ONE, "black", 4)
    assert gone == pytest.approx(np.array([[FULL, *[NONE] * 4]]))
    assert alone == pytest.approx(np.array([[NONE, *[FULL] * 4]]))
    assert faithfulness.area(gone) == pytest.approx((FULL + 7 * NONE) / 8)
    late, _ = faithfulness.curves(Corner(), WHITE, 1 - QUARTER, ONE, "black", 4)
    assert late == pytest.approx(np.array([[*[FULL] * 4, NONE]]))


def test_equal_places_come_by_lot():
    flat, _ = faithfulness.curves(Corner(), WHITE, 0 * QUARTER, ONE, "black", 4)
    assert (np.diff(flat[0]) < -0.02).all()  # each step takes a share of the quarter
    turn = faithfulness.order(np.zeros((2, 4, 4)))
    assert sorted(turn[0].ravel()) == list(range(16)) and (turn[0] == turn[1]).all()
    assert turn[0].ravel().tolist() != list(range(16))
    assert (turn != faithfulness.order(np.zeros((2, 4, 4)), seed=1)).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_the_order_is_from_hot_to_cold(seed):
    maps = np.random.default_rng(seed).integers(0, 5, (3, 4, 5)).astype(float)
    for one, turn in zip(maps, faithfulness.order(maps), strict=True):
        assert (np.diff(one.ravel()[np.argsort(turn.ravel())]) <= 0).all()
    bent = faithfulness.order(np.exp(maps))
    assert (bent == faithfulness.order(maps)).all()


@pytest.mark.parametrize("how", faithfulness.FILLS)
def test_both_ways_begin_where_the_other_ends(case, how):
    model, pixels, maps, y = case
    gone, alone = faithfulness.curves(model, pixels, maps, y, how, steps=5)
    assert gone.shape == alone.shape == (6, 6)
    whole, empty = (
        faithfulness.probabilities(model, models.tensor(p), y)
        for p in (pixels, faithfulness.fill(pixels, how))
    )
    assert gone[:, 0] == pytest.approx(whole, abs=1e-5)
    assert (gone[:, 0] == alone[:, -1]).all() and (gone[:, -1] == alone[:, 0]).all()
    assert gone[:, -1] == pytest.approx(empty, abs=1e-5)
    backwards, _ = faithfulness.curves(model, pixels, -maps, y, how, steps=5)
    assert alone == pytest.approx(
        backwards[:, ::-1], abs=1e-5
    )  # coldest first, reversed


def test_folding_changes_no_answer(case):
    model, pixels, maps, y = case
    fast, slow = (
        faithfulness.curves(model, pixels, maps, y, steps=4, fast=fast)
        for fast in (True, False)
    )
    assert np.allclose(fast, slow, atol=1e-5)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    x = models.tensor(pixels)
    with torch.inference_mode():
        other = scorecam.folded(model, x)
        assert other is not model and torch.allclose(other(x), model(x), atol=1e-4)
    assert all(torch.equal(w, before[n]) for n, w in model.state_dict().items())


def test_curves_are_those_of_quantus(case):
    model, pixels, maps, y = case
    peer = quantus().PixelFlipping(
        features_in_step=32 * 32 // 4, perturb_baseline="black", disable_warnings=True
    )
    x = np.ascontiguousarray(models.tensor(pixels).numpy())
    theirs = peer(model, x, y, maps[:, None], device="cpu", channel_first=True)
    # 12 steps of 256 numbers are 12 steps of 256/3 places: only every third is whole
    ours, _ = faithfulness.curves(model, pixels, maps, y, "black", steps=4)
    assert np.allclose(ours[:, 1:], np.array(theirs)[:, 2::3], atol=1e-5)
    assert np.ptp(ours, axis=1).max() > 0.1  # there was something to agree on


def test_the_fillings():
    pixels = np.zeros((2, 24, 24, 3), np.uint8)
    pixels[1, :12] = 200
    mean, blur, black = (faithfulness.fill(pixels, how) for how in faithfulness.FILLS)
    assert (mean[0] == 0).all() and (mean[1] == 100).all() and not black.any()
    assert not blur[0].any() and (np.diff(blur[1, :, 3, 0].astype(int)) <= 0).all()
    assert 60 < blur[1, 12, 3, 0] < 140
    refused(lambda: faithfulness.fill(pixels, "noise"), "noise", "mean, blur, black")


def test_drop_and_increase_of_a_model_that_is_known():
    model = Corner()
    for heat, lost in ((QUARTER, 0), (1 - QUARTER, (FULL - NONE) / FULL)):
        found, rose = faithfulness.drop(model, WHITE, heat, ONE)
        assert found == pytest.approx([lost]) and not rose.any()
    ones = np.ones_like(QUARTER)  # the cheat: it shows all, and loses nothing
    assert faithfulness.drop(model, WHITE, ones, ONE)[0] == 0
    lost, rose = faithfulness.drop(model, WHITE, 0 * QUARTER, np.array([0]))
    assert lost == 0 and rose.all()
    refused(lambda: faithfulness.drop(model, WHITE, 2 * QUARTER, ONE), "[0, 1]")


def test_drop_and_increase_are_those_of_torchcam(case):
    from torchcam.methods import LayerCAM
    from torchcam.metrics import ClassificationMetric

    model, pixels, _, y = case
    x = models.tensor(pixels)
    with LayerCAM(model, model.trunk.features[3]) as extractor:
        peer = ClassificationMetric(extractor, lambda z: z.softmax(1))
        peer.update(x, y.tolist())
        cams = extractor(y.tolist(), model(x).softmax(1))[0][:, None]
    heat = nn.functional.interpolate(cams, (32, 32), mode="bilinear")[:, 0]
    lost, rose = faithfulness.drop(model, pixels, heat.detach().numpy().clip(0, 1), y)
    found = peer.summary()
    assert lost.mean() == pytest.approx(found["avg_drop"], abs=1e-4)
    assert rose.mean() == found["conf_increase"] and lost.mean() > 0


def test_road_of_a_model_that_is_known():
    pixels = np.zeros_like(WHITE)
    pixels[:, : SIDE // 2, : SIDE // 2] = 255
    right = faithfulness.road(Corner(), pixels, QUARTER, ONE, (0.25,))
    wrong = faithfulness.road(Corner(), pixels, 1 - QUARTER, ONE, (0.25,))
    assert right > 0.2 and wrong < 0


def test_road_is_twice_what_grad_cam_has(case, monkeypatch):
    model, pixels, maps, y = case
    start = NoisyLinearImputer.__init__
    monkeypatch.setattr(NoisyLinearImputer, "__init__", lambda s: start(s, noise=0))
    targets = [lambda out, c=c: out.softmax(-1)[c] for c in y]
    theirs = ROADCombined([25, 75])(models.tensor(pixels), maps, targets, model)
    ours = faithfulness.road(model, pixels, maps, y, (0.25, 0.75))
    assert np.allclose(ours, 2 * theirs, atol=2e-3) and np.abs(theirs).max() > 0.02
    refused(
        lambda: faithfulness.road(model, pixels, maps, y, (0, 0.5)), "between 0 and 1"
    )


def test_road_leaves_the_random_numbers_alone(case):
    model, pixels, maps, y = case
    torch.manual_seed(1)
    one = faithfulness.road(model, pixels[:2], maps[:2], y[:2], (0.2,))
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == drawn
    assert (one == faithfulness.road(model, pixels[:2], maps[:2], y[:2], (0.2,))).all()


def test_infidelity_of_a_model_that_is_known():
    raw = np.concatenate([QUARTER, -7 * QUARTER, 0 * QUARTER, 1 - QUARTER])
    pixels, y = WHITE.repeat(4, 0), ONE.repeat(4)
    found = faithfulness.infidelity(Corner(), pixels, raw, y, draws=40)
    assert found[:3] == pytest.approx(
        [0, 0, 1], abs=1e-4
    )  # the scale is free, its sign too
    assert 0.8 < found[3] <= 1
    still = faithfulness.infidelity(Corner(), WHITE, QUARTER, np.array([0]))
    assert np.isnan(still).all()  # noise changes nothing


def test_infidelity_is_that_of_captum(case):
    model, pixels, maps, y = case
    x, draws, noise = models.tensor(pixels), 5, 0.1
    draw = torch.Generator().manual_seed(3)
    changes = [noise * torch.randn(x.shape, generator=draw) for _ in range(draws)]
    # captum repeats each picture `draws` times, one after the other
    changes = torch.stack(changes, 1).flatten(0, 1)
    raw = torch.from_numpy(maps - 0.5)
    theirs = infidelity(
        model,
        lambda many: (changes, many - changes),
        x,
        raw[:, None].repeat(1, 3, 1, 1),
        target=torch.from_numpy(y),
        n_perturb_samples=draws,
        normalize=True,
    )
    with torch.inference_mode():
        said = model(x).repeat_interleave(draws, 0)
        moved = said - model(x.repeat_interleave(draws, 0) - changes)
    moved = moved.gather(1, torch.from_numpy(y).repeat_interleave(draws)[:, None])
    theirs = theirs / (moved.reshape(6, draws) ** 2).mean(1)
    ours = faithfulness.infidelity(model, pixels, raw.numpy(), y, draws, noise, seed=3)
    assert np.allclose(ours, theirs.numpy(), atol=1e-3)


def test_sensitivity_of_known_explanations():
    pixels = np.random.default_rng(0).integers(50, 200, (3, 8, 8, 3)).astype(np.uint8)
    grey = lambda p: p.mean(3)  # noqa: E731
    steady = faithfulness.sensitivity(lambda p: np.ones(p.shape[:3]), pixels)
    empty = faithfulness.sensitivity(lambda p: np.zeros(p.shape[:3]), pixels)
    assert not steady.any() and not empty.any()
    small, large = (faithfulness.sensitivity(grey, pixels, r) for r in (1, 20))
    assert (small > 0).all() and (small < large).all() and (large < 1).all()
    first = pixels.copy()
    sudden = faithfulness.sensitivity(lambda p: (p != first).any(3) * 1.0, pixels)
    assert (sudden == 1).all()


def test_sensitivity_is_that_of_captum():
    pixels = np.random.default_rng(0).integers(50, 200, (3, 8, 8, 3)).astype(np.uint8)
    rng = np.random.default_rng(5)
    noise = np.stack([rng.integers(-4, 5, pixels.shape) for _ in range(6)], 1)
    noise = torch.from_numpy(noise.reshape(-1, 8, 8, 3)).float()
    theirs = sensitivity_max(
        lambda x: ((x[0] if isinstance(x, tuple) else x).square().mean(3),),
        torch.from_numpy(pixels).float(),
        perturb_func=lambda many: many + noise,
        n_perturb_samples=6,
    )
    ours = faithfulness.sensitivity(
        lambda p: (p.astype(float) ** 2).mean(3), pixels, radius=4, draws=6, seed=5
    )
    assert ours == pytest.approx(theirs.numpy(), rel=1e-4)


def test_what_does_not_fit_is_refused(case):
    model, pixels, maps, y = case
    bad = maps.copy()
    bad[2, 0, 0] = np.nan
    asks = (
        faithfulness.curves,
        faithfulness.drop,
        faithfulness.road,
        faithfulness.infidelity,
    )
    for ask in asks:
        refused(lambda ask=ask: ask(model, pixels, maps[:, :9], y), "N×H×W×3")
        refused(lambda ask=ask: ask(model, pixels[:0], maps[:0], y[:0]), "at least one")
        refused(lambda ask=ask: ask(model, pixels, bad, y), "map 2", "finite")
        refused(
            lambda ask=ask: ask(model, pixels, maps, y[:-1]), "classes", "6 pictures"
        )
        refused(lambda ask=ask: ask(model, pixels, maps, list("abcdef")), "classes")
    refused(lambda: faithfulness.sensitivity(lambda p: bad, pixels), "map 2")
    refused(lambda: faithfulness.sensitivity(lambda p: maps[:1], pixels), "N×H×W")
