"""Trainings that are what they say, and come out the same when they are interrupted."""

import gc
import random
import sys
import weakref
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from fastai.callback import fp16
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import params
from fasttransform import Transform
from sklearn.utils.class_weight import compute_class_weight
from tiny import CLASSES, RECIPE
from torch import nn

from helpers import callbacks, features, models, recipes, settings, trained, training
from helpers.callbacks import Keeper, Pictures, Seeded, read_state
from helpers.settings import CourseError

KINDS = {
    "a head that stops early": {
        "head_epochs": 8,
        "patience": 3,
        "plateau": True,
        "lr": 2.0,
        "drawn": 2,
        "augment": "light",
    },
    "a head that never gets better": {
        "head_epochs": 8,
        "patience": 3,
        "plateau": True,
        "lr": 1e-30,
    },
    "fastai's fine_tune": {
        "frozen_epochs": 2,
        "epochs": 2,
        "schedule": "fine_tune",
        "head": "fastai",
    },
    "head, then all in one cycle": {
        "head_epochs": 2,
        "epochs": 3,
        "schedule": "one_cycle",
        "augment": "strong",
        "small_epochs": 2,
        "imbalance": "adjusted",
    },
    "oversampled": {"epochs": 3, "imbalance": "oversampled", "augment": "crops"},
}


@pytest.fixture(autouse=True)
def small(folders, one_thread, monkeypatch):
    """The tiny network is known, and has one thread: two compete with other tests."""
    tiny.install(monkeypatch)


def full(name: str):
    return recipes.recipe(name, settings.load("full"))


def same(one, two) -> bool:
    """Do two models agree in every bit?"""
    one, two = one.state_dict(), two.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one | two)


def data(n: int = 48):
    return *tiny.discs(n), tiny.parts(n)


# Recipes


def test_recipes_a_to_d_are_their_sources():
    a, b, c, d = (asdict(full(name)) for name in "ABCD")
    plain = asdict(recipes.Recipe("", "resnet50"))
    assert a == plain | {
        "name": "A", "backbone": "mobilenet_v2", "head_epochs": 10, "lr": 1e-4,
        "batch": 32, "patience": a["patience"], "plateau": True, "drawn": a["drawn"],
        "classes": ("bkl", "mel", "nv"), "augment": "light", "schedule": "flat",
    }  # fmt: skip
    assert a["patience"] > 0 and a["epochs"] == a["frozen_epochs"] == 0
    assert b == plain | {
        "name": "B", "frozen_epochs": 1, "epochs": 5, "lr": 3e-3, "batch": 64,
        "schedule": "fine_tune", "head": "fastai",
    }  # fmt: skip
    flat = {"epochs": 10, "lr": 1e-4, "batch": 64, "schedule": "flat", "classes": ()}
    assert c == plain | flat | {"name": "C", "augment": "crops"}
    assert d == plain | flat | {"name": "D"}
    assert list(recipes.RECIPES) == list("ABCDE")


def test_quick_changes_the_backbone_and_what_it_says():
    known = {field.name for field in fields(recipes.Recipe)}
    assert set(recipes.QUICK) == set(recipes.RECIPES)
    for name, changes in recipes.QUICK.items():
        assert set(changes) <= known
        quick = recipes.recipe(name, settings.load("quick"))
        assert quick == replace(full(name), backbone="efficientnet_lite0", **changes)
        assert quick.epochs <= full(name).epochs and quick.size <= full(name).size


@pytest.mark.parametrize("profile", settings.PROFILES)
def test_an_unknown_recipe_is_refused_by_name(profile):
    with pytest.raises(CourseError, match=r"'F'.* A, B, C, D, E$"):
        recipes.recipe("F", settings.load(profile))


# What is run is what is said


def test_recipe_b_is_what_fastais_fine_tune_does(tmp_path):
    recipe = replace(RECIPE, frozen_epochs=1, epochs=2, lr=3e-3, head="fastai")
    recipe = replace(recipe, schedule="fine_tune")
    ours, _ = training.train(recipe, *data(), CLASSES, tmp_path, seed=3)

    class Counted(Seeded):
        def before_fit(self):
            self.phase += 1

    torch.manual_seed(3)
    model = models.build("tiny_net", CLASSES, 32, "fastai")
    learn = Learner(
        training.loaders(*data(), recipe, "cpu"),
        model.to(memory_format=torch.channels_last),
        CrossEntropyLossFlat(),
        splitter=lambda model: [params(model.trunk), params(model.head)],
        cbs=[Counted(3, 0), Pictures()],
    )
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(2, 3e-3)
    assert same(ours, model)


def test_flat_is_torchs_adam():
    x, y, parts = np.random.default_rng(0).normal(size=(48, 1, 7)), *data()[1:]
    x = x.astype(np.float32)
    recipe, model = replace(RECIPE, batch=24), nn.Linear(7, 3)
    twin = nn.Linear(7, 3)
    twin.load_state_dict(model.state_dict())
    learn = training.learner(
        training.loaders(x, y, parts, recipe, "cpu"), model, recipe, "cpu"
    )
    with learn.no_bar(), learn.no_logging():
        training.fit(learn, recipe, "head", 12)
    optimiser = torch.optim.Adam(twin.parameters(), lr=recipe.lr)
    mine = parts == "train"  # one batch: its order does not matter
    inputs, targets = torch.tensor(x[mine, 0]), torch.tensor(y[mine])
    for _ in range(12):
        optimiser.zero_grad()
        nn.functional.cross_entropy(twin(inputs), targets).backward()
        optimiser.step()
    assert torch.allclose(model.weight, twin.weight, atol=1e-5)
    assert not torch.allclose(model.weight, twin.weight + recipe.lr, atol=1e-3)


def test_training_the_head_leaves_the_trunk_bit_for_bit(tmp_path):
    model, _ = tiny.train(tmp_path, head_epochs=3, drawn=2, augment="light")
    torch.manual_seed(0)
    fresh = models.build("tiny_net", CLASSES, 32)
    assert same(model.trunk, fresh.trunk) and not same(model.head, fresh.head)
    assert not model.training


def test_a_frozen_trunk_moves_only_in_its_batch_norm(tmp_path):
    model, _ = tiny.train(tmp_path, frozen_epochs=2, schedule="fine_tune")
    torch.manual_seed(0)
    fresh = models.build("tiny_net", CLASSES, 32).trunk.state_dict()
    moved = {k for k, v in model.trunk.state_dict().items() if not v.equal(fresh[k])}
    layers = dict(model.trunk.named_modules())
    assert moved and all(
        isinstance(layers[name.rpartition(".")[0]], nn.BatchNorm2d) for name in moved
    )


def test_a_training_learns(tmp_path):
    _, history = tiny.train(tmp_path, epochs=8, lr=0.02)
    assert history.score.iloc[-1] > 0.5 and history.valid_loss.iloc[-1] < 0.9
    assert list(history.epoch) == list(range(1, 9)) and history.lr.eq(0.02).all()


def test_early_epochs_see_smaller_pictures(tmp_path, monkeypatch):
    seen, forward = [], models.Classifier.forward

    def look(self, x):
        seen.append((self.training, x.shape[-1], x.is_contiguous()))
        return forward(self, x)

    monkeypatch.setattr(models.Classifier, "forward", look)
    tiny.train(tmp_path, epochs=3, small_epochs=2)
    sizes = [size for training, size, _ in seen if training]
    assert sizes == [24] * 6 + [32] * 3  # three batches an epoch
    assert {size for training, size, _ in seen if not training} == {32}
    assert not any(contiguous for *_, contiguous in seen)  # but channels last


@pytest.mark.parametrize("augment", ["light", "crops", "strong"])
def test_training_pictures_are_drawn_and_calibration_pictures_are_not(
    monkeypatch, augment
):
    x, y, parts = data()
    recipe = replace(RECIPE, augment=augment)
    loaders = training.loaders(x, y, parts, recipe, "cpu")
    ran, call = set(), Transform._do_call

    def spy(self, *args, **kwargs):  # what is left out by fastai comes not this far
        ran.add(type(self).__name__)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(Transform, "_do_call", spy)
    random.seed(0)
    for _ in range(10):
        list(loaders.train)
    assert ran == {type(transform).__name__ for transform in loaders.train.after_batch}
    held = torch.cat([batch for batch, _ in loaders.valid]).as_subclass(torch.Tensor)
    assert torch.equal(held, models.tensor(x[parts == "calibration"]))


def test_features_are_drawn_in_training_and_plain_in_calibration():
    x = np.arange(48 * 5).reshape(48, 5, 1).astype(np.float32)
    loaders = training.loaders(x, *data()[1:], RECIPE, "cpu")
    np.random.seed(0)
    drawn = torch.cat([b for _ in range(20) for b, _ in loaders.train]).long() % 5
    assert set(drawn.flatten().tolist()) == set(range(5))
    held = torch.cat([batch for batch, _ in loaders.valid]).long() % 5
    assert (held == 0).all()


@pytest.mark.parametrize("n, batch", [(48, 8), (25, 4), (40, 16), (12, 8)])
@pytest.mark.parametrize("imbalance", ["none", "oversampled"])
def test_two_processes_have_a_half_each(monkeypatch, n, batch, imbalance):
    monkeypatch.setenv("WORLD_SIZE", "2")
    x = np.arange(n).reshape(n, 1, 1).astype(np.float32)
    recipe, (_, y, parts) = replace(RECIPE, batch=batch, imbalance=imbalance), data(n)
    seen = {"train": [], "calibration": []}
    for rank in range(2):
        loaders = training.loaders(x, y, parts, recipe, "cpu")
        loaders.train.rng = random.Random(0)  # as Seeded does it
        np.random.seed(0)
        for part, loader in zip(seen, loaders, strict=True):
            shared = training.Shared(loader, rank, world_size=2, device="cpu")
            batches = [batch.flatten().tolist() for batch, _ in shared]
            assert len(batches) == len(shared) > 0
            assert part != "train" or len(set(map(len, batches))) == 1  # whole ones
            seen[part].append(np.concatenate(batches).astype(int))
    (one, two), train = seen["train"], np.flatnonzero(parts == "train")
    size = min(batch, len(train) // 2)
    assert len(one) == len(two) == (len(train) + 1) // 2 // size * size
    assert {*one, *two} <= {*train}
    if imbalance == "none" and n != 25:  # 25: one picture is there twice
        assert not {*one} & {*two}
    assert {*np.concatenate(seen["calibration"])} == {
        *np.flatnonzero(parts == "calibration")
    }


# Interrupted, and run again


def resumed(folder, when: str, **changes):
    """Trains with an interruption in every epoch; how many runs it took comes last."""
    keep, write = Keeper._keep, Keeper._write
    for runs in range(1, 30):
        done = []

        def keeping(self, done=done):
            if when == "before an epoch is kept" and done:
                raise KeyboardInterrupt
            keep(self)
            done.append(1)
            if when == "after an epoch is kept":
                raise KeyboardInterrupt

        def writing(self, done=done):
            if when == "between its files" and done:
                raise KeyboardInterrupt
            write(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Keeper, "_keep", keeping)
            patch.setattr(Keeper, "_write", writing)
            try:
                return *tiny.train(folder, **changes), runs
            except CourseError as error:
                assert "interrupted; the next run goes on" in str(error)
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    "when",
    ["before an epoch is kept", "between its files", "after an epoch is kept"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_comes_out_the_same(tmp_path, kind, when):
    straight = tiny.train(tmp_path / "straight", **KINDS[kind])
    *broken, runs = resumed(tmp_path / "broken", when, **KINDS[kind])
    assert runs >= len(straight[1])
    pd.testing.assert_frame_equal(straight[1], broken[1], check_exact=True)
    assert same(straight[0], broken[0])


def test_a_training_breaks_off_in_a_batch_and_goes_on(tmp_path, monkeypatch):
    straight, history = tiny.train(tmp_path / "one", epochs=3, augment="light")
    step = Learner._step
    steps = iter(range(100))

    def stop(self):
        if next(steps) == 4:  # the second batch of the second epoch
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Learner, "_step", stop)
    with pytest.raises(CourseError, match="recipe tiny: interrupted; the next run"):
        tiny.train(tmp_path / "two", epochs=3, augment="light")
    assert read_state(tmp_path / "two")["epoch"] == 0
    again, same_history = tiny.train(tmp_path / "two", epochs=3, augment="light")
    assert same(straight, again) and history.equals(same_history)


def test_the_optimiser_goes_on_where_the_model_is(tmp_path, monkeypatch):
    """fastai would leave its state on the CPU, and the next step on a GPU would fail."""
    keep, load, devices = Keeper._keep, callbacks.load_model, []

    def stop(self):
        keep(self)
        raise KeyboardInterrupt

    def spy(*args, device=None, **how):
        devices.append(device)
        load(*args, device=device, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "_keep", stop)
        with pytest.raises(CourseError):
            tiny.train(tmp_path, epochs=2)
    monkeypatch.setattr(callbacks, "load_model", spy)
    tiny.train(tmp_path, epochs=2)
    assert devices == [torch.device("cpu")]


def test_the_seed_decides(tmp_path):
    how = KINDS["head, then all in one cycle"]
    one, twin, other = (
        tiny.train(tmp_path / f"{i}", seed=seed, **how) for i, seed in enumerate("001")
    )
    assert same(one[0], twin[0]) and one[1].equals(twin[1])
    assert not same(one[0], other[0]) and not one[1].equals(other[1])


def test_each_epoch_and_process_draws_anew(tmp_path, monkeypatch):
    def drawn(epoch, rank=0, phase=1, seed=0):
        monkeypatch.setenv("RANK", str(rank))
        loaders = training.loaders(*data(), RECIPE, "cpu")
        seeded = Seeded(seed, phase)
        seeded.learn = SimpleNamespace(dls=loaders, epoch=epoch)
        seeded.before_epoch()
        return loaders.train.get_idxs(), torch.rand(3).tolist(), np.random.random()

    first = drawn(0)
    assert first == drawn(0)
    for other in (drawn(1), drawn(0, phase=2), drawn(0, seed=1)):
        assert all(a != b for a, b in zip(first, other, strict=True))
    (order, pictures, lot), (o, p, t) = first, drawn(0, rank=1)
    assert order == o and lot == t and pictures != p


# The best epoch, and what stops a training


def test_no_progress_lowers_the_rate_then_stops_and_keeps_the_first(tmp_path):
    _, history = tiny.train(tmp_path, **KINDS["a head that never gets better"])
    assert list(history.kept) == [True, False, False, False]
    assert np.allclose(history.lr, [1e-30, 1e-30, 1e-30, 1e-31], rtol=1e-6, atol=0)


class Staged(nn.Module):
    """A loss that in calibration is what was planned, an epoch after the other."""

    def __init__(self, planned):
        super().__init__()
        self.planned = iter(np.repeat(planned, 2))  # two batches of calibration

    def forward(self, logits, targets):
        loss = nn.functional.cross_entropy(logits, targets.long())
        return loss if torch.is_grad_enabled() else loss * 0 + next(self.planned)


def test_the_best_epoch_is_brought_back_whatever_came_later(tmp_path, monkeypatch):
    how = {"head_epochs": 4, "lr": 0.1}
    second, _ = tiny.train(tmp_path / "two epochs", **how | {"head_epochs": 2})
    fourth, history = tiny.train(tmp_path / "no patience", **how)
    assert list(history.kept) == [False, False, False, True]
    monkeypatch.setattr(training, "loss", lambda *_: Staged([3, 1, 1, 2]))
    best, history = tiny.train(tmp_path / "best", **how, patience=4)
    assert list(history.valid_loss) == [3, 1, 1, 2]
    assert list(history.kept) == [False, True, False, False]
    assert same(best, second) and not same(best, fourth)


def test_the_kept_loss_is_the_models(tmp_path):
    x, y, parts = data()
    model, history = tiny.train(tmp_path, head_epochs=8, patience=8, lr=2.0)
    assert history.kept.sum() == 1
    held = parts == "calibration"
    logits = torch.tensor(models.logits(model, x[held]))
    now = nn.functional.cross_entropy(logits, torch.tensor(y[held])).item()
    assert now == pytest.approx(history.valid_loss.min(), abs=1e-5)
    assert history.valid_loss[history.kept].item() == history.valid_loss.min()


class Poisoned(nn.Module):
    """A loss that is not a number at its `when`-th call."""

    def __init__(self, when):
        super().__init__()
        self.left = when

    def forward(self, logits, targets):
        self.left -= 1
        loss = nn.functional.cross_entropy(logits, targets.long())
        return loss * float("nan") if self.left == 0 else loss


@pytest.mark.parametrize(  # three batches of training, two of calibration
    "when, where",
    [(7, "epoch 2, batch 2 of 3"), (9, "epoch 2, calibration batch 1 of 2")],
)
def test_a_loss_that_is_no_number_stops_and_the_good_epoch_stays(
    tmp_path, monkeypatch, when, where
):
    straight, history = tiny.train(tmp_path / "one", epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(training, "loss", lambda *_: Poisoned(when))
        with pytest.raises(CourseError) as stopped:
            tiny.train(tmp_path / "two", epochs=3)
    told = str(stopped.value)
    assert told.startswith("recipe tiny: the loss is nan") and where in told
    assert "lower lr" in told and "\n" not in told
    (kept,) = (tmp_path / "two").glob("*.pth")
    assert read_state(tmp_path / "two")["epoch"] == 0
    for value in torch.load(kept, weights_only=False)["model"].values():
        assert torch.isfinite(value).all()
    again, twin = tiny.train(tmp_path / "two", epochs=3)
    assert same(straight, again) and history.equals(twin)


def test_a_rate_that_is_too_high_is_told_in_one_line(tmp_path):
    with pytest.raises(CourseError, match=r"^recipe tiny: the loss is .*1e\+30"):
        tiny.train(tmp_path, epochs=3, lr=1e30)


ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"
)
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(ALLOCATOR),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    MemoryError(),
]


def failing(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize("error", FULL, ids=lambda e: type(e).__name__ + str(e)[:5])
@pytest.mark.parametrize("phase", ["epochs", "head_epochs"])
def test_out_of_memory_names_what_to_lower(tmp_path, monkeypatch, error, phase):
    monkeypatch.setattr(models.Classifier, "map", failing(error))
    with pytest.raises(CourseError) as stopped:
        tiny.train(tmp_path, **{phase: 1})
    told = str(stopped.value)
    assert "out of memory on cpu" in told and "\n" not in told
    assert "batch (now 8)" in told and "size (now 32)" in told


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("required rank 4 tensor to use channels_last memory format"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_pass_unchanged(tmp_path, monkeypatch, error):
    monkeypatch.setattr(models.Classifier, "map", failing(error))
    with pytest.raises(type(error)) as stopped:
        tiny.train(tmp_path, epochs=1)
    assert stopped.value is error


def test_after_out_of_memory_the_memory_is_free(tmp_path, monkeypatch):
    held, forward = [], models.Classifier.forward

    def fail(self, x):
        made = forward(self, x)
        held.append(weakref.ref(made))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(models.Classifier, "forward", fail)
    with pytest.raises(CourseError) as stopped:
        tiny.train(tmp_path, epochs=1)
    gc.collect()
    assert held and stopped.value and all(tensor() is None for tensor in held)


# Half precision


@pytest.mark.parametrize("capability, mode", [((7, 5), "fp16"), ((8, 0), "bf16")])
def test_half_precision_is_what_the_hardware_has(monkeypatch, capability, mode):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loaders = training.loaders(*data(), RECIPE, "cpu")
    model = models.build("tiny_net", CLASSES, 32)
    for device in ("cpu", "mps"):
        learn = training.learner(loaders, model, RECIPE, device="cpu")
        assert not hasattr(training.precision(learn, device), "mixed_precision")
    learn = training.precision(learn, "cuda")
    assert learn.mixed_precision.amp_mode.value == mode


@pytest.fixture
def half(monkeypatch):
    """fastai's fp16 as on a T4, but on the CPU."""

    class Scaler(torch.amp.GradScaler):
        def __init__(self, _, **kwargs):
            super().__init__("cpu", growth_interval=4, **kwargs)

    def autocast(_, dtype):
        return torch.autocast("cpu", dtype=torch.bfloat16)

    monkeypatch.setattr(fp16, "autocast", autocast)
    monkeypatch.setattr(fp16, "GradScaler", Scaler)
    monkeypatch.setattr(training, "precision", lambda learn, _: learn.to_fp16())


@pytest.mark.usefixtures("half")
def test_an_interrupted_training_in_half_precision_comes_out_the_same(tmp_path):
    straight = tiny.train(tmp_path / "one", epochs=4)
    scale = read_state(tmp_path / "one")["scaler"]["scale"]
    assert scale != torch.amp.GradScaler("cpu").get_scale()  # it moves
    *broken, _ = resumed(tmp_path / "two", "after an epoch is kept", epochs=4)
    assert read_state(tmp_path / "two")["scaler"]["scale"] == scale
    assert same(straight[0], broken[0]) and straight[1].equals(broken[1])


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("what", ["an interruption", "a loss that is no number"])
def test_a_broken_batch_leaves_no_half_precision_behind(tmp_path, monkeypatch, what):
    if what == "an interruption":
        monkeypatch.setattr(models.Classifier, "map", failing(KeyboardInterrupt()))
    else:
        monkeypatch.setattr(training, "loss", lambda *_: Poisoned(2))
    with pytest.raises(CourseError):
        tiny.train(tmp_path, epochs=1)
    assert not torch.is_autocast_enabled("cpu")
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    assert depth == 1


# Data at its limits


@pytest.mark.parametrize(
    "change, said",
    [
        ({"y": "no nv in train"}, "'nv' has no training picture"),
        ({"classes": ["bkl"]}, r"one class \(bkl\)"),
        ({"y": "one class in calibration"}, "calibration part has 1 class"),
        ({"parts": "no calibration"}, "calibration part has 0 class"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_it_starts(tmp_path, change, said):
    x, y, parts = data()
    classes = change.get("classes", CLASSES)
    if change.get("y") == "no nv in train":
        y = np.where(parts == "train", y % 2, y)
    elif change.get("y") == "one class in calibration":
        y = np.where(parts == "calibration", 0, y)
    elif "parts" in change:
        parts = np.where(parts == "calibration", "test", parts)
    y = y % len(classes)
    with pytest.raises(CourseError, match=said) as refused:
        training.train(replace(RECIPE, epochs=1), x, y, parts, classes, tmp_path)
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())


def test_a_recipe_without_epochs_is_refused(tmp_path):
    with pytest.raises(CourseError, match="tiny has no epochs"):
        tiny.train(tmp_path)


@pytest.mark.parametrize("n", [12, 25])
def test_small_data_is_learnt_from(tmp_path, n):
    """12: fewer training pictures than a batch; 25: one is left over, alone."""
    train = (tiny.parts(n) == "train").sum()
    assert train < 8 or train % 12 == 1
    how = {"head": "fastai", "frozen_epochs": 1, "epochs": 1, "schedule": "fine_tune"}
    model, history = tiny.train(tmp_path, n=n, batch=12 if n == 25 else 8, **how)
    assert np.isfinite(history[["train_loss", "valid_loss", "score"]]).all(axis=None)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_a_batch_may_be_all_of_one_class(tmp_path):
    x, y, parts = data()
    mine = np.flatnonzero(parts == "train")
    y[mine], y[mine[:2]] = 0, (1, 2)  # of 24 only two are of another class
    recipe = replace(RECIPE, epochs=2, imbalance="weighted", batch=4)
    _, history = training.train(recipe, x, y, parts, CLASSES, tmp_path)
    assert np.isfinite(history.train_loss).all()


# Losses

COUNTS = np.array([5, 20, 75])


def some_logits(n: int = 40, seed: int = 0):
    rng = np.random.default_rng(seed)
    return (
        torch.tensor(rng.normal(size=(n, 3)) * 3, dtype=torch.float32),
        torch.tensor(rng.choice(3, n, p=COUNTS / 100)),
    )


def loss_of(imbalance: str):
    return training.loss(replace(RECIPE, imbalance=imbalance), COUNTS, "cpu")


def test_no_imbalance_is_torchs_cross_entropy():
    logits, y = some_logits()
    plain = nn.functional.cross_entropy(logits, y)
    for imbalance in ("none", "oversampled"):
        assert torch.allclose(loss_of(imbalance)(logits, y), plain)


def test_weighted_is_torchs_with_the_weights_that_scikit_learn_calls_balanced():
    logits, y = some_logits()
    every = np.repeat([0, 1, 2], COUNTS)
    weight = compute_class_weight("balanced", classes=np.arange(3), y=every)
    expected = nn.CrossEntropyLoss(torch.tensor(weight, dtype=torch.float32))
    assert torch.allclose(loss_of("weighted")(logits, y), expected(logits, y))


def test_focal_is_cross_entropy_that_cares_less_for_what_is_sure():
    logits, y = some_logits()
    ce = nn.functional.cross_entropy(logits, y, reduction="none")
    focal = loss_of("focal")
    assert torch.allclose(focal(logits, y), ((1 - (-ce).exp()) ** 2 * ce).mean())
    focal.func.gamma = 0.0
    assert torch.allclose(focal(logits, y), ce.mean())


def test_adjusted_is_cross_entropy_of_logits_plus_log_share():
    logits, y = some_logits()
    expected = nn.functional.cross_entropy(logits + torch.tensor(COUNTS / 100).log(), y)
    assert torch.allclose(loss_of("adjusted")(logits, y).double(), expected)


def test_oversampled_draws_every_class_about_alike():
    y = np.repeat([0, 1, 2], COUNTS)
    x, parts = np.zeros((100, 1, 1), np.float32), np.full(100, "train")
    x[:, 0, 0] = y
    parts[[0, 5, 25]] = "calib"  # a string of five: such rows are in neither part
    recipe = replace(RECIPE, imbalance="oversampled")
    loaders = training.loaders(x, y, parts, recipe, "cpu")
    np.random.seed(0)
    drawn = np.concatenate([loaders.train.get_idxs() for _ in range(100)])
    counts = np.bincount(loaders.train.dataset.y[loaders.train.dataset.rows[drawn]])
    n = counts.sum()
    assert n == 9700
    assert (np.abs(counts - n / 3) < 5 * np.sqrt(n * 2 / 9)).all()  # five sigma
    plain = training.loaders(x, y, parts, RECIPE, "cpu")
    assert sorted(plain.train.get_idxs()) == list(range(97))


def test_shift_turns_the_logits_of_reweighted_recipes_to_the_datas_shares():
    y = np.repeat([0, 1, 2], COUNTS)
    for imbalance in ("weighted", "oversampled", "adjusted"):
        shift = trained.shift_of(replace(RECIPE, imbalance=imbalance), y, 3)
        assert np.allclose(torch.softmax(torch.tensor(shift), 0), COUNTS / 100)
    for imbalance in ("none", "focal"):
        shift = trained.shift_of(replace(RECIPE, imbalance=imbalance), y, 3)
        assert shift.shape == (3,) and not shift.any()


@pytest.mark.parametrize("imbalance", ["none", "weighted", "adjusted"])
def test_with_its_shift_a_constant_answer_is_the_class_shares(imbalance):
    """Logits that see nothing, fitted by the loss of a recipe, are the shares or alike."""
    y = torch.tensor(np.repeat([0, 1, 2], COUNTS))
    logits = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9)
    loss = loss_of(imbalance)

    def closure():
        optimiser.zero_grad()
        value = loss(logits.expand(100, 3), y)
        value.backward()
        return value

    optimiser.step(closure)
    shift = trained.shift_of(replace(RECIPE, imbalance=imbalance), y.numpy(), 3)
    shares = torch.softmax(logits.detach() + torch.tensor(shift), 0)
    assert np.allclose(shares, COUNTS / 100, atol=1e-3)


# What is seen of it


def learner_of_a_head():
    x = np.random.default_rng(0).normal(size=(48, 1, 7)).astype(np.float32)
    loaders = training.loaders(x, *data()[1:], RECIPE, "cpu")
    return training.learner(loaders, nn.Linear(7, 3), RECIPE, "cpu")


@pytest.mark.parametrize("watched", [True, False])
def test_watching_changes_what_is_seen_and_only_for_a_while(monkeypatch, watched):
    monkeypatch.setattr(settings, "watched", lambda: watched)
    learn = learner_of_a_head()
    logger, out = learn.logger, sys.stdout
    with training.watching(learn):  # a notebook's bar is no print
        assert hasattr(learn, "progress") == watched
        assert (learn.logger is logger) == (sys.stdout is out) == watched
    assert hasattr(learn, "progress") and learn.logger is logger and sys.stdout is out


def test_the_finder_of_rates_leaves_nothing_where_we_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = learner_of_a_head()
    with training.watching(learn):
        found = learn.lr_find(show_plot=False).valley
    assert 1e-7 < found < 10
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["a head that never gets better", "oversampled"])
def test_nobody_watching_nothing_is_printed(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.setattr(settings, "watched", lambda: False)
    tiny.train(tmp_path, **KINDS[kind])
    assert capsys.readouterr() == ("", "")


def test_who_watches_sees_a_line_an_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(settings, "watched", lambda: True)
    how = KINDS["a head that never gets better"]
    tiny.train(tmp_path / "one", **how)
    out = capsys.readouterr().out
    assert "valid_loss" in out and "early stopping" in out
    assert rows(out) == ["0", "1", "2", "3"]
    resumed(tmp_path / "two", "after an epoch is kept", **how)
    *_, last = capsys.readouterr().out.split("epoch ")
    assert rows(last) == ["0", "1", "2", "3"]
    assert [line.split()[1:4] for line in table(last)] == [
        line.split()[1:4] for line in table(out)
    ]


def table(out: str) -> list[str]:
    """The lines of fastai's table: an epoch, three numbers, a time."""
    return [line for line in out.splitlines() if len(line.split()) == 5][-4:]


def rows(out: str) -> list[str]:
    return [line.split()[0] for line in table(out)]


def test_features_of_a_run_before_serve_the_next(tmp_path, monkeypatch):
    first, _ = tiny.train(tmp_path / "one", head_epochs=2)
    monkeypatch.setattr(models, "each", failing(AssertionError("the trunk ran again")))
    again, _ = tiny.train(tmp_path / "two", head_epochs=2)
    assert same(first, again)
    assert features.of(first, tiny.discs()[0]).shape == (48, 1, 16)
