"""Trained models on disk: what is saved comes back, what does not fit is refused."""

import json
import math
import os
from dataclasses import asdict
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from errors import refused
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from helpers import models, recipes, saved, weights
from helpers.settings import CourseError

ABC = ["nv", "mel", "bkl"]
SMALL = "mobilenet_v2"


@pytest.fixture(autouse=True)
def alone(folders, one_thread, monkeypatch):
    """No weights of this machine: loading a model must not look for any."""
    monkeypatch.delenv("XAI_DERM_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "imagenet", lambda *_: 1 / 0)


def built(backbone: str = SMALL, head: str = "linear") -> models.Classifier:
    """A network that has seen a batch: batch norm's statistics are its own."""
    torch.manual_seed(0)
    model = models.build(backbone, ABC, 64, head, start="random")
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 64, 64))
    return model


@pytest.fixture(scope="module")
def small():
    return built()


@pytest.fixture
def folder(small, tmp_path):
    """The folder of a saved model, for a test to spoil."""
    saved.save(small, tmp_path / "model")
    return tmp_path / "model"


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


# There and back


@pytest.mark.parametrize(
    ("backbone", "head"),
    [(name, "linear") for name in models.BACKBONES] + [("resnet50", "fastai")],
)
def test_a_model_comes_back_bit_by_bit(backbone, head, tmp_path):
    model = built(backbone, head)
    before = models.logits(model, pixels())
    page = saved.save(model, tmp_path / "new/model", seed=3)
    again, told = saved.load(tmp_path / "new/model")
    assert not any(m.training for m in again.modules())
    after = models.logits(again, pixels())
    assert np.array_equal(before, after) and before.std() > 0
    assert told == page and told["seed"] == 3
    assert (told["backbone"], told["head"], told["size"]) == (backbone, head, 64)
    assert told["classes"] == ABC and again.classes == tuple(ABC)
    assert (again.backbone, again.kind, again.size) == (backbone, head, 64)
    written = {path.name for path in (tmp_path / "new/model").iterdir()}
    assert written == {"model.json", "weights.safetensors"}


def test_a_model_in_channels_last_and_half_frozen_comes_back_too(tmp_path):
    model = built().to(memory_format=torch.channels_last)
    model.trunk.requires_grad_(False)
    saved.save(model, tmp_path)
    again, _ = saved.load(str(tmp_path))
    before, after = (models.logits(m, pixels()) for m in (model, again))
    assert np.allclose(before, after, rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in again.parameters())


def test_saving_changes_nothing_and_twice_is_the_same(small, tmp_path):
    modes = [m.training for m in small.modules()]
    state = {name: value.clone() for name, value in small.state_dict().items()}
    one, two = (saved.save(small, tmp_path / name) for name in "ab")
    assert one == two and modes == [m.training for m in small.modules()]
    assert all(torch.equal(v, state[name]) for name, v in small.state_dict().items())
    for name in (saved.WEIGHTS, saved.PAGE):
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()


THREE = st.tuples(*[st.floats(-4, 4, width=32)] * 3)


@given(THREE, st.tuples(*[st.floats(2**-10, 4, width=32)] * 3))
@hypothesis_settings(max_examples=50, deadline=None)
def test_mean_and_std_are_told_to_the_last_bit(mean, std):
    for values in (mean, std):
        told = saved._shortest(torch.tensor(values).view(3, 1, 1))
        assert torch.equal(torch.tensor(told), torch.tensor(values))


def test_a_normalisation_of_its_own_comes_back(tmp_path):
    model = built()
    model.normalise((0.12345678, 1 / 3, 0), (0.1, 2, math.pi))
    saved.save(model, tmp_path)
    again, page = saved.load(tmp_path)
    assert torch.equal(again.mean, model.mean) and torch.equal(again.std, model.std)
    assert page["std"] == [0.1, 2.0, 3.1415927]  # as one reads float32


def test_the_page_names_the_weights(folder):
    page = saved.read_page(folder)
    assert page["sha256"] == weights.digest(folder / saved.WEIGHTS)
    state = weights.read(folder / saved.WEIGHTS)
    assert not {"mean", "std"} & state.keys()


# What is told about a model


def strict(path: Path) -> dict:
    """JSON as everyone else reads it: NaN and Infinity are errors."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


TOLD = {
    "recipe": (asdict(recipes.RECIPES["A"]), None),
    "float": (np.float32(0.5), 0.5),
    "int": (np.int64(7), 7),
    "true": (np.bool_(True), True),
    "word": (np.str_("nävus"), "nävus"),
    "array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "scalar": (np.array(2.5), 2.5),
    "tensor": (torch.tensor([1.5, 2]), [1.5, 2.0]),
    "tuple": ((1, (np.int8(2), "c")), [1, [2, "c"]]),
    "nothing": (None, None),
    "nan": (float("nan"), None),
    "numpy_nan": (np.float64("nan"), None),
    "infinite": ([np.inf, -np.inf, 1.0], [None, None, 1.0]),
    "nan_array": (np.array([0.5, np.nan]), [0.5, None]),
    "missing": ([pd.NA, pd.NaT], [None, None]),
    "path": (Path("a/b"), "a/b"),
    "keys": ({np.int64(1): np.array([np.nan]), "b": {}}, {"1": [None], "b": {}}),
    "column": (pd.Series([1.0, None]), [1.0, None]),
}


def test_what_is_told_becomes_plain_json(small, tmp_path):
    given = {name: value for name, (value, _) in TOLD.items()}
    page = saved.save(small, tmp_path, **given)
    for name, (value, expected) in TOLD.items():
        if name == "recipe":
            expected = value | {"classes": list(value["classes"])}
        assert page[name] == expected, name
        assert type(page[name]) is type(expected), name
    assert page == saved.load(tmp_path)[1] == strict(tmp_path / saved.PAGE)


def test_a_table_of_scores_comes_back_with_null_for_what_is_unknown(small, tmp_path):
    table = pd.DataFrame(
        {"score": [0.5, np.nan], "n": [10, 0]}, index=["recall", "precision"]
    )
    page = saved.save(small, tmp_path, scores=table.to_dict("index"))
    assert page["scores"] == {
        "recall": {"score": 0.5, "n": 10},
        "precision": {"score": None, "n": 0},
    }
    assert "NaN" not in (tmp_path / saved.PAGE).read_text()


@pytest.mark.parametrize("name", ["classes", "sha256", "mean", "backbone"])
def test_what_the_model_says_itself_cannot_be_told(small, tmp_path, name):
    refused(lambda: saved.save(small, tmp_path / "m", **{name: ["x"]}), repr(name))
    assert not (tmp_path / "m").exists()


# Written whole or not at all


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def full(part, *_, **__):
    with open(part, "wb") as file:
        file.write(b"half")
    raise OSError(ENOSPC, os.strerror(ENOSPC))


class Unprintable:
    def __str__(self):
        raise RuntimeError("not to be written")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("fault", ["write_bytes", "write_text", "told"])
def test_a_failing_write_leaves_what_was_there(there, fault, tmp_path, monkeypatch):
    folder, model, told = tmp_path / "model", built(), {}
    if there:
        saved.save(built(), folder)
        with torch.no_grad():
            model.head.linear.weight.zero_()
    before = files(tmp_path)
    if fault == "told":
        told, error = {"bad": Unprintable()}, RuntimeError
    else:
        monkeypatch.setattr(Path, fault, full)
        error = CourseError
    with pytest.raises(error):
        saved.save(model, folder, **told)
    assert files(tmp_path) == before
    if there:
        saved.load(folder)


def test_a_break_between_the_two_files_is_noticed(small, tmp_path, monkeypatch):
    """New weights beside the old page are never loaded."""
    saved.save(small, tmp_path)
    other = built()
    with torch.no_grad():
        other.head.linear.weight.zero_()
    replace = os.replace

    def broken(source, target):
        if Path(target).name == saved.PAGE:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        saved.save(other, tmp_path)
    refused(lambda: saved.load(tmp_path), "checksum")


def test_saving_again_replaces_the_old_model(small, tmp_path):
    saved.save(built("efficientnet_lite0"), tmp_path)
    saved.save(small, tmp_path, round=2)
    model, page = saved.load(tmp_path)
    assert (model.backbone, page["round"]) == (SMALL, 2)


# What does not fit


def spoil(folder: Path, drop: str = "", **fields) -> None:
    """Another model.json: with other fields, or without one."""
    path = folder / saved.PAGE
    page = json.loads(path.read_text()) | fields
    page.pop(drop, None)
    path.write_text(json.dumps(page))


def test_a_folder_without_a_model_is_refused(tmp_path, folder):
    for place in (tmp_path, tmp_path / "nowhere"):
        told = (place, "no model.json", "python -m helpers.trained")
        refused(lambda p=place: saved.load(p), *told)
    refused(lambda: saved.load(folder / saved.PAGE), folder, "not readable")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not json", b"\xff\xfe", b"[" * 100_000, b'{"a": 1,}'],
    ids=["empty", "open", "words", "bytes", "deep", "comma"],
)
def test_a_page_that_is_no_json_is_refused(folder, content):
    (folder / saved.PAGE).write_bytes(content)
    told = (folder / saved.PAGE, "not readable as JSON", "save the model again")
    refused(lambda: saved.load(folder), *told)


@pytest.mark.parametrize("content", ["[]", "5", '"backbone"', "null", "{}"])
def test_a_page_that_is_no_table_is_refused(folder, content):
    (folder / saved.PAGE).write_text(content)
    refused(lambda: saved.load(folder), folder / saved.PAGE, "backbone", "again")


@pytest.mark.parametrize("name", saved.NEEDED)
def test_a_page_that_lacks_a_field_is_refused(folder, name):
    spoil(folder, drop=name)
    told = (folder / saved.PAGE, "does not say", repr(name), "save the model again")
    refused(lambda: saved.load(folder), *told)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"backbone": "vgg"}, ("'vgg'", *models.BACKBONES)),
        ({"backbone": ["resnet50"]}, ("'backbone'",)),
        ({"head": "mlp"}, ("'mlp'", "linear", "fastai")),
        ({"head": None}, ("'head'",)),
        ({"classes": "nv"}, ("'classes'",)),
        ({"classes": []}, ("once",)),
        ({"classes": ["nv", "nv", "mel"]}, ("once",)),
        ({"classes": [["nv"], ["mel"], ["bkl"]]}, ("words",)),
        ({"size": "64"}, ("'size'",)),
        ({"mean": [0.5, 0.5]}, ("three numbers",)),
        ({"mean": 0.5}, ("'mean'",)),
        ({"std": [0.5, 0, 0.5]}, ("std above 0",)),
        ({"std": [0.5, None, 0.5]}, ("three numbers",)),
        ({"sha256": 5}, ("'sha256'",)),
    ],
    ids=str,
)
def test_a_page_that_says_what_cannot_be_is_refused(folder, fields, told):
    spoil(folder, **fields)
    refused(lambda: saved.load(folder), folder / saved.PAGE, *told)


@pytest.mark.parametrize(
    "fields",
    [
        {"classes": ABC[:2]},
        {"classes": [*ABC, "df"]},
        {"backbone": "efficientnet_b0"},
        {"head": "fastai"},
    ],
    ids=str,
)
def test_weights_that_do_not_fit_the_page_are_refused(folder, fields):
    spoil(folder, **fields)
    refused(lambda: saved.load(folder), folder / saved.WEIGHTS, "another network")


def test_the_weights_of_another_training_are_refused(folder, small):
    other = {k: v.detach().clone() for k, v in small.state_dict().items()}
    other["head.linear.bias"] += 1e-6
    weights.write(other, folder / saved.WEIGHTS)
    told = (folder / saved.WEIGHTS, "checksum", "model.json", "same training")
    refused(lambda: saved.load(folder), *told)


def test_weights_that_are_missing_or_damaged_are_refused(folder):
    path = folder / saved.WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(lambda: saved.load(folder), path, "truncated")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(lambda: saved.load(folder), path, "checksum")
    path.unlink()
    refused(lambda: saved.load(folder), path, "no such file", "train")


class Program:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def test_a_program_in_place_of_weights_is_not_run(folder, tmp_path):
    marker, path = tmp_path / "marker", folder / saved.WEIGHTS
    torch.save({"head.linear.bias": Program(marker)}, path)
    spoil(folder, sha256=weights.digest(path))
    refused(lambda: saved.load(folder), path, "pickle", "refused")
    assert not marker.exists()


# Keys of caches


def test_a_key_is_short_and_the_same_tomorrow():
    assert saved.key("a", 1, np.arange(3, dtype=np.int16)) == "c7a45e0652a1ef71"


ANY = arrays.arrays(
    st.sampled_from(["uint8", "int64", "float32", "bool", "U3"]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(ANY)
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_key_knows_values_not_memory_layout(array):
    key = saved.key(array)
    wide = np.zeros((2, *array.shape), array.dtype)
    wide[:] = array
    assert saved.key(wide[1, ...]) == key
    if array.ndim:
        assert saved.key(np.asfortranarray(array)) == key
        assert saved.key(array[::-1][::-1]) == key
        assert saved.key(np.repeat(array, 2, axis=-1)[..., ::2]) == key
    frozen = array.copy()
    frozen.flags.writeable = False
    assert saved.key(frozen) == key
    if array.dtype.kind != "U":
        tensor = torch.from_numpy(array.copy())
        assert saved.key(tensor) == key
        assert saved.key(tensor.clone().requires_grad_(array.dtype.kind == "f")) == key


@given(ANY, st.data())
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_key_changes_with_one_value_shape_or_type(array, data):
    key = saved.key(array)
    assert saved.key(array[None]) != key
    assert saved.key(array, 0) != key and saved.key(array.tolist()) != key
    if array.dtype.kind != "U":
        other = np.dtype("float64")
        assert saved.key(array.astype(other)) != key
    if array.size:
        where = data.draw(st.integers(0, array.size - 1))
        changed = array.copy()
        value = changed.flat[where]
        changed.flat[where] = "?" if array.dtype.kind == "U" else not value
        assume((changed != array).any())
        assert saved.key(changed) != key


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(PLAIN, max_size=4), st.lists(PLAIN, max_size=4))
@hypothesis_settings(max_examples=300, deadline=None)
def test_keys_of_plain_values_differ_as_the_values_do(one, two):
    assert (saved.key(*one) == saved.key(*two)) == (repr(one) == repr(two))


def test_where_one_argument_ends_matters():
    keys = [
        saved.key(*things)
        for things in (
            (1, 23),
            (12, 3),
            (123,),
            (1, 2, 3),
            ((1, 23),),
            ([1, 2], 3),
            ("123",),
            ("1", "23"),
            ("1'", "'23"),
            ("1''23",),
            (np.array([1, 2]), np.array([3])),
            (np.array([1]), np.array([2, 3])),
            (np.array([1, 2, 3]),),
            (),
            ([],),
            ({},),
            (None,),
        )
    ]
    assert len(set(keys)) == len(keys) - 1  # {} is an empty list


def test_large_values_inside_others_count_to_the_last():
    """NumPy and pandas print the ends of what is long, and leave out the middle."""
    array = np.zeros(5000)
    other = array.copy()
    other[2500] = 1
    for hide in (lambda a: [a], lambda a: {"a": (a,)}, pd.Series, torch.from_numpy):
        assert saved.key(hide(array)) == saved.key(hide(array.copy()))
        assert saved.key(hide(array)) != saved.key(hide(other))
    table = pd.DataFrame({"name": ["x"] * 5000, "value": array})
    assert saved.key(table) != saved.key(table.assign(value=other))
    words = pd.Series(["x"] * 5000)
    assert saved.key(words) != saved.key(words.where(other == 0, "y"))


def test_numpys_own_numbers_are_pythons():
    assert saved.key(np.int64(3)) == saved.key(3) != saved.key(4)
    assert saved.key(np.float64(0.5)) == saved.key(0.5)
    recipe = recipes.RECIPES["A"]
    assert saved.key(recipe) == saved.key(recipes.RECIPES["A"])
    assert saved.key(recipe) != saved.key(recipes.RECIPES["B"])
