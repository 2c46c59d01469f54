"""Features that are kept, and stand for the trunk that made them; pictures drawn anew."""

import random

import numpy as np
import pytest
import tiny
import torch

from helpers import augments, features, models, settings
from helpers.settings import CourseError

LITE = "efficientnet_lite0"  # its weights come along
PIXELS = tiny.discs(30)[0]


@pytest.fixture(autouse=True)
def small(folders, one_thread, monkeypatch):
    tiny.install(monkeypatch)


def built(backbone: str = "tiny_net", seed: int = 0):
    torch.manual_seed(seed)
    return models.build(backbone, tiny.CLASSES, 32)


def kept() -> list:
    return sorted((settings.out_folder() / "cache").glob("features_*.npy"))


@pytest.fixture
def trunk_runs(monkeypatch):
    """How many batches the trunk was run on, in a list that grows."""
    runs, run = [], models.Classifier.map

    def count(self, x):
        runs.append(len(x))
        return run(self, x)

    monkeypatch.setattr(models.Classifier, "map", count)
    return runs


@pytest.mark.parametrize("backbone", ["tiny_net", LITE])
def test_the_head_on_features_answers_as_the_whole_network(backbone):
    model = built(backbone)
    for parameter in model.head.parameters():  # not the small ones of the start
        torch.nn.init.normal_(parameter)
    found = features.of(model, PIXELS)
    assert found.shape == (30, 1, model.head.linear.in_features)
    assert found.dtype == np.float32
    head = torch.nn.Sequential(model.head.drop, model.head.linear).eval()
    logits = head(torch.tensor(found[:, 0])).detach().numpy()
    whole = models.logits(model, PIXELS)
    assert np.ptp(whole) > 1 and np.allclose(logits, whole, atol=1e-5, rtol=1e-5)


def test_features_are_made_once(trunk_runs):
    model = built()
    first = features.of(model, PIXELS, "light", drawn=3)
    assert trunk_runs and len(kept()) == 1
    del trunk_runs[:]
    again = features.of(built(), PIXELS, "light", drawn=3)
    assert not trunk_runs and np.array_equal(first, again)


def test_the_head_does_not_matter_to_features(trunk_runs):
    features.of(built(), PIXELS)
    del trunk_runs[:]
    features.of(built(seed=1), PIXELS)  # the same trunk, another head
    assert not trunk_runs and len(kept()) == 1


def other_weights(model):
    with torch.no_grad():
        next(model.trunk.parameters())[0, 0, 0, 0] += 1


def other_statistics(model):
    next(m for m in model.trunk.modules() if hasattr(m, "running_mean")).running_mean[
        0
    ] += 1


CHANGES = {
    "pictures": ({"pixels": PIXELS[::-1]}, None),
    "one pixel": ({"pixels": np.where(np.arange(3) == 0, PIXELS ^ 1, PIXELS)}, None),
    "fewer": ({"pixels": PIXELS[:-1]}, None),
    "augment": ({"augment": "strong"}, None),
    "drawn": ({"drawn": 3}, None),
    "seed": ({"seed": 1}, None),
    "weights": ({}, other_weights),
    "statistics": ({}, other_statistics),
    "mean": ({}, lambda model: model.normalise((0, 0, 0), (1, 1, 1))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_features_makes_them_anew(what, trunk_runs):
    call = {"pixels": PIXELS, "augment": "light", "drawn": 2, "seed": 0}
    features.of(built(), **call)
    del trunk_runs[:]
    changed, to_model = CHANGES[what]
    model = built()
    if to_model:
        to_model(model)
    features.of(model, **call | changed)
    assert trunk_runs and len(kept()) == 2


def test_without_draws_neither_augment_nor_seed_matters(trunk_runs):
    one = features.of(built(), PIXELS, "light", drawn=1, seed=0)
    del trunk_runs[:]
    assert np.array_equal(features.of(built(), PIXELS, "strong", 1, seed=5), one)
    assert not trunk_runs


@pytest.mark.parametrize("augment", ["light", "crops", "strong"])
def test_the_first_view_is_the_picture_itself(augment):
    model = built()
    plain = features.of(model, PIXELS)
    views = features.of(model, PIXELS, augment, drawn=4)
    assert views.shape == (30, 4, 16)
    assert np.allclose(views[:, :1], plain, atol=1e-6)
    for k in range(1, 4):
        assert not np.allclose(views[:, k], views[:, k - 1], atol=1e-3)
    same = features.of(model, PIXELS, "none", drawn=2)
    assert np.allclose(same, plain, atol=1e-6)


def test_draws_depend_on_the_seed_alone_and_disturb_nobody():
    made = []
    for state in (1, 2):
        torch.manual_seed(state)
        random.seed(state)
        np.random.seed(state)
        made.append(features.of(built(seed=state), PIXELS, "strong", drawn=3))
        kept()[0].unlink()
    assert np.array_equal(*made)

    def numbers():
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)
        yield
        yield torch.rand(1).item(), random.random(), np.random.random()

    model, drawn = built(), []
    for use in (False, True):
        next(source := numbers())
        if use:
            features.of(model, PIXELS, "strong", drawn=3, seed=1)
        drawn.append(next(source))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_in_its_mode_and_is_not_changed(training):
    model = built().train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features.of(model, PIXELS, "light", drawn=2)
    assert model.training == training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "spoil",
    [
        cut,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:5]),
        lambda path: path.write_bytes(b"not an array"),
    ],
)
def test_a_broken_file_is_made_anew(spoil):
    model = built()
    first = features.of(model, PIXELS)
    spoil(kept()[0])
    assert np.array_equal(features.of(model, PIXELS), first)
    assert np.array_equal(np.load(kept()[0]), first)


def test_an_interrupted_run_leaves_no_file(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            features.of(built(), PIXELS)
    assert [path.suffix for path in kept()] == []
    assert features.of(built(), PIXELS).shape == (30, 1, 16)


def test_fastais_head_has_no_features():
    model = models.build("tiny_net", tiny.CLASSES, 32, "fastai")
    with pytest.raises(CourseError, match="only a linear head"):
        features.of(model, PIXELS)


# Drawn pictures


@pytest.mark.parametrize("augment", ["none", "light", "crops", "strong"])
def test_drawn_pictures_are_pictures(augment):
    x = models.tensor(PIXELS)
    draw = augments.drawing(augment, 32)
    random.seed(0)
    for _ in range(60):  # one batch in four has something erased
        drawn = draw(x.clone())
        assert drawn.shape == x.shape and type(drawn) is torch.Tensor
        assert drawn.min() >= 0 and drawn.max() <= 1
        assert torch.equal(drawn, x) == (augment == "none")


def test_strong_draws_erase_some_pictures_and_light_draws_none():
    grey = torch.full((1, 3, 32, 32), 0.5)
    random.seed(0)
    erased = {
        augment: sum(float(draw(grey.clone()).std() > 0.02) for _ in range(400))
        for augment in ("light", "crops", "strong")
        if (draw := augments.drawing(augment, 32))
    }
    assert erased["light"] == erased["crops"] == 0
    assert abs(erased["strong"] - 100) < 5 * (400 * 0.25 * 0.75) ** 0.5  # p = 1/4


def test_strong_draws_turn_a_lesion_upside_down_and_light_draws_do_not():
    half = torch.zeros(1, 3, 32, 32)
    half[:, :, :16] = 0.8
    random.seed(0)
    torch.manual_seed(0)
    for augment, turned in (("light", False), ("crops", True), ("strong", True)):
        draw = augments.drawing(augment, 32)
        drawn = [draw(half.clone())[0, 0] for _ in range(40)]
        below = [picture[20:].mean() > picture[:12].mean() for picture in drawn]
        assert any(below) == turned


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(CourseError, match="'much'; choose none, light, crops or"):
        augments.transforms("much", 32)
