"""The captioner of our own: it learns from pictures, is kept, and can be asked twice."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from errors import refused
from PIL import Image

from helpers import captions, compact, models

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = {0: "red", 1: "green", 2: "blue"}


def told(y) -> list[str]:
    return [f"A {WORDS[int(k)]} disc, seen on noise." for k in y]


@pytest.fixture(scope="module")
def eye():
    torch.manual_seed(0)
    return models.build("efficientnet_lite0", ("a", "b"), 64)


@pytest.fixture(scope="module")
def taught(eye):
    pixels, y = tiny.discs(48, 64)
    return compact.train(eye, pixels, told(y), epochs=40, seed=1)


def test_it_learns_what_it_sees_and_says_it_of_new_pictures(taught, eye):
    pixels, y = tiny.discs(24, 64, seed=9)
    said = taught.caption(list(pixels))
    right = np.mean([a == b for a, b in zip(said, told(y), strict=True)])
    blind = compact.untrained(eye, told(y)).caption(list(pixels))
    assert right > 0.8 and not set(blind) & set(told(y))


def test_the_eye_is_neither_trained_nor_saved(taught, eye):
    assert not any("eye" in name for name in taught.state_dict())
    assert all(p.grad is None for p in eye.parameters())
    mine = {id(p) for p in eye.parameters()}
    assert not mine & {id(p) for p in taught.parameters()}


def test_the_likelier_beginning_is_the_one_that_is_said(taught):
    pixels, _ = tiny.discs(12, 64, seed=3)
    found = taught.score(
        list(pixels), "", [f"A {word} disc" for word in WORDS.values()]
    )
    said = taught.caption(list(pixels))
    assert found.shape == (12, 3) and (found < 0).all()
    assert (np.exp(found).sum(1) <= 1 + 1e-5).all()
    for row, text in zip(found, said, strict=True):
        assert f"A {WORDS[int(row.argmax())]} disc" in text


def test_a_batch_is_as_each_alone(taught):
    pixels, _ = tiny.discs(5, 64, seed=4)
    whole = taught.caption(list(pixels))
    assert whole == [taught.caption([picture])[0] for picture in pixels]
    assert (
        captions.ask.__doc__ and taught.caption(list(pixels), "Say nothing.") == whole
    )


def test_pictures_of_any_size_are_squashed(taught):
    assert len(taught.caption([np.zeros((50, 70, 3), np.uint8)] * 2)) == 2
    refused(lambda: taught.caption([]), "at least one")


def test_words_are_whole_and_stops_stand_apart():
    words = compact.vocabulary(["A red, blue-grey disc.", "a red one"])
    assert words == [",", "-", ".", "a", "blue", "disc", "grey", "one", "red"]
    model = SimpleNamespace(vocabulary=words)
    numbers = [4 + words.index(w) for w in ("a", "blue", "-", "grey", "disc", ".")]
    said = compact.Compact.sentence(model, [compact.START, *numbers, compact.END])
    assert said == "A blue-grey disc."


def test_it_is_trained_once_and_kept(eye, folders, tmp_path, monkeypatch, capsys):
    pixels, y = tiny.discs(24, 64)
    paths = [str(tmp_path / f"{k}.png") for k in range(24)]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    split = np.where(np.arange(24) % 4, "train", "test")
    cases = pd.DataFrame({"image_id": paths, "path": paths, "split": split})
    run, cfg = SimpleNamespace(model=eye, cases=cases), SimpleNamespace(seed=0)
    first = compact.ensure(run, told(y), cfg, epochs=2)
    monkeypatch.setattr(compact, "train", lambda *_: 1 / 0)
    again = compact.ensure(run, told(y), cfg, epochs=2)
    assert capsys.readouterr().out.count("trained") == 1
    assert again.caption(list(pixels)) == first.caption(list(pixels))
    assert again.name == first.name != compact.untrained(eye, told(y)).name
    with pytest.raises(ZeroDivisionError):  # other captions are another training
        compact.ensure(run, told(y[::-1]), cfg, epochs=2)


def test_pictures_and_captions_come_in_pairs(eye):
    refused(
        lambda: compact.train(eye, tiny.discs(3, 64)[0], ["one"]), "3 pictures and 1"
    )


def test_one_seed_one_captioner(eye):
    pixels, y = tiny.discs(12, 64)
    first, again, other = (
        compact.train(eye, pixels, told(y), epochs=1, seed=s) for s in (0, 0, 1)
    )
    words = first.places, again.places, other.places
    assert torch.equal(words[0], words[1]) and not torch.equal(words[0], words[2])
