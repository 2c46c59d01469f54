"""Boxes as masks, measures of alignment on known maps, thresholds, the average box."""

import numpy as np
import pandas as pd
import pytest
from errors import refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import jaccard_score

from helpers import alignment, localisation

S = alignment.SIDE
MASK = np.zeros((1, S, S), bool)
MASK[0, 20:40, 30:60] = True
INSIDE, OUTSIDE, EMPTY = MASK.astype(float), 1.0 - MASK, 0.0 * MASK


def at(y, x):
    one = np.zeros((1, S, S))
    one[0, y, x] = 1
    return one


def test_boxes_are_where_they_are_whatever_the_films_size():
    mask = alignment.boxed([(30, 20, 30, 20)], (S, S))
    assert (mask == MASK[0]).all()
    wide = alignment.boxed([(60, 20, 60, 20)], (S, 2 * S))  # (H, W)
    assert (wide == MASK[0]).all()
    both = alignment.boxed([(30, 20, 30, 20), (0, 0, 5, 5)], (S, S))
    assert both.sum() == MASK.sum() + 25
    assert not alignment.boxed([], (S, S)).any()


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0.5, 900), st.floats(0.5, 900))
def test_a_small_box_does_not_vanish_and_a_box_keeps_its_area(x, y, w, h):
    w, h = min(w, 1024 - x), min(h, 1024 - y)
    mask = alignment.boxed([(x, y, w, h)], (1024, 1024))
    share = w * h / 1024**2
    edge = 2 * (w + h + 1024 / S * 2) / 1024 / S
    assert mask.any() and share - 1e-6 <= mask.mean() <= share + edge


@pytest.fixture
def cases(tmp_path):
    """Three films of another shape each; the third has no box."""
    rows = []
    for name, shape in (("a", (56, 112)), ("b", (224, 224)), ("c", (30, 30))):
        path = tmp_path / f"{name}.png"
        Image.fromarray(np.zeros(shape, np.uint8)).save(path)
        rows.append({"path": str(path), "group": name, "split": "train"})
    rows[0]["boxes"] = [("Mass", 30, 10, 30, 10), ("Nodule", 0, 0, 4, 4)]
    rows[1]["boxes"] = [("Mass", 60, 40, 60, 40), ("Mass", 0, 0, 20, 20)]
    rows[2]["boxes"] = None
    return pd.DataFrame(rows)


def test_an_instance_is_a_finding_on_a_film_with_all_its_boxes(cases):
    table, masks = alignment.instances(cases, ["Mass", "Nodule"])
    assert table[["film", "finding", "k", "boxes"]].to_numpy().tolist() == [
        [0, "Mass", 0, 1],
        [0, "Nodule", 1, 1],
        [1, "Mass", 0, 2],
    ]
    assert (masks[0] == MASK[0]).all() and (masks[2] & MASK[0]).sum() == MASK.sum()
    assert table.area.to_numpy() == pytest.approx(masks.mean((1, 2)))
    refused(lambda: alignment.instances(cases[2:], ["Mass"]), "no film has a box")


def test_the_average_box_is_that_of_the_training_films(cases):
    masks = np.stack([MASK[0], MASK[0][::-1], MASK[0]])
    table = pd.DataFrame({"finding": ["Mass"] * 3, "split": ["train", "train", "test"]})
    found = alignment.average_box(table, masks, ["Mass", "Mass"])
    assert found.shape == (2, S, S) and set(np.unique(found)) == {0, 1}
    assert (found[0] == (masks[0] | masks[1])).all()


def test_a_hit_is_in_a_box_or_near_enough():
    assert alignment.hit(at(25, 40), MASK) == 1
    assert alignment.hit(at(45, 40), MASK) == 0
    assert alignment.hit(at(45, 40), MASK, 7 / S) == 1
    assert alignment.hit(at(47, 40), MASK, 7 / S) == 0
    assert alignment.hit(EMPTY, MASK) == 0 and alignment.hit(EMPTY, ~MASK) == 0


@given(st.integers(0, 99), st.floats(0.05, 0.95))
def test_iou_is_scikit_learns(seed, threshold):
    rng = np.random.default_rng(seed)
    heat, masks = rng.random((3, 8, 9)), rng.random((3, 8, 9)) < 0.4
    found = alignment.iou(heat, masks, threshold)
    for h, m, score in zip(heat, masks, found, strict=True):
        wanted = jaccard_score(m.ravel(), h.ravel() >= threshold, zero_division=0)
        assert score == pytest.approx(wanted)
    each = alignment.iou(heat, masks, np.array([0.1, threshold, 0.9]))
    assert each[1] == found[1]


def test_every_definition_is_one_for_a_perfect_map_and_lies_within_0_and_1():
    rng = np.random.default_rng(0)
    for name, rule in alignment.DEFINITIONS.items():
        assert rule(INSIDE, MASK) == pytest.approx(1), name
        score = rule(rng.random((1, S, S)), MASK)
        assert score.shape == (1,) and 0 <= score[0] <= 1, name


def test_the_kindest_definition_praises_an_empty_map():
    """What the notebook says: most of a film is neither hot nor boxed."""
    assert alignment.agreement(EMPTY, MASK)[0] > 0.9
    for name in ("mean IoU, hot at half", "pointing game", "hot at half touches a box"):
        assert alignment.DEFINITIONS[name](EMPTY, MASK) == 0


def test_known_maps_get_what_they_deserve():
    upper = np.zeros((1, S, S))
    upper[0, 20:30, 30:60] = 1
    assert alignment.covered(upper, MASK) == pytest.approx(0.5)
    assert (
        alignment.overlaps(upper, MASK) == 1 and alignment.overlaps(OUTSIDE, MASK) == 0
    )
    assert localisation.precision(OUTSIDE, MASK)[0] < 0.1
    left, right = at(100, 10), at(100, 100)
    half = MASK & (np.arange(S) < S // 2)
    assert (
        alignment.same_side(left, half) == 1 and alignment.same_side(right, half) == 0
    )


def test_the_threshold_is_the_best_of_each_finding():
    ring = 0.3 * (np.indices((S, S)).sum(0) < 90)[None]
    heat = np.concatenate(
        [np.maximum(0.8 * MASK, ring), np.maximum(0.2 * MASK, 0.1 * ring)]
    )
    found = alignment.tuned(heat, np.repeat(MASK, 2, 0), ["a", "b"])
    assert 0.3 < found["a"] <= 0.8 and 0.03 < found["b"] <= 0.2
    assert (alignment.iou(heat, np.repeat(MASK, 2, 0), found.to_numpy()) == 1).all()


def test_tables_have_a_row_a_finding_and_count_patients():
    table = pd.DataFrame(
        {"finding": list("aabb"), "group": list("xxyz")}, index=[7, 5, 3, 1]
    )
    found = alignment.by_finding(np.array([1.0, 0, 1, 1]), table)
    assert found.score.to_dict() == {"a": 0.5, "b": 1}
    assert found.n.tolist() == [2, 2] and found.patients.tolist() == [1, 2]
    frame = alignment.by_definition(INSIDE, MASK, ["x"], MASK)
    assert list(frame.index[:-1]) == list(alignment.DEFINITIONS)
    assert frame.score.to_numpy() == pytest.approx(1)
