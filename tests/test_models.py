"""The networks: their libraries' own, with preprocessing attached and a head on top."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
import torchvision
from errors import refused
from torch import nn
from torch.testing import assert_close

from helpers import models

with warnings.catch_warnings():  # fastai 2.8 still calls torch.jit.script
    warnings.simplefilter("ignore")
    from fastai.vision import learner

ABC = ("nv", "mel", "bkl")  # in no alphabetical order
WIDTHS = {
    "resnet50": 2048,
    "mobilenet_v2": 1280,
    "efficientnet_b0": 1280,
    "efficientnet_lite0": 1280,
    "vit_tiny": 192,
}
LIBRARY = {  # what the course calls them and what their libraries do
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "vit_tiny": "vit_tiny_patch16_224",
}


@pytest.fixture(autouse=True)
def alone(folders, one_thread, monkeypatch):
    """No weights of this machine, and no address to get them from."""
    monkeypatch.delenv("XAI_DERM_WEIGHTS", raising=False)


def built(backbone: str, head: str = "linear", size: int = 64) -> models.Classifier:
    """A network with random weights whose answers depend on its pictures.

    Batch norm gets statistics of its own: with those of a new network, signals die out.
    """
    torch.manual_seed(0)
    model = models.build(backbone, ABC, size, head, start="random")
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean over all batches, here of one
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    if not models.known(backbone).tokens:
        model.train()(torch.rand(8, 3, size, size))
    return model.eval()


@pytest.fixture(scope="module")
def kept():
    """Every network is made once; a test that changes one makes its own."""
    made = {}

    def get(backbone: str, head: str = "linear") -> models.Classifier:
        if (backbone, head) not in made:
            made[backbone, head] = built(backbone, head)
        return made[backbone, head]

    return get


@pytest.fixture(params=WIDTHS)
def model(request, kept):
    return kept(request.param)


@pytest.fixture(scope="module")
def small(kept):
    return kept("mobilenet_v2")


def pictures(n: int = 3, height: int = 64, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def as_x(pixels) -> torch.Tensor:
    """By hand: N×H×W×3 of 0–255 → N×3×H×W in [0, 1]."""
    return torch.from_numpy(np.moveaxis(pixels / 255, 3, 1).astype(np.float32))


@torch.no_grad()
def answers(model, x) -> torch.Tensor:
    return model(x)


def test_every_backbone_is_tested():
    assert set(models.BACKBONES) == set(WIDTHS)


# The network is the library's


def library(backbone: str) -> tuple[nn.Module, tuple, tuple]:
    """The network as its library makes it, and the mean and std that it documents."""
    if backbone in LIBRARY:
        size = {"img_size": 64} if backbone == "vit_tiny" else {}
        net = timm.create_model(LIBRARY[backbone], **size)
        return net, net.pretrained_cfg["mean"], net.pretrained_cfg["std"]
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    net, seen = torchvision.models.get_model(backbone), weights.transforms()
    return net, seen.mean, seen.std


def same_weights(net: nn.Module, model: models.Classifier) -> None:
    """Puts the trunk's weights into the library's network, whose head is its own."""
    state = dict(model.trunk.state_dict())
    if "pos_embed" in state:  # the library's is made for 64 pixels, ours for 224
        state["pos_embed"] = timm.layers.resample_abs_pos_embed(
            state["pos_embed"], (4, 4)
        )
    left = net.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    heads = ("fc.", "classifier.", "head.")
    assert all(name.startswith(heads) for name in left.missing_keys)


def penultimate(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the library's own forward hands to its last layer."""
    if hasattr(net, "forward_head"):
        return net.forward_head(net.forward_features(x), pre_logits=True)
    for name in ("fc", "classifier"):
        if hasattr(net, name):
            setattr(net, name, nn.Identity())
    return net(x)


def test_the_trunk_is_the_librarys_network_on_the_normalised_picture(model):
    net, mean, std = library(model.backbone)
    same_weights(net.eval(), model)
    x = np.moveaxis(pictures() / 255, 3, 1)
    by_hand = (x - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    with torch.no_grad():  # in double precision: what is left is a difference
        theirs = penultimate(net.double(), torch.from_numpy(by_hand))
        ours = deepcopy(model).double().features(torch.from_numpy(x))
    assert ours.shape == (3, WIDTHS[model.backbone])
    assert theirs.std(0).mean() > 1e-3  # the pictures differ, or nothing is compared
    assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_last_map_is_the_librarys(kept):
    model = kept("efficientnet_lite0")
    net, mean, std = library(model.backbone)
    same_weights(net.eval(), model)
    x = as_x(pictures())
    with torch.no_grad():
        theirs = net.forward_features((x - mean[0]) / std[0])
        assert_close(model.map(x), theirs, rtol=1e-4, atol=1e-4)


def test_the_vit_takes_any_size_and_at_224_is_timms(kept):
    model, x = kept("vit_tiny"), torch.rand(1, 3, 224, 224)
    net = timm.create_model("vit_tiny_patch16_224").eval()
    net.load_state_dict(model.trunk.state_dict(), strict=False)
    with torch.no_grad():
        theirs = penultimate(net, (x - 0.5) / 0.5)
        assert_close(model.features(x), theirs, rtol=1e-4, atol=1e-4)
    assert answers(model, torch.rand(1, 3, 48, 80)).shape == (1, 3)


def test_mean_and_std_are_those_of_the_librarys_weights(model):
    _, mean, std = library(model.backbone)
    assert model.mean.flatten().tolist() == pytest.approx(mean)
    assert model.std.flatten().tolist() == pytest.approx(std)
    assert model.mean.shape == model.std.shape == (3, 1, 1)
    assert not {"mean", "std"} & set(model.state_dict())  # model.json tells them
    if model.backbone in LIBRARY:
        assert set(mean) == set(std) == {0.5}


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.5, 0.5), (0.5, 0.5)),
        ((0.5,) * 3, (0.5, 0, 0.5)),
        ((0.5,) * 3, (-1, 1, 1)),
        ((0.5,) * 3, 0.5),
        ((0.5,) * 3, None),
        (("a", "b", "c"), (1, 1, 1)),
        ((0.5,) * 3, (1, 1, float("nan"))),
        ((0.5, 0.5, float("nan")), (1, 1, 1)),
        ((0.5,) * 3, (1, 1, float("inf"))),
        ((0.5,) * 3, (1, 1)),
        ((), ()),
    ],
)
def test_a_normalisation_that_is_none_is_refused_and_the_old_one_stays(mean, std):
    model = models.build("mobilenet_v2", ABC, start="random")
    before = model.mean.clone()
    refused(lambda: model.normalise(mean, std), "three numbers", "0.485")
    assert torch.equal(model.mean, before)


def test_whole_numbers_are_a_normalisation_too():
    model = models.build("mobilenet_v2", ABC, start="random").double()
    model.normalise([0, 0, 0], [1, 1, 1])
    assert model.mean.dtype == torch.float32 and model.std.sum() == 3


# Shapes and layers


def test_logits_have_a_row_a_picture_and_a_column_a_class(model):
    assert model.classes == ABC and model.size == 64
    assert answers(model, torch.rand(2, 3, 64, 64)).shape == (2, 3)
    five = models.build(model.backbone, list("edcba"), start="random").eval()
    assert five.classes == tuple("edcba")
    assert answers(five, torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_the_linear_head_is_linear_in_the_features(model):
    x = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        seen = model.features(x)
        assert torch.equal(model.head.linear(seen), model(x))
        last = model.map(x)
    assert_close(seen, last if last.ndim == 2 else last.mean((2, 3)))


@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_layers_give_maps_of_an_8th_a_16th_and_a_32nd(model, size):
    seen = {}
    hooks = [
        model.layer(depth).register_forward_hook(
            lambda module, args, out, depth=depth: seen.update({depth: out.shape})
        )
        for depth in ("early", "middle", "deep")
    ]
    answers(model, torch.rand(2, 3, *size))
    for hook in hooks:
        hook.remove()
    assert list(seen) == ["early", "middle", "deep"]  # in the order of the network
    for part, shape in zip((8, 16, 32), seen.values(), strict=True):
        height, width = (n // part for n in size)
        if model.backbone == "vit_tiny":  # a class token, then patches of 16 pixels
            assert shape == (2, 1 + size[0] // 16 * size[1] // 16, 192)
        else:
            assert shape[0] == 2 and shape[2:] == (height, width)


def test_the_deep_layer_of_a_cnn_is_the_map_that_the_head_sees(model):
    if model.backbone == "vit_tiny":
        pytest.skip("a transformer's head sees its last vector")
    kept = []
    deep = model.layer("deep")
    hook = deep.register_forward_hook(lambda module, args, out: kept.append(out))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.map(x), kept[0])
    hook.remove()


def test_layers_have_the_librarys_names(model):
    net, _, _ = library(model.backbone)
    for name in models.layers(model.backbone):
        assert type(net.get_submodule(name)) is type(model.trunk.get_submodule(name))


def test_unknown_names_are_refused_with_those_that_exist(small):
    refused(lambda: models.build("vgg", ABC), "'vgg'", *WIDTHS)
    refused(lambda: models.layers("vgg"), "'vgg'", *WIDTHS)
    refused(lambda: models.network("vgg"), "'vgg'", *WIDTHS)
    refused(lambda: small.layer("deepest"), "'deepest'", "early", "middle", "deep")
    refused(
        lambda: models.build("mobilenet_v2", ABC, head="mlp"),
        *("'mlp'", "linear", "fastai"),
    )
    refused(
        lambda: models.build("mobilenet_v2", ABC, start="coco"),
        *("'coco'", "imagenet", "random"),
    )


@pytest.mark.parametrize("classes", [[], ["nv", "mel", "nv"], [1, 2], [["nv"]]])
def test_every_class_is_named_once(classes):
    refused(lambda: models.build("mobilenet_v2", classes, start="random"), "once")


def test_the_seed_decides_what_is_random():
    first, same, other = (
        torch.manual_seed(seed)
        and models.build("mobilenet_v2", ABC, start="random").state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.linear.weight"], other["head.linear.weight"])


def test_random_weights_are_not_looked_for(monkeypatch, capsys):
    monkeypatch.setattr(models.weights, "imagenet", lambda *_: 1 / 0)
    models.build("mobilenet_v2", ABC, start="random")
    assert capsys.readouterr().out == ""


# fastai's head


def shapes(module: nn.Module) -> list[tuple]:
    return [tuple(p.shape) for p in module.parameters()]


@pytest.fixture(scope="module")
def fastais():
    """What vision_learner makes of torchvision's resnet50: body and head."""
    torch.manual_seed(0)
    return learner.create_vision_model(torchvision.models.resnet50, 3, pretrained=False)


def test_the_fastai_head_is_that_of_vision_learner(kept, fastais):
    ours, (body, head) = kept("resnet50", "fastai"), fastais
    assert shapes(ours.head) == shapes(head) and shapes(ours.trunk) == shapes(body)
    assert [type(m) for m in ours.head] == [type(m) for m in head]
    drops = [[m.p for m in h if isinstance(m, nn.Dropout)] for h in (ours.head, head)]
    assert drops[0] == drops[1] and len(drops[0]) == 2
    assert answers(ours, torch.rand(2, 3, 64, 64)).shape == (2, 3)
    state = ours.trunk.state_dict().values()
    body.load_state_dict(dict(zip(body.state_dict(), state, strict=True)))
    head.load_state_dict(ours.head.state_dict())
    x = torch.rand(2, 3, 64, 64)
    alike = fastais.eval().to(memory_format=torch.channels_last)  # as ours: same sums
    theirs = answers(alike, (x - ours.mean) / ours.std)
    assert_close(answers(ours, x), theirs)


def test_the_fastai_head_starts_as_fastais():
    torch.manual_seed(3)
    model = models.build("mobilenet_v2", ABC, head="fastai", start="random")
    first = next(m for m in model.head if isinstance(m, nn.Linear))
    kaiming = (2 / first.in_features) ** 0.5  # PyTorch's own start is √6 times narrower
    assert first.weight.std().item() == pytest.approx(kaiming, rel=0.02)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
def test_the_fastai_head_fits_every_map(backbone):
    model = models.build(backbone, ABC, head="fastai", start="random")
    assert shapes(model.head) == shapes(learner.create_head(WIDTHS[backbone], 3))


def test_what_a_fastai_head_has_not_is_refused(kept):
    x = torch.rand(1, 3, 64, 64)
    fastai = kept("resnet50", "fastai")
    refused(lambda: fastai.features(x), "head='linear'")
    refused(lambda: models.features(fastai, pictures(1)), "head='linear'")
    refused(
        lambda: models.build("vit_tiny", ABC, head="fastai", start="random"),
        *("vit_tiny", "linear"),
    )


# Pictures in, logits out


def test_pictures_become_x():
    pixels = pictures(2, 8, 6)
    before = pixels.copy()
    x = models.tensor(pixels)
    assert x.dtype == torch.float32 and x.shape == (2, 3, 8, 6)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert_close(x, as_x(pixels))
    x.zero_()
    assert (pixels == before).all()
    extremes = models.tensor(np.array([0, 255] * 6, np.uint8).reshape(1, 2, 2, 3))
    assert extremes.unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "2×8×8×3 of float32"),
        (np.zeros((8, 8, 3), np.uint8), "8×8×3 of uint8"),
        (np.zeros((2, 3, 8, 8), np.uint8), "2×3×8×8 of uint8"),
        (np.zeros((2, 8, 8, 4), np.uint8), "2×8×8×4 of uint8"),
        (np.zeros((0, 8, 8), np.uint8), "uint8"),
    ],
)
def test_what_is_no_picture_is_refused(small, pixels, told):
    for call in (models.tensor, lambda p: models.logits(small, p)):
        if len(pixels) or call is not models.tensor:
            refused(lambda call=call: call(pixels), "N×H×W×3", "uint8")
    if len(pixels):
        refused(lambda: models.tensor(pixels), told)


def test_logits_are_the_models_answers(model):
    pixels = pictures()
    given = models.logits(model, pixels)
    assert given.dtype == np.float32 and given.shape == (3, 3)
    expected = answers(model, as_x(pixels)).numpy()
    assert expected.std(0).min() > 1e-4
    assert np.allclose(given, expected, rtol=1e-4, atol=1e-4)


def test_features_are_the_models_features(small):
    pixels = pictures()
    given = models.features(small, pixels)
    with torch.no_grad():
        expected = small.features(as_x(pixels))
    assert given.shape == (3, 1280)
    assert np.allclose(given, expected, rtol=1e-4, atol=1e-4)


def test_the_deterministic_part_of_the_head_alone_is_used(kept):
    fastai = kept("resnet50", "fastai")  # with much dropout
    pixels = pictures()
    assert (models.logits(fastai, pixels) == models.logits(fastai, pixels)).all()


def by_numpy(pixels: np.ndarray, views: int) -> list[np.ndarray]:
    """The first views of a picture stack, written out."""
    half, left, right = (np.rot90(pixels, k, axes=(1, 2)) for k in (2, 1, 3))
    mirrored = [stack[:, :, ::-1] for stack in (pixels, half, left, right)]
    return [
        *(pixels, mirrored[0]),
        *(half, mirrored[1]),
        *(left, mirrored[2]),
        *(right, mirrored[3]),
    ][:views]


@pytest.mark.parametrize("views", range(1, 9))
def test_views_are_the_mean_over_turns_and_mirrorings(small, views):
    pixels = pictures(2, 64, 96)  # not square: a wrong axis would show
    expected = np.mean(
        [answers(small, as_x(seen)).numpy() for seen in by_numpy(pixels, views)], axis=0
    )
    given = models.logits(small, pixels, views)
    assert np.allclose(given, expected, rtol=1e-4, atol=1e-4)
    assert np.array_equal(given, models.logits(small, pixels, np.int64(views)))
    if views > 1:
        assert not np.allclose(given, models.logits(small, pixels, views - 1))


def test_eight_views_are_all_that_there_are(small):
    square = torch.arange(9.0).view(1, 1, 3, 3)
    seen = {tuple(view.flatten().tolist()) for view in models.turns(square, 8)}
    assert len(seen) == 8
    pixels = pictures(1)
    turned = np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))
    one, two = (models.logits(small, p, views=8) for p in (pixels, turned))
    assert np.allclose(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("views", [0, 9, -1, 1.5, "2", None, True])
def test_views_that_there_are_not_are_refused(small, views):
    line = refused(lambda: models.logits(small, pictures(1), views), "1 to 8")
    assert repr(views) in line


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_the_batch_size_does_not_matter(small, batch):
    pixels = pictures(5)
    whole = models.logits(small, pixels, batch=5)
    given = models.logits(small, pixels, batch=batch)
    assert given.shape == (5, 3)
    assert np.allclose(given, whole, rtol=1e-4, atol=1e-4)


def test_a_batch_of_none_is_refused(small):
    refused(lambda: models.logits(small, pictures(1), batch=0), "batch")


@pytest.mark.parametrize("views", [1, 8])
def test_no_pictures_give_no_rows(model, views):
    none = np.zeros((0, 64, 64, 3), np.uint8)
    given = models.logits(model, none, views)
    assert given.shape == (0, 3) and given.dtype == np.float32
    assert models.features(model, none).shape == (0, WIDTHS[model.backbone])


def test_no_pictures_give_no_rows_with_a_fastai_head(kept):
    none = np.zeros((0, 64, 64, 3), np.uint8)
    assert models.logits(kept("resnet50", "fastai"), none).shape == (0, 3)


@pytest.mark.filterwarnings("error::UserWarning")  # a read-only tensor
def test_pictures_that_lie_on_disk_are_read_as_they_are_needed(small, tmp_path):
    pixels = pictures(3)
    np.save(tmp_path / "pixels.npy", pixels)
    lying = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert np.array_equal(models.logits(small, lying), models.logits(small, pixels))


def test_predicting_leaves_no_trace():
    model = built("mobilenet_v2").train()
    model.trunk.eval()  # as a frozen trunk is trained
    model.trunk.requires_grad_(False)
    modes = {name: m.training for name, m in model.named_modules()}
    grads = {name: p.requires_grad for name, p in model.named_parameters()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)
    random, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()
    models.logits(model, pictures(), views=3)
    models.features(model, pictures())
    assert modes == {name: m.training for name, m in model.named_modules()}
    assert set(modes.values()) == {True, False}
    assert grads == {name: p.requires_grad for name, p in model.named_parameters()}
    assert all(torch.equal(v, state[name]) for name, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert (np.random.get_state()[1] == legacy).all()
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_the_mode_comes_back_after_an_error_too():
    model = models.build("mobilenet_v2", ABC, start="random")
    with pytest.raises(ZeroDivisionError):
        models.each(model, pictures(1), lambda x: 1 / 0)
    assert all(m.training for m in model.modules())


def test_gradients_reach_pictures_and_layers(model):
    """What Grad-CAM will need, after predictions that kept no graph."""
    models.logits(model, pictures(1))
    seen = []
    hook = model.layer("deep").register_forward_hook(lambda m, a, out: seen.append(out))
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    score = model(x)[0, 0]
    hook.remove()
    to_map, to_x = torch.autograd.grad(score, (seen[0], x))
    assert to_map.abs().sum() > 0 and to_x.abs().sum() > 0


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_lite0", "mobilenet_v2"])
def test_the_stages_are_met_in_order(backbone, kept):
    model, met = kept(backbone), []
    stages = models.stages(model)
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda *_, name=name: met.append(name))
        for name in stages
    ]
    answers(model, torch.rand(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    assert met == stages and len(stages) > 8
    assert modules[stages[-1]] is model.layer("deep") or backbone == "resnet50"
