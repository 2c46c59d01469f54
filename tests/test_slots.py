"""Slots: read from text, JSON, truth, experts and masks; their scores by oracles."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from errors import refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from helpers import datasets, lesions, sentences, slot_scores, slots
from helpers.slots import CANNOT, SLOTS

REAL = Path(__file__).resolve().parents[2] / "shared/data"
STRUCTURES = [*SLOTS][3:]
PROMPT = (
    "You are a expert in examining images of lesions. Provide one clinical sentence. "
    "State symmetry (symmetric/asymmetric), border (regular/irregular), color "
    "(single/multiple), texture (flat/raised, scaly/smooth). No diagnosis."
)


@given(
    st.integers(0, 2**32),
    st.sampled_from([*lesions.RECIPES]),
    st.sets(st.sampled_from(["hair", "ruler", "ink", "bubbles", "dark corners"])),
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_true_caption_fills_the_slots_with_the_truth(seed, label, present):
    row = lesions.describe(np.random.default_rng(seed), label)
    said = slots.of_text(lesions.caption(row, sorted(present)))
    truth = slots.of_truth(row)
    assert set(said) == set(truth) == set(SLOTS)
    assert said == truth | {"colours": said["colours"]}
    assert said["colours"] in (truth["colours"], "one", "two", "three or more")


def test_colours_of_true_captions_are_counted():
    rng, right = np.random.default_rng(0), []
    for _ in range(30):
        for label in lesions.RECIPES:
            row = lesions.describe(rng, label)
            text = slots.of_text(lesions.caption(row, []))
            right.append(text["colours"] == slots.of_truth(row)["colours"])
    assert np.mean(right) == 1


@pytest.mark.parametrize(
    "caption, told",
    [
        ("An asymmetric lesion", {"asymmetry": "asymmetric"}),
        ("The lesion is symmetrical.", {"asymmetry": "symmetric"}),
        ("It is not symmetric, its border not irregular",
         {"asymmetry": "asymmetric", "border": "regular"}),
        ("It lacks symmetry", {"asymmetry": "asymmetric"}),
        ("State symmetry (symmetric/asymmetric)", {}),
        ("We cannot say whether the border is irregular", {}),
        ("jagged edges", {"border": "irregular"}),
        ("a brown lesion", {"colours": "one"}),
        ("a reddish-brown and blue-gray lesion on brown skin", {"colours": "two"}),
        ("black, red and tan", {"colours": "three or more"}),
        ("multiple colors, brown", {"colours": "three or more"}),
        ("brown, not black", {"colours": "one"}),
        ("no streaks", {"streaks": "absent"}),
        ("no network", {"network": "absent"}),
        ("no atypical network", {"network": CANNOT}),
        ("neither regular nor irregular dots", {"dots or globules": "absent"}),
        ("", {}),
    ],
)  # fmt: skip
def test_what_text_says_and_nothing_else(caption, told):
    assert slots.of_text(caption) == dict.fromkeys(SLOTS, CANNOT) | told


@pytest.mark.parametrize(
    "caption, told",
    [
        ("a pigment network", {"network": CANNOT}),
        ("a typical and an atypical network", {"network": "atypical"}),
        ("irregular dots and globules", {"dots or globules": "irregular"}),
        ("milia-like cysts", {}),
        ("streaks, no veil", {"streaks": "present"}),
    ],
)
def test_who_names_one_structure_says_that_the_others_are_absent(caption, told):
    found = slots.of_text(caption)
    absent = dict.fromkeys(STRUCTURES, "absent")
    assert {slot: found[slot] for slot in STRUCTURES} == absent | told


ANSWER = dict(zip(SLOTS, (options[1] for options in SLOTS.values()), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ANSWER),
        f"Sure!\n```json\n{json.dumps(ANSWER, indent=1)}\n```\nI hope {{this}} helps.",
        str(ANSWER),
        json.dumps({k.upper().replace(" ", "_"): v.title() for k, v in ANSWER.items()}),
    ],
)
def test_json_is_read_through_fences_prose_and_quotes(text):
    assert slots.of_json(text) == ANSWER


def test_json_values_by_many_names():
    text = '{"symmetry": "?", "colors": ["red", "tan"], "veil": true, "streaks": "no"}'
    told = {"colours": "two", "blue-white veil": "present", "streaks": "absent"}
    assert slots.of_json(text) == dict.fromkeys(SLOTS, CANNOT) | told
    assert slots.of_json('{"colour": 5}')["colours"] == "three or more"
    assert slots.of_json('{"network": "None", "dots": null}') == dict.fromkeys(
        SLOTS, CANNOT
    ) | {"network": "absent"}


@pytest.mark.parametrize(
    "text", ["", "no", "{", '{"a": 1}', '{"streaks": ', "{" * 9999]
)
def test_json_that_cannot_be_read_is_none(text):
    assert slots.of_json(text) is None


def test_a_mask_fills_form_border_and_colours():
    mask = np.zeros((80, 80), np.uint8)
    mask = cv2.circle(mask, (40, 40), 25, 1, -1) > 0
    image = np.where(mask[..., None], (112, 62, 44), 200).astype(np.uint8)
    told = {"asymmetry": "symmetric", "border": "regular", "colours": "one"}
    found = slots.of_lesion(sentences.of_lesion(image, mask))
    assert found == dict.fromkeys(SLOTS, CANNOT) | told


def test_ph2_columns_and_a_table_that_lacks_them():
    table = pd.DataFrame(
        {
            "asymmetry": [0, 1, 2],
            "pigment_network": ["typical", "atypical", "typical"],
            "dots_globules": ["absent", "atypical", "typical"],
            "streaks": ["absent", "present", "absent"],
            "regression_areas": ["present", "absent", "absent"],
            "blue_whitish_veil": ["absent", "absent", "present"],
            "colours": [("red",), ("red", "white"), ("red", "white", "black")],
        },
        index=[5, 6, 7],
    )
    found = slots.of_ph2(table)
    assert found.index.tolist() == [5, 6, 7] and tuple(found) == tuple(SLOTS)
    assert found.loc[6].tolist() == [
        "asymmetric", CANNOT, "two", "atypical", "irregular", "present", "absent",
        "absent",
    ]  # fmt: skip
    assert found["asymmetry"].tolist() == ["symmetric", "asymmetric", "asymmetric"]
    assert found["dots or globules"].tolist() == ["absent", "irregular", "regular"]
    refused(lambda: slots.of_ph2(table.drop(columns="streaks")), "no streaks", "ph2")


def test_ph2_itself(monkeypatch):
    if not (REAL / "ph2").is_dir():
        pytest.skip(f"no real data in {REAL / 'ph2'}")
    monkeypatch.setenv("XAI_DERM_DATA", str(REAL))
    found = slots.of_ph2(datasets.load("ph2", need_images=False))
    assert len(found) == 200 and not found.isna().any().any()
    assert set(found["border"]) == {CANNOT}
    for slot in set(SLOTS) - {"border"}:
        assert set(found[slot]) <= set(SLOTS[slot]) - {CANNOT}


@pytest.fixture(scope="module")
def answers():
    """Truth, and answers right half of the time, some unsure, some not readable."""
    rng = np.random.default_rng(3)
    draw = {k: rng.choice(v[:-1], 120) for k, v in SLOTS.items()}
    truth = pd.DataFrame(draw)
    truth.loc[:9, "streaks"] = CANNOT
    truth["border"] = CANNOT
    other = pd.DataFrame({k: rng.choice(v, 120) for k, v in SLOTS.items()})
    said = truth.where(rng.random(truth.shape) < 0.5, other).to_dict("records")
    said[50:56] = [None] * 6
    return truth, said, np.arange(120) // 2


def test_scores_are_those_of_scikit_learn(answers):
    truth, said, group = answers
    found = slot_scores.scores(truth.to_dict("records"), said, group, draws=200)
    assert list(found.index) == [slot for slot in SLOTS if slot != "border"]
    for slot, row in found.iterrows():
        known = truth[slot].to_numpy() != CANNOT
        true = truth[slot][known]
        answer = pd.Series(["?" if a is None else a[slot] for a in said])[known]
        with pytest.warns(UserWarning):  # answers that are never true
            balanced = balanced_accuracy_score(true, answer)
        assert row["balanced accuracy"] == pytest.approx(balanced)
        assert row["kappa"] == pytest.approx(cohen_kappa_score(true, answer))
        yes = SLOTS[slot][2:-1] if slot == "colours" else SLOTS[slot][1:-1]
        bias = answer.isin(yes).mean() - true.isin(yes).mean()
        assert row["yes-bias"] == pytest.approx(bias)
        assert row[CANNOT] == pytest.approx((answer == CANNOT).mean())
        assert row["unreadable"] == pytest.approx((answer == "?").mean())
        assert row["n"] == known.sum() and row["lesions"] == len(set(group[known]))
        assert row["chance"] == pytest.approx(1 / true.nunique())
        for name in slot_scores.SCORES:
            assert row[f"{name} low"] <= row[name] <= row[f"{name} high"]


def test_the_truth_scores_one_and_a_yes_sayer_chance(answers):
    truth, _, group = answers
    best = slot_scores.scores(truth, truth, group, draws=50)
    assert (best[["balanced accuracy", "kappa"]] == 1).all().all()
    assert (best["yes-bias"] == 0).all()
    yes = {slot: options[-2] for slot, options in SLOTS.items()}
    found = slot_scores.scores(truth, [yes] * 120, group, draws=50)
    assert found["balanced accuracy"].tolist() == pytest.approx(
        found["chance"].tolist()
    )
    assert found["kappa"].tolist() == pytest.approx([0] * 7)
    assert (found["yes-bias"] > 0.2).all()


def test_kappa_plain_and_by_squared_steps():
    rng = np.random.default_rng(0)
    first = rng.integers(1, 6, 90)
    second = np.clip(first + rng.integers(-1, 3, 90), 1, 6)
    group = np.arange(90)
    value, low, high = slot_scores.kappa(first, second, group, draws=200)
    assert value == pytest.approx(cohen_kappa_score(first, second))
    assert low < value < high
    value, low, high = slot_scores.kappa(first, second, group, range(1, 7), draws=200)
    assert value == pytest.approx(
        cohen_kappa_score(first, second, weights="quadratic", labels=range(1, 7))
    )
    assert low < value < high
    assert np.isnan(slot_scores.kappa(["a"] * 4, ["a"] * 4, range(4), draws=5)[0])
    wide = slot_scores.kappa(first, second, group // 30, draws=200)
    assert len(wide) == 3 and wide[0] == pytest.approx(cohen_kappa_score(first, second))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
@hypothesis_settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_exact_binomial_test(pairs):
    first, second = zip(*pairs, strict=True)
    one = sum(a and not b for a, b in pairs)
    differ = sum(a != b for a, b in pairs)
    p = binomtest(one, differ).pvalue if differ else 1
    assert slot_scores.mcnemar(first, second) == pytest.approx(p)
    assert slot_scores.mcnemar(second, first) == pytest.approx(p)


@pytest.mark.parametrize(
    "caption, claims",
    [
        ("A raised lesion, 6 mm in diameter.", ["raised", "6 mm"]),
        ("It measures 0.5 cm, or 4-5 millimetres.", ["0.5 cm", "4-5 millimetres"]),
        ("about five millimeters", ["five millimeters"]),
        ("flat, painful and itchy", ["flat", "painful", "itchy"]),
        ("not elevated", ["elevated"]),
        ("scaly to the touch", ["scaly to the touch"]),
        ("its texture is smooth", ["texture is smooth"]),
        ("a smooth border, with scale", []),
        ("The diameter cannot be given in millimeters, nor if it is raised.", []),
        ("mm, inflated", []),
    ],
)
def test_what_no_dermoscopic_picture_shows(caption, claims):
    assert slot_scores.unseeable(caption) == claims


def test_true_captions_claim_nothing_that_cannot_be_seen():
    rng = np.random.default_rng(0)
    for label in lesions.RECIPES:
        text = lesions.caption(lesions.describe(rng, label), ["hair"])
        assert slot_scores.unseeable(text) == []
        assert not slot_scores.echoed(text, PROMPT)


@pytest.mark.parametrize(
    "caption, is_echo",
    [
        ("The lesion is symmetrical, bordered, and has no diagnosis.", True),
        ("An expert in examining images of skin.", True),
        ("symmetric/asymmetric, border (regular/irregular)", True),
        ("A symmetric lesion with a regular border.", False),
        ("The diameter is 3 mm if visible.", False),  # words of another prompt
        ("", False),
    ],
)
def test_a_caption_that_echoes_its_prompt(caption, is_echo):
    assert slot_scores.echoed(caption, PROMPT) == is_echo


def test_words_that_only_a_prompt_has():
    said = slot_scores.says_prompt_words("It has  NO\ndiagnosis, if visible.")
    assert said == ["no diagnosis", "if visible"]


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda a: slot_scores.scores(a, a[1:], [1, 2]), "the rows do not match"),
        (lambda a: slot_scores.scores([], [], []), "no pictures to score"),
        (lambda a: slot_scores.scores(a, [a[0], {}], [1, 2]), "asymmetry: no option"),
        (
            lambda a: slot_scores.scores(a, [a[0], a[0] | {"streaks": "?"}], [1, 2]),
            "streaks: no option '?'",
        ),
        (lambda a: slot_scores.kappa("ab", "ac", [1, 2], "ab"), "not in the order: c"),
        (lambda a: slot_scores.mcnemar([True], []), "the rows do not match"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(call, told):
    refused(lambda: call([ANSWER, ANSWER]), told)


def test_the_form_that_a_model_is_sent_can_be_read_back():
    filled, first = slots.IN_JSON, {slot: o[0] for slot, o in SLOTS.items()}
    for options in SLOTS.values():
        filled = filled.replace(f'"{"|".join(options)}"', f'"{options[0]}"')
    assert slots.of_json(filled) == first
