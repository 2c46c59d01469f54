"""Asking captioners: prompts, forced choice, and a cache that outlives a session."""

import json
from pathlib import Path

import numpy as np
import pytest
from errors import refused
from hypothesis import given
from hypothesis import strategies as st

from helpers import captions, settings, slots

SOURCE = Path(__file__).parents[2] / "shared/reference/sources"


class Stub:
    """A captioner that counts what it is asked, and goes by the picture's brightness."""

    def __init__(self, name="stub", fails_at=None):
        self.name, self.asked, self.fails_at = name, [], fails_at

    def caption(self, images, prompt):
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise KeyboardInterrupt
        self.asked += [(prompt, len(images))]
        return [f"{prompt} brightness {image.mean():.0f}." for image in images]

    def score(self, images, prompt, answers):
        """By content, bright pictures are 'regular'; and likes what it read first."""
        self.asked += [(prompt, len(images))]
        listed = prompt.split("Options: ")[1].removesuffix(". Answer:").split(", ")
        like = [listed.index(a) * -0.4 for a in answers]
        right = ["regular" if image.mean() > 127 else "cannot tell" for image in images]
        found = [[len(a.split()) * (a == r) for a in answers] for r in right]
        return np.array(found) + like


def pictures(*levels):
    return [np.full((4, 5, 3), level, np.uint8) for level in levels]


def cache(name="stub") -> Path:
    return settings.out_folder() / "cache" / "captions" / f"{name}.jsonl"


@pytest.fixture(autouse=True)
def own(folders):
    pass


# Prompts and answers


def test_prompts_are_the_sources():
    told = next(iter(SOURCE.glob("001*.txt")), None)
    if told is None:
        pytest.skip("the source is not at hand")
    text = told.read_text(encoding="utf-8")
    for name, prompt in captions.PROMPTS.items():
        assert f"**{name}:** “{prompt}”" in text


@pytest.mark.parametrize(
    ("text", "ended", "line"),
    [
        ("  a brown\n lesion ", True, "a brown lesion"),
        ("", True, ""),
        ("", False, "…"),
        ("One. Two is 3.5 mm. Three an", False, "One. Two is 3.5 mm. …"),
        ("Done.", False, "Done. …"),
        ("and and and", False, "and and and …"),
    ],
)
def test_answers_are_checked(text, ended, line):
    assert captions.checked(text, ended) == line


def test_answers_are_counted():
    said = ["", "a lesion", "and and …", "…"]
    assert captions.counts(said) == {"answers": 4, "empty": 2, "endless": 2}
    assert captions.counts([]) == {"answers": 0, "empty": 0, "endless": 0}


def test_the_prompt_is_stripped_where_it_is_repeated():
    assert captions.bare("Say it.  A mole.", "say  it.") == "A mole."
    assert captions.bare("A mole. Say it.", "Say it.") == "A mole. Say it."
    assert captions.bare("Sayings of moles", "Say") == "Sayings of moles"
    assert captions.bare("Say it.", "Say it.") == ""
    assert captions.bare("A mole.", "") == "A mole."


# Asked once


def test_a_second_call_is_free():
    stub, images = Stub(), pictures(1, 2, 1)
    first = captions.ask(stub, images, "P")
    assert first == ["brightness 1.", "brightness 2.", "brightness 1."]
    assert stub.asked == [("P", 2)]  # the same picture twice is one question
    assert captions.ask(stub, images, "P") == first and len(stub.asked) == 1
    captions.ask(stub, pictures(2, 3), "P")
    assert stub.asked[1:] == [("P", 1)]
    captions.ask(stub, images, "Q")
    assert stub.asked[2:] == [("Q", 2)]
    turned = [image.transpose(1, 0, 2) for image in images[:1]]
    captions.ask(stub, turned, "P")
    other = Stub("other/model")
    captions.ask(other, images, "P")
    assert len(stub.asked) == 4 and other.asked == [("P", 2)]
    assert cache("other-model").is_file()


def test_names_that_share_a_file_share_no_answer():
    one, two = Stub("a/b"), Stub("a b")
    captions.ask(one, pictures(1), "P")
    captions.ask(two, pictures(1), "P")
    assert len(two.asked) == 1


def test_nothing_to_ask():
    stub = Stub()
    assert captions.ask(stub, [], "P") == []
    assert captions.choose(stub, [], "P", ["yes", "no"]) == []
    assert stub.asked == []


def test_a_lost_session_goes_on(monkeypatch):
    monkeypatch.setattr(captions, "CHUNK", 2)
    images = pictures(1, 2, 3, 4, 5)
    with pytest.raises(KeyboardInterrupt):
        captions.ask(Stub(fails_at=2), images, "P")
    again = Stub()
    said = captions.ask(again, images, "P")
    assert again.asked == [("P", 1)] and said[4] == "brightness 5."


def test_a_broken_line_is_asked_again():
    captions.ask(Stub(), pictures(1, 2, 3), "P")
    lines = cache().read_text(encoding="utf-8").split("\n")
    lines[1], lines[2] = '{"key": 1}', "[2]"
    text = "\n".join(lines)[:-9]  # the last one was cut off
    cache().write_bytes(text.encode() + b"\xff")
    again = Stub()
    said = captions.ask(again, pictures(1, 2, 3), "P")
    assert said == ["brightness 1.", "brightness 2.", "brightness 3."]
    assert again.asked == [("P", 3)]
    captions.ask(again, pictures(1, 2, 3), "P")
    assert len(again.asked) == 1


def test_the_cache_can_be_read_by_eye():
    captions.ask(Stub(), pictures(1), "P")
    row = json.loads(cache().read_text(encoding="utf-8").split("\n")[-1])
    assert row["about"] == ["ask", "P"] and row["answer"] == "P brightness 1."


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), "u1")],
)
def test_other_pictures_are_refused(image):
    refused(lambda: captions.ask(Stub(), [image], "P"), "H×W×3 uint8")


# Forced choice


OPTIONS = ["regular", "irregular", "cannot tell"]


def test_a_choice_goes_by_content_whatever_the_order():
    images = pictures(10, 200)
    wanted = ["cannot tell", "regular"]
    for seed in range(3):
        for order in (OPTIONS, OPTIONS[::-1]):
            stub = Stub(f"{seed}{order[0]}")
            assert captions.choose(stub, images, "P", order, seed) == wanted


def test_each_option_is_read_in_each_place_once():
    stub = Stub()
    captions.choose(stub, pictures(10), "P", OPTIONS, 1)
    assert all(prompt.startswith("P Options: ") for prompt, _ in stub.asked)
    orders = [p[11:].removesuffix(". Answer:").split(", ") for p, _ in stub.asked]
    assert len(orders) == 3
    assert all(sorted(place) == sorted(OPTIONS) for place in zip(*orders, strict=True))


def test_a_second_choice_is_free():
    stub = Stub()
    first = captions.choose(stub, pictures(10, 200), "P", OPTIONS)
    asked = len(stub.asked)
    assert captions.choose(stub, pictures(10, 200), "P", OPTIONS[::-1]) == first
    assert len(stub.asked) == asked == 3
    captions.choose(stub, pictures(10, 200), "P", OPTIONS[:2])
    assert len(stub.asked) == asked + 2


def test_more_words_are_no_handicap():
    """Log-probabilities of -2 for two words and -1.5 for one: the two words win."""
    stub = Stub()
    stub.score = lambda images, *_: np.array([[-2.0, -1.5]] * len(images))
    chosen = captions.choose(stub, pictures(1), "P", ["cannot tell", "regular"])
    assert chosen == ["cannot tell"]


@pytest.mark.parametrize("options", [["yes"], ["yes", "yes"], ["yes", " "]])
def test_no_choice(options):
    refused(lambda: captions.choose(Stub(), pictures(1), "P", options), "two options")


@given(st.tuples(*(st.sampled_from(options) for options in slots.SLOTS.values())))
def test_a_caption_of_slots_is_read_back_as_these(options):
    answers = dict(zip(slots.SLOTS, options, strict=True))
    read = slots.of_text(captions.of_slots(answers))
    listed = [slot for slot in list(slots.SLOTS)[3:] if answers[slot] != slots.CANNOT]
    for slot in [*list(slots.SLOTS)[:3], *listed]:
        assert read[slot] == answers[slot], (slot, captions.of_slots(answers))
