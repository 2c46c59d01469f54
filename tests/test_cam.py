"""The engine of maps against the papers' formulas, the peers, and a caller's trust."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torchvision
from errors import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn

from helpers import cam, hooks, models

pytestmark = pytest.mark.usefixtures("one_thread")
ABC = ("a", "b", "c")
LINEAR = ("cam", "grad-cam", "hirescam", "layercam")  # linear in the gradient


class Small(nn.Module):
    """Two convolutions, the mean, one linear layer; `signed` lets the map be negative."""

    def __init__(self, classes=3, signed=False, inplace=True, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            last = nn.Identity() if signed else nn.ReLU(inplace)
            self.trunk = nn.Sequential(
                nn.Conv2d(3, 6, 3, stride=2),
                nn.BatchNorm2d(6),
                nn.ReLU(inplace),
                nn.Conv2d(6, 8, 3, stride=2),
                last,
            )
            self.drop, self.fc = nn.Dropout(0.5), nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.drop(self.trunk(x).mean((2, 3))))


class Deep(Small):
    """Three layers after the map: no CAM, and gradients that differ from place to place."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.fc = nn.Sequential(nn.Linear(8 * 49, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x):
        return self.fc(self.trunk(x).flatten(1))


def pictures(n=3, side=32, seed=0):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def library():
    """torchvision's networks with seven new classes, weights drawn at random."""

    def make(name):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torchvision.models.get_model(name, num_classes=7).eval()

    made = {}
    return lambda name: made.setdefault(name, make(name))


LAST = {"resnet50": "layer4", "mobilenet_v2": "features"}


# The formulas, place by place in float64


def reference(model, x, layer, method, target):
    """The papers' formulas for one picture, with Python's own loops."""
    found = {}

    def keep(module, inputs, output):
        found["A"] = output
        return output.clone()

    handle = dict(model.named_modules())[layer].register_forward_hook(keep)
    with torch.enable_grad():
        logits = model(x)
        (g,) = torch.autograd.grad(logits[0, target], found["A"])
    handle.remove()
    A, g = found["A"][0].detach().numpy(), g[0].numpy()
    K, h, w = A.shape
    raw = np.zeros((h, w))
    for k in range(K):
        for i in range(h):
            for j in range(w):
                if method == "hirescam":
                    raw[i, j] += g[k, i, j] * A[k, i, j]
                elif method == "layercam":
                    raw[i, j] += max(g[k, i, j], 0) * A[k, i, j]
                elif method == "grad-cam":
                    raw[i, j] += g[k].sum() / (h * w) * A[k, i, j]
        if method == "grad-cam++":
            weight = 0.0
            for i in range(h):
                for j in range(w):
                    if g[k, i, j] > 0:  # relu of the gradient; 0/0 where it is zero
                        second, third = g[k, i, j] ** 2, g[k, i, j] ** 3
                        alpha = second / (2 * second + (A[k] * third).sum())
                        weight += max(alpha, 0) * g[k, i, j]
            raw += weight * A[k]
    return raw


@pytest.mark.parametrize("method", list(cam.FORMULAS))
@pytest.mark.parametrize("network", [Small, lambda: Small(signed=True), Deep])
def test_every_method_is_its_papers_formula(network, method):
    model, x = network().double().eval(), pictures().double()
    model.fc.requires_grad_(False)
    for target in range(3):
        given = cam.explain(model, x, method, "trunk", target)
        assert given.raw.dtype == np.float64
        for one in range(len(x)):
            wanted = reference(model, x[one : one + 1], "trunk", method, target)
            assert_allclose(given.raw[one], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LAST)
def test_cam_is_z_times_grad_cam_is_hirescam(library, name):
    x = pictures(2, 96)
    found = cam.maps(library(name), x, cam.GRADIENT, LAST[name], [2])
    ours = {method: found[method, LAST[name], "2"].raw for method in cam.GRADIENT}
    z = ours["cam"][0].size
    top = np.abs(ours["cam"]).max()
    assert_allclose(z * ours["grad-cam"], ours["cam"], atol=1e-5 * top)
    assert_allclose(z * ours["hirescam"], ours["cam"], atol=1e-5 * top)


def test_a_class_map_means_its_logit():
    model, x = Small().eval(), pictures()
    for target in range(3):
        given = cam.explain(model, x, "cam", "trunk", target)
        sums = given.raw.mean((1, 2)) + model.fc.bias[target].item()
        assert_allclose(sums, given.logits[:, target], rtol=1e-4, atol=1e-6)


def test_gradient_times_activation_adds_up_where_the_head_has_no_bias():
    model, x = Deep().double().eval(), pictures().double()
    for layer in (model.fc[0], model.fc[2]):
        nn.init.zeros_(layer.bias)
    given = cam.explain(model, x, "hirescam", "trunk", 1)
    assert_allclose(given.raw.sum((1, 2)), given.logits[:, 1], rtol=1e-9)


def test_grad_cam_pp_at_a_mean_is_grad_cam_of_positive_gradients(library):
    model, x = library("resnet50"), pictures(2, 96)
    given = cam.explain(model, x, "grad-cam++", "layer4", 0)
    with hooks.kept({"A": model.layer4}) as outputs:
        logits = model(x)
    g = torch.autograd.grad(logits[:, 0].sum(), outputs["A"])[0]
    wanted = cam.grad_cam(outputs["A"].detach(), g.relu()).numpy()
    for ours, theirs in zip(given.raw, wanted, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999


def test_no_alpha_exceeds_a_half_where_nothing_is_negative():
    A, g = torch.rand(2, 5, 4, 4) * 100, torch.randn(2, 5, 4, 4)
    top = (g.relu() / 2).sum((2, 3))
    assert (cam.grad_cam_pp(A, g) <= torch.einsum("nk,nkhw->nhw", top, A)).all()


# Against the libraries, where they are right


def their_scale(raw, side):
    """What grad-cam makes of a raw map: in place of a gap, its way of scaling."""
    import cv2

    small = np.maximum(raw, 0)
    small = (small - small.min()) / (1e-7 + small.max() - small.min())
    large = np.maximum(cv2.resize(small, (side, side)), 0)
    return (large - large.min()) / (1e-7 + large.max() - large.min())


def grad_cams(name, model, layer, x, target):
    import pytorch_grad_cam as peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with getattr(peer, name)(model, [dict(model.named_modules())[layer]]) as engine:
        return engine(x, [ClassifierOutputTarget(target)] * len(x))


@pytest.mark.parametrize(
    ("method", "name"),
    [("grad-cam", "GradCAM"), ("hirescam", "HiResCAM"), ("layercam", "LayerCAM")],
)
@pytest.mark.parametrize("network", [Small, Deep])
def test_we_agree_with_grad_cam(network, method, name):
    model, x = network().eval(), pictures()
    theirs = grad_cams(name, model, "trunk", x, 1)
    ours = cam.explain(model, x, method, "trunk", 1)
    for one in range(len(x)):
        assert_allclose(their_scale(ours.raw[one], 32), theirs[one], atol=1e-4)


@pytest.mark.parametrize("network", [Small, Deep])
def test_we_agree_with_captum(network):
    captum = pytest.importorskip("captum.attr")
    model, x = Small(inplace=False).eval(), pictures()
    ours = cam.explain(model, x, "grad-cam", "trunk", 1)
    theirs = captum.LayerGradCam(model, model.trunk).attribute(x, 1)
    assert_allclose(ours.raw, theirs[:, 0].detach().numpy(), rtol=1e-4, atol=1e-7)
    times = captum.LayerGradientXActivation(model, model.trunk).attribute(x, 1)
    ours = cam.explain(model, x, "hirescam", "trunk", 1)
    assert_allclose(ours.raw, times.sum(1).detach().numpy(), rtol=1e-4, atol=1e-7)


# Where they are not: a fine-tuned network's gradient at its last map is w/Z, about 1e-4


def weights_of(engine, A, g):
    return engine.get_cam_weights(None, None, None, A.numpy(), g.numpy())


def test_grad_cams_epsilon_swamps_grad_cam_pp(library):
    """It adds 1e-6 to 2g² + ΣA·g³, which is about 1e-7 here; the exact form has no need.

    Its weights go with g³ instead of g, and are several times too small.
    """
    from pytorch_grad_cam import GradCAMPlusPlus

    model, x = library("mobilenet_v2"), pictures(1, 224)
    with hooks.kept({"A": model.features}) as outputs:
        logits = model(x)
    g = torch.autograd.grad(logits[0, 0], outputs["A"])[0]
    A = outputs["A"].detach()
    alpha = torch.where(g > 0, 1 / (2 + g * A.sum((2, 3), True)), 0)
    exact = (alpha * g.relu()).sum((2, 3)).numpy()
    theirs = weights_of(GradCAMPlusPlus(model, [model.features]), A, g)
    positive = exact > 0
    assert (g**2).mean() < 1e-6
    assert np.median(theirs[positive] / exact[positive]) < 0.5
    cubes = (g.relu() ** 3).sum((2, 3)).numpy()
    assert np.corrcoef(theirs[positive], cubes[positive])[0, 1] > 0.99
    # in float64 and with gradients a million times as large their formula is ours
    big, A = g.double() * 1e6, A.double() / 1e6
    theirs = weights_of(GradCAMPlusPlus(model, [model.features]), A, big)
    alpha = torch.where(big > 0, 1 / (2 + big * A.sum((2, 3), True)), 0)
    assert_allclose(theirs, (alpha * big.relu()).sum((2, 3)).numpy(), rtol=1e-3)


def test_torchcam_never_divides_its_alpha(library):
    """`alpha[idx][mask].div_(…)` divides a copy: its weights are Σ relu(g)³."""
    methods = pytest.importorskip("torchcam.methods")
    model, x = library("mobilenet_v2"), pictures(1, 224)
    with methods.GradCAMpp(model, "features") as engine:
        logits = model(x)
        theirs = engine._get_weights(0, logits)[0]
    with hooks.kept({"A": model.features}) as outputs:
        logits = model(x)
    g = torch.autograd.grad(logits[0, 0], outputs["A"])[0]
    cubes = (g.relu() ** 3).sum((2, 3))
    ours = cam.explain(model, x, "grad-cam++", "features", 0)
    assert_allclose(theirs.detach().ravel(), cubes.ravel(), rtol=1e-3)
    cubic = torch.einsum("nk,nkhw->nhw", cubes, outputs["A"].detach())
    differ = cam.to_heatmap(cubic, (224, 224))[0].numpy() - ours.heatmap
    assert np.abs(differ).max() > 0.02


# Properties


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 50), st.integers(0, 5))
def test_temperature_changes_no_heatmap_that_is_linear_in_the_gradient(scale, seed):
    model, x = Small(seed=seed).eval(), pictures(2, seed=seed)
    before = cam.maps(model, x, LINEAR, "trunk", [0, 1])
    with torch.no_grad():
        model.fc.weight *= scale
        model.fc.bias *= scale
    after = cam.maps(model, x, LINEAR, "trunk", [0, 1])
    for key in before:
        assert_allclose(after[key].heatmap, before[key].heatmap, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)), st.permutations(range(4)))
def test_neither_the_order_of_channels_nor_of_pictures_matters(channels, order):
    model, x = Small().double().eval(), pictures(4).double()
    before = cam.maps(model, x, cam.GRADIENT, "trunk", [0])
    other = Small().double().eval()
    other.trunk[3].weight.data = model.trunk[3].weight[channels]
    other.trunk[3].bias.data = model.trunk[3].bias[channels]
    other.fc.weight.data = model.fc.weight[:, channels]
    after = cam.maps(other, x[order], cam.GRADIENT, "trunk", [0])
    for key in before:
        assert_allclose(after[key].raw, before[key].raw[order], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=12, max_size=12),
    st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_a_heatmap_is_within_its_bounds(values, scale):
    raw = torch.tensor(values).reshape(1, 3, 4) * scale
    heatmap, valid = cam.to_heatmap(raw, (24, 32))
    assert heatmap.shape == (1, 24, 32) and heatmap.isfinite().all()
    assert heatmap.min() >= 0
    assert heatmap.max() == (1 if valid else 0)
    if not valid:
        positive = raw.relu()
        assert positive.max() - positive.min() <= 1e-5 * max(1e-30, positive.max())


@pytest.mark.parametrize("value", [0.0, -1.0, 3.0, np.inf, np.nan])
def test_an_empty_or_flat_map_is_zeros_and_says_so(value):
    heatmap, valid = cam.to_heatmap(torch.full((1, 4, 4), value), (8, 8))
    assert not valid and (heatmap == 0).all()


def test_a_map_without_evidence_is_flagged_among_others():
    model, x = Small().eval(), pictures()
    with torch.no_grad():
        model.fc.weight[0] = -model.fc.weight[0].abs()
    found = cam.maps(model, x, "grad-cam", "trunk", [0, 1])
    assert not found["grad-cam", "trunk", "0"].valid.any()
    assert (found["grad-cam", "trunk", "0"].heatmap == 0).all()


# Targets


def test_targets_by_number_name_picture_and_function():
    torch.manual_seed(0)
    model, x = models.build("mobilenet_v2", ABC, 64, start="random"), pictures(3, 64)
    wanted = [None, 1, "c", [0, "b", 2], lambda logits: logits[:, 0] - logits[:, 1]]
    names = ["predicted", "b", "c", "given", "<lambda>"]
    found = cam.maps(model, x, "grad-cam", "deep", wanted)
    assert [name for *_, name in found] == names
    raw = {name: found["grad-cam", "deep", name].raw for name in names}
    targets = {name: found["grad-cam", "deep", name].target for name in names}
    assert targets["given"].tolist() == [0, 1, 2] and targets["c"].tolist() == [2] * 3
    assert (
        targets["predicted"]
        == models.each(
            model, np.zeros((3, 64, 64, 3), np.uint8), lambda _: model(x)
        ).argmax(1)
    ).all()
    assert targets["<lambda>"] == "<lambda>"
    a = cam.explain(model, x, target="a").raw
    assert_allclose(raw["<lambda>"], a - raw["b"], atol=1e-6)
    given = [a[0], raw["b"][1], raw["c"][2]]
    assert_allclose(raw["given"], np.stack(given), atol=1e-7)
    named = cam.maps(model, x, "cam", wanted={"a against b": wanted[-1]})
    assert_allclose(
        named["cam", "deep", "a against b"].raw, 4 * raw["<lambda>"], atol=1e-5
    )
    assert named["cam", "deep", "a against b"].target == "a against b"


def test_several_layers_and_classes_are_as_each_alone():
    model, x = Deep().eval(), pictures()
    layers, methods = ["trunk.2", "trunk.3", "trunk"], list(cam.FORMULAS)
    together = cam.maps(model, x, methods, layers, [0, 2, None])
    for (method, layer, name), one in together.items():
        target = {"0": 0, "2": 2, "predicted": None}[name]
        alone = cam.explain(model, x, method, layer, target)
        assert_allclose(one.raw, alone.raw, rtol=1e-4, atol=1e-7)
        assert (one.layer, one.method) == (layer, method)


def test_many_pictures_are_as_one_batch():
    torch.manual_seed(0)
    model = models.build("mobilenet_v2", ABC, 64, start="random")
    pixels = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    wanted = {"own": ["a", "c", "b", "b", "a"], "b": "b", "lead": lambda z: z[:, 0]}
    whole = cam.maps(model, models.tensor(pixels), "cam", wanted=wanted)
    some = cam.of_pixels(model, pixels, "cam", wanted=wanted, chunk=2)
    for key, one in whole.items():
        assert_allclose(some[key].raw, one.raw, rtol=1e-3, atol=1e-5)
        assert some[key].heatmap.shape == (5, 64, 64) and len(some[key].logits) == 5
        assert np.array_equal(some[key].target, one.target)


def test_a_batch_is_as_each_picture_alone():
    model, x = Small().train(), pictures(4)
    whole = cam.maps(model, x, cam.METHODS, "trunk", [[0, 1, 2, 0]])
    for one, target in enumerate([0, 1, 2, 0]):
        alone = cam.maps(model, x[one : one + 1], cam.METHODS, "trunk", [target])
        for method in cam.METHODS:
            ours = whole[method, "trunk", "given"]
            theirs = alone[method, "trunk", str(target)]
            assert_allclose(ours.raw[one], theirs.raw[0], rtol=1e-4, atol=1e-6)


# The caller's world


def test_one_forward_pass_and_no_way_back_through_the_trunk():
    model, x = Small().eval(), pictures()
    calls = []
    model.register_forward_hook(lambda *_: calls.append("forward"))
    model.trunk[0].register_full_backward_hook(lambda *_: calls.append("backward"))
    cam.maps(model, x, cam.GRADIENT, "trunk", [0, 1, None])
    assert calls == ["forward"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_afterwards_as_it_was(fails):
    model, x = Small().train(), pictures().requires_grad_()
    model.trunk[1].eval()
    model.trunk[0].requires_grad_(False)
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    seen = []
    model.trunk.register_forward_hook(lambda *_: seen.append(1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    if fails:
        refused(lambda: cam.explain(model, x, layer="trunk", target=9), "0 to 2")
    else:
        cam.maps(model, x, cam.METHODS, "trunk")
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[n], v) for n, v in model.state_dict().items())
    needs = {name: p.requires_grad for name, p in model.named_parameters()}
    assert [n for n in needs if not needs[n]] == ["trunk.0.weight", "trunk.0.bias"]
    assert (model.fc.weight.grad == 1).all() and model.fc.bias.grad is None
    assert x.grad is None and seen
    assert [len(m._forward_hooks) for m in model.modules()].count(1) == 1
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "around", [torch.no_grad, torch.inference_mode, torch.enable_grad]
)
def test_any_grad_mode_around_gives_the_same(around):
    model, x = Small().eval(), pictures()
    wanted = cam.explain(model, x, "grad-cam++", "trunk", 1).raw
    with around():
        given = cam.explain(model, x * 1, "grad-cam++", "trunk", 1).raw
        assert torch.is_inference_mode_enabled() == (around is torch.inference_mode)
    assert_allclose(given, wanted, rtol=1e-6)


def test_a_frozen_network_is_explained_all_the_same():
    model, x = Small().eval(), pictures()
    wanted = cam.maps(model, x, cam.METHODS, "trunk")
    given = cam.maps(model.requires_grad_(False), x, cam.METHODS, "trunk")
    for key in wanted:
        assert_allclose(given[key].raw, wanted[key].raw, rtol=1e-6)


@pytest.mark.parametrize("layer", ["layer4.2.bn3", "layer4.2.relu", "conv1"])
def test_in_place_relus_do_no_harm(library, layer):
    if layer == "layer4.2.relu":  # torchvision calls it three times in one block
        x = pictures(1, 64)
        refused(lambda: cam.explain(library("resnet50"), x, layer=layer), "twice")
        return
    given = cam.explain(library("resnet50"), pictures(2, 64), layer=layer)
    assert given.raw.any() and np.isfinite(given.raw).all()


def test_densenet_whose_map_is_followed_by_an_in_place_relu():
    torch.manual_seed(0)
    model = torchvision.models.densenet121(num_classes=3).eval()
    x = pictures(1, 64)
    given = cam.explain(model, x, layer="features", target=0)
    wanted = reference(model.double(), x.double(), "features.norm5", "grad-cam", 0)
    assert_allclose(given.raw[0], wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_half_precision(dtype, how):
    model, x = Small().eval(), pictures()
    wanted = cam.maps(model, x, cam.METHODS, "trunk", [1])
    model = model.to(dtype) if how == "weights" else model
    auto = torch.autocast("cpu", dtype) if how == "autocast" else nullcontext()
    with auto:
        given = cam.maps(model, x, cam.METHODS, "trunk", [1])
    for key in wanted:
        assert given[key].raw.dtype == np.float32
        assert_allclose(given[key].heatmap, wanted[key].heatmap, atol=0.15)


def test_channels_last_pictures_and_weights():
    model, x = Small().eval(), pictures()
    wanted = cam.explain(model, x, layer="trunk").raw
    model = model.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    assert_allclose(cam.explain(model, x, layer="trunk").raw, wanted, atol=1e-6)


def test_no_hook_and_no_memory_stays_behind():
    model, x = Small().eval(), pictures(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            cam.maps(model, x, cam.METHODS[1:], ["trunk.2", model.trunk[3]], [0])
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


# Transformers and other shapes


def test_a_vits_tokens_become_a_map_without_the_class_token():
    torch.manual_seed(0)
    model = models.build("vit_tiny", ABC, 64, start="random")
    x = pictures(2, 64)
    found = cam.maps(model, x, list(cam.FORMULAS), ["early", "deep"], ["b"])
    assert {given.raw.shape for given in found.values()} == {(2, 4, 4)}
    named = cam.explain(
        model,
        x,
        "hirescam",
        "early",
        "b",
        reshape=lambda t: t[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2),
    )
    assert_allclose(named.raw, found["hirescam", "early", "b"].raw, atol=1e-6)


@pytest.mark.parametrize(("extra", "h", "w"), [(0, 3, 4), (1, 5, 5), (5, 2, 6)])
def test_tokens_are_arranged_row_by_row(extra, h, w):
    tokens = torch.arange(extra + h * w).float().reshape(1, -1, 1)
    grid = hooks.tokens_to_map(tokens, 16 * h, 16 * w)
    assert grid.shape == (1, 1, h, w)
    assert grid.flatten().tolist() == list(range(extra, extra + h * w))


def test_pictures_need_not_be_square():
    given = cam.explain(Small().eval(), torch.rand(1, 3, 24, 40), layer="trunk")
    assert given.heatmap.shape == (1, 24, 40) and given.raw.shape == (1, 5, 9)


# Score-CAM


def score_reference(model, x, target, score, channel_softmax, baseline):
    """Its formula for one picture, one channel after the other."""
    with torch.no_grad():
        A = model.trunk(x)
        read = (lambda z: z.softmax(1)) if score == "prob" else (lambda z: z)
        black = read(model(torch.zeros_like(x)))[0, target] if baseline else 0
        large = nn.functional.interpolate(A, x.shape[2:], mode="bilinear")
        weights = []
        for k in range(A.shape[1]):
            mask = large[:, k : k + 1] - large[:, k].min()
            if mask.max() == 0:
                weights.append(torch.tensor(-np.inf if channel_softmax else 0.0))
                continue
            weights.append(read(model(x * mask / mask.max()))[0, target] - black)
        weights = torch.stack(weights).to(A)
        weights = weights.softmax(0) if channel_softmax else weights
        return torch.einsum("k,khw->hw", weights, A[0]).numpy()


@pytest.mark.parametrize("score", ["prob", "logit"])
@pytest.mark.parametrize("channel_softmax", [False, True])
@pytest.mark.parametrize("baseline", [False, True])
def test_score_cam_is_its_formula(score, channel_softmax, baseline):
    model, x = Small().double().eval(), pictures(2).double()
    how = {"score": score, "channel_softmax": channel_softmax, "baseline": baseline}
    for chunk in (1, 3, 100):
        given = cam.explain(model, x, "score-cam", "trunk", 1, chunk=chunk, **how)
        for one in range(2):
            wanted = score_reference(model, x[one : one + 1], 1, *how.values())
            assert_allclose(given.raw[one], wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("network", [Small, Deep])
def test_score_cam_agrees_with_grad_cam_in_its_mode(network):
    model, x = network().eval(), pictures(2)
    theirs = grad_cams("ScoreCAM", model, "trunk", x, 1)
    variant = cam.scorecam.VARIANTS["grad-cam"]
    ours = cam.explain(model, x, "score-cam", "trunk", 1, **variant)
    for one in range(len(x)):
        assert_allclose(their_scale(ours.raw[one], 32), theirs[one], atol=1e-4)


def test_score_cam_asks_no_dead_channel_and_no_more_than_a_chunk_at_once():
    model, x = Small().eval(), pictures(2)
    with torch.no_grad():
        model.trunk[3].weight[:5] = 0
        model.trunk[3].bias[:5] = torch.tensor([-1.0, 0, 2, -3, 4])
    sizes = []
    model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    cam.explain(model, x, "score-cam", "trunk", 1, chunk=2)
    assert sizes[0] == 2 and sum(sizes[1:]) <= 6 and max(sizes[1:]) <= 2


@pytest.mark.parametrize("channel_softmax", [False, True])
def test_score_cam_of_dead_channels_alone_is_empty(channel_softmax):
    model = Small().eval()
    nn.init.zeros_(model.trunk[3].weight)
    how = {"channel_softmax": channel_softmax}
    given = cam.explain(model, pictures(2), "score-cam", "trunk", 1, **how)
    assert not given.valid.any() and (given.heatmap == 0).all()


# What is refused


class Pooled(Small):
    """A layer beside the way, one without places, one that is not asked at all."""

    def __init__(self):
        super().__init__()
        self.beside, self.unused = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        self.beside(x)
        return self.fc(self.pool(self.trunk(x)).flatten(1))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"target": 3}, ("class 3", "0 to 2")),
        ({"target": -1}, ("-1", "0 to 2")),
        ({"target": 1.5}, ("1.5",)),
        ({"target": True}, ("True",)),
        ({"target": "mel"}, ("mel", "0 to 2")),
        ({"target": [0, 1]}, ("2 targets", "3 pictures")),
        ({"target": lambda logits: logits.sum()}, ("N×C → N",)),
        ({"target": lambda logits: logits[:, 0].detach()}, ("way to the score",)),
        ({"layer": "layer9"}, ("layer9", "trunk")),
        ({"layer": ""}, ("trunk",)),
        ({"layer": nn.ReLU()}, ("no part of this model",)),
        ({"layer": "fc"}, ("fc", "3×3", "earlier")),
        ({"layer": "beside"}, ("beside", "way to the score")),
        ({"layer": "unused"}, ("unused", "no part")),
        ({"layer": "trunk.2", "method": "cam"}, ("its mean", "grad-cam")),
        ({"method": "gradcam"}, ("gradcam", "grad-cam")),
        ({"method": "score-cam", "score": "loud"}, ("loud", "logit")),
        ({"method": "score-cam", "chunk": 0}, ("chunk", "0")),
        ({"reshape": lambda t: t.flatten(1)}, ("reshape",)),
    ],
)
def test_what_cannot_be_explained_is_refused(asked, told):
    model = Pooled().eval()
    refused(lambda: cam.explain(model, pictures(), **{"layer": "trunk"} | asked), *told)


def test_pictures_that_cannot_be_explained_are_refused():
    model, broken = Small().eval(), pictures()
    broken[1, 0, 2, 2] = torch.nan
    for x, told in (
        (torch.rand(3, 32, 32), "3×32×32"),
        (torch.rand(0, 3, 32, 32), "at least one"),
        (np.zeros((1, 32, 32, 3), np.uint8), "models.tensor"),
        (broken, "picture 1"),
    ):
        refused(lambda x=x: cam.explain(model, x, layer="trunk"), told)
    model = models.build("mobilenet_v2", ABC, 64, start="random")
    refused(lambda: cam.explain(model, pictures(1, 96)), "images.load(cases, 64)")


def test_a_model_that_gives_no_numbers_is_refused():
    model = Small().eval()
    model.fc.weight.data[0, 0] = torch.nan
    refused(lambda: cam.explain(model, pictures(), layer="trunk"), "not finite")


def test_a_precision_without_a_kernel_is_refused(monkeypatch):
    model = Small().eval()

    def lacking(*_):
        raise RuntimeError("\"conv\" not implemented for 'Half'")

    monkeypatch.setattr(model.trunk[0], "forward", lacking)
    refused(lambda: cam.explain(model, pictures(), layer="trunk"), "model.float()")
