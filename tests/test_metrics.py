"""Scores with intervals that respect lesions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from helpers import metrics

pytestmark = pytest.mark.filterwarnings(
    "ignore:y_pred contains classes", "ignore:A single label"
)
NAMES = st.lists(st.tuples(*[st.sampled_from("abcd")] * 2), min_size=1, max_size=60)


def by_sklearn(truth, answer) -> list[float]:
    there = sorted(set(truth))  # a class without a true picture has no recall
    return [
        accuracy_score(truth, answer),
        balanced_accuracy_score(truth, answer),
        f1_score(truth, answer, labels=there, average="macro", zero_division=0),
    ]


@given(NAMES)
@hypothesis_settings(max_examples=80, deadline=None)
def test_scores_are_scikit_learns(pairs):
    truth, answer = zip(*pairs, strict=True)
    counts = metrics.confusion(truth, answer, "abcd")
    assert np.allclose(metrics.from_confusion(counts), by_sklearn(truth, answer))
    stacked = metrics.from_confusion(np.stack([counts, counts * 3]))
    assert stacked.shape == (2, 3) and np.allclose(stacked[0], stacked[1])
    table = metrics.scores(truth, answer, range(len(pairs)), draws=20)
    assert np.allclose(table.score, by_sklearn(truth, answer))
    assert list(table.index) == ["accuracy", "balanced accuracy", "macro-F1"]


def sample(lesions: int, copies: int = 1, seed: int = 0):
    """Labels, answers right two times in three, and lesions whose pictures are copies."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(list("aaabbc"), lesions)
    answer = np.where(
        rng.random(lesions) < 2 / 3, truth, rng.choice(list("abc"), lesions)
    )
    group = np.arange(lesions)
    return tuple(np.repeat(x, copies) for x in (truth, answer, group))


def width(table):
    return table.high - table.low


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_holds_its_score_and_shrinks_with_n(seed):
    few, many = (metrics.scores(*sample(n, seed=seed)) for n in (100, 1600))
    for table, n in ((few, 100), (many, 1600)):
        assert (table.low < table.score).all() and (table.score < table.high).all()
        assert table.n.eq(n).all() and table.lesions.eq(n).all()
    assert (width(many) < 0.5 * width(few)).all()


def test_copies_of_a_lesion_are_no_new_information():
    truth, answer, group = sample(150, copies=4)
    by_lesion = metrics.scores(truth, answer, group)
    by_picture = metrics.scores(truth, answer, range(len(truth)))
    assert (width(by_lesion) > 1.5 * width(by_picture)).all()
    once = metrics.scores(*sample(150))
    assert np.allclose(
        by_lesion[["score", "low", "high"]], once[["score", "low", "high"]]
    )
    assert by_lesion.n.eq(600).all() and by_lesion.lesions.eq(150).all()


def uneven():
    truth, answer, _ = sample(90)
    return truth, answer, np.random.default_rng(1).integers(0, 40, 90)


def test_the_bootstrap_is_that_of_a_plain_loop():
    truth, answer, group = uneven()
    table = metrics.scores(truth, answer, group, seed=3, draws=60)
    order = list(dict.fromkeys(group))  # lesions as they first appear
    drawn = []
    for weights in metrics._draws(len(order), 60, 3):
        times = [weights[order.index(g)] for g in group]
        drawn.append(by_sklearn(np.repeat(truth, times), np.repeat(answer, times)))
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    assert np.allclose(table.low, low) and np.allclose(table.high, high)


def test_the_mean_is_drawn_by_lesion_as_in_a_plain_loop():
    group = uneven()[2]
    values = np.random.default_rng(2).random(90)
    mean, low, high = metrics.mean_interval(values, group, seed=3, draws=60)
    order = list(dict.fromkeys(group))
    drawn = []
    for weights in metrics._draws(len(order), 60, 3):
        drawn.append(
            np.mean(np.repeat(values, [weights[order.index(g)] for g in group]))
        )
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))))


def test_the_interval_of_a_mean():
    values = np.random.default_rng(0).random(1600)

    def wide(n, copies=1, group=None):
        x = np.repeat(values[:n], copies)
        group = np.repeat(np.arange(n), copies) if group is None else group
        mean, low, high = metrics.mean_interval(x, group)
        assert low < mean < high
        return high - low

    assert wide(1600) < 0.5 * wide(100)
    assert wide(100, copies=4) == pytest.approx(wide(100))
    assert wide(100, copies=4) > 1.5 * wide(100, copies=4, group=np.arange(400))


def test_the_seed_decides():
    data = uneven()
    one, same, other = (metrics.scores(*data, seed=s) for s in (1, 1, 2))
    assert one.equals(same) and not one.equals(other)
    values = data[2] / 40
    one, same, other = (metrics.mean_interval(values, data[2], s) for s in (1, 1, 2))
    assert one == same != other


def test_each_lesion_is_drawn_as_often_as_any_other():
    weights = metrics._draws(50, 4000, 0)
    assert weights.shape == (4000, 50) and (weights.sum(1) == 50).all()
    assert np.abs(weights.mean(0) - 1).max() < 0.1


def test_a_picture_of_an_unknown_lesion_stands_alone():
    truth, answer, values = list("aabbab"), list("ababaa"), [1, 0, 1, 0, 1, 1]
    unknown = ["1", None, "2", None, np.nan, "1"]
    named = ["1", "x", "2", "y", "z", "1"]
    one, two = (metrics.scores(truth, answer, g) for g in (unknown, named))
    assert one.equals(two)
    one, two = (metrics.mean_interval(values, g) for g in (unknown, named))
    assert one == two
