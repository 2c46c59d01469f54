"""From caption to class: the source's bugs pinned, and what the repair reads."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from helpers import lesions, lexicon
from helpers.lexicon import COURSE, SOURCE

# All of melanoma's signs, and by substring as many of a nevus.
TEXTBOOK = "Asymmetric lesion with an irregular border and uneven color."
PRINTED = [  # the captions that the source prints
    "The image shows a person has a lesion on their skin that is brown in color. "
    "The lesion is symmetrical, bordered, and has no diagnosis.",
    "The image shows a close-up image of a lesion on a person's skin showing a "
    "pinkish-brown area with a white border.",
    "The image shows a person's ear is covered in a brown, reddish-brown rash.",
]


def said(caption: str, words=SOURCE) -> dict[str, int]:
    return {label: n for label, n in lexicon.counts(caption, words).items() if n}


def test_the_textbook_melanoma_ties_as_printed_and_is_right_after():
    assert lexicon.as_printed(TEXTBOOK) == {"mel": 2, "bkl": 0, "nv": 2}
    assert lexicon.answer_as_printed(TEXTBOOK) == "mel"  # by the order alone
    assert lexicon.answer_as_printed(TEXTBOOK, ("nv", "bkl", "mel")) == "nv"
    assert said(TEXTBOOK) == {"mel": 2}
    assert lexicon.answer(TEXTBOOK) == lexicon.answer(TEXTBOOK, COURSE) == "mel"


@pytest.mark.parametrize("caption", PRINTED)
def test_the_order_alone_answers_for_the_source_s_own_captions(caption):
    assert set(lexicon.as_printed(caption).values()) == {0}
    for first in SOURCE:
        assert (
            lexicon.answer_as_printed(caption, sorted(SOURCE, key=first.__ne__))
            == first
        )
    assert lexicon.answer(caption) is None
    assert lexicon.answer(caption, otherwise="nv") == "nv"


@pytest.mark.parametrize(
    "caption, printed, repaired",
    [
        ("an irregular border", {"mel": 1, "nv": 1}, {"mel": 1}),
        ("uneven color", {"nv": 1}, {}),
        ("a non-uniform, nonuniform lesion", {"nv": 2}, {}),
        ("no irregular border", {"mel": 1, "nv": 1}, {}),
        ("not asymmetric", {"mel": 1}, {}),
        ("It isn't asymmetric but has multiple colors", {"mel": 2}, {"mel": 1}),
        ("without an irregular border", {"mel": 1, "nv": 1}, {}),
        ("multiple colours", {}, {"mel": 1}),
        ("irregular, sharp border", {}, {"mel": 1}),
        ("an irregular and blurred border", {}, {"mel": 1}),
        ("an irregular but sharp border", {}, {"mel": 1}),
        ("irregular borders", {"mel": 1, "nv": 1}, {"mel": 1}),
        ("The border is irregular and blurred.", {}, {"mel": 1}),
        ("Border: irregular; Color: multiple", {}, {"mel": 2}),
        ("border regular, color even", {}, {"nv": 2}),
        ("irregular shape and border", {}, {"mel": 1}),
        ("It cannot be said whether it is asymmetric, but it is waxy", {}, {"bkl": 1}),
        ("It is sharply demarcated", {"bkl": 1}, {"bkl": 1}),
    ],
)
def test_what_the_repair_reads(caption, printed, repaired):
    if "cannot" not in caption:
        found = lexicon.as_printed(caption)
        assert {label: n for label, n in found.items() if n} == printed
    assert said(caption) == repaired


@pytest.mark.parametrize(
    "caption, asserted",
    [
        ("without streaks", False),
        ("no streaks, dots or globules", False),
        ("no dots, streaks or globules", False),
        ("no dots, streaks", True),
        ("no dots and streaks", False),
        ("no dots and with streaks", True),
        ("no dots but streaks", True),
        ("not symmetric with streaks", True),
        ("Streaks are absent", False),
        ("streaks and dots are not seen", False),
        ("typical network, dots and streaks are absent", False),
        ("Network absent, streaks", True),
        ("absent streaks", False),
        ("dots are absent, streaks are present", True),
        ("not regular and streaks are present", True),
        ("lacks streaks", False),
        ("absence of streaks", False),
        ("neither dots nor streaks", False),
        ("not only dots, streaks too", True),
        ("dots are not seen and streaks are", True),
        ("no diagnosis; streaks", True),
    ],
)
def test_how_far_a_denial_reaches(caption, asserted):
    assert lexicon.mentions(lexicon.read(caption), "streaks") == [asserted]


@pytest.mark.parametrize(
    "caption, there",
    [
        ("a regular border, irregular dots", False),
        ("The border is blurred, irregular dots present", False),
        ("irregular dots and a sharp border", False),
        ("irregular dots, border", False),
        ("irregular lesion, sharp border", False),
        ("The border is regular and the dots irregular", False),
        ("border and color are irregular", True),
        ("borders appear irregular", True),
        ("a very irregular border", True),
    ],
)
def test_an_adjective_belongs_to_its_own_noun(caption, there):
    assert any(lexicon.mentions(lexicon.read(caption), "irregular border")) == there


def test_ties_go_to_the_longer_keywords_and_level_ones_cannot_tell():
    assert lexicon.counts("uniform, with an irregular border") == {
        "mel": 1,
        "bkl": 0,
        "nv": 1,
    }
    assert lexicon.answer("uniform, with an irregular border") == "mel"
    assert lexicon.answer("asymmetric, with an even color") == "nv"
    assert lexicon.answer("asymmetric and uniform") is None
    assert lexicon.answer("asymmetric and uniform", otherwise="nv") == "nv"
    assert lexicon.answer("") is None and lexicon.answer("a ruler") is None


def test_words_of_one_s_own_with_weights():
    words = {"here": {"veil": 5}, "there": ("streak", "dot")}
    assert lexicon.counts("streaks, dots, a veil", words) == {"here": 5, "there": 2}
    assert lexicon.answer("streaks, dots, a veil", words) == "here"


def test_the_course_s_words_tell_true_captions_and_the_source_s_do_not():
    rng = np.random.default_rng(0)
    truth = [label for label in SOURCE for _ in range(80)]
    texts = [lesions.caption(lesions.describe(rng, label), []) for label in truth]

    def f1(ways):
        return f1_score(
            truth, [way or "" for way in ways], average="macro", labels=[*SOURCE]
        )

    course = f1(lexicon.answer(text, COURSE) for text in texts)
    source = f1(lexicon.answer(text) for text in texts)
    printed = f1(lexicon.answer_as_printed(text) for text in texts)
    assert course > 0.9 > 0.6 > source > printed


def test_british_and_american_captions_read_the_same():
    rng = np.random.default_rng(1)
    for label in SOURCE:
        text = lesions.caption(lesions.describe(rng, label), ["hair"])
        other = text.replace("grey", "gray").replace("colour", "color").upper()
        assert lexicon.counts(text, COURSE) == lexicon.counts(other, COURSE)


def test_an_endless_caption_is_read_all_the_same():
    assert said("no " * 500 + "streaks") == {}
    assert said("asymmetric " * 500) == {"mel": 500}
