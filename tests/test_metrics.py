"""Scores with intervals that respect lesions."""

import numpy as np
import pandas as pd
import pytest
from errors import refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from helpers import metrics
from helpers.settings import CourseError

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


def bounds(table):
    return table[["low", "high"]].to_numpy()


def test_draws_in_chunks_are_the_draws_at_once(monkeypatch):
    data = uneven()
    ranked = data[0], rough(data[0]), list("abc"), data[2], "a"
    made = [(metrics.scores(*data), metrics.ranking(*ranked))]
    monkeypatch.setattr(metrics, "CHUNK", 300)
    made.append((metrics.scores(*data), metrics.ranking(*ranked)))
    for one, two in zip(*made, strict=True):
        assert np.allclose(bounds(one), bounds(two))


@pytest.mark.filterwarnings("error")
@given(NAMES)
@hypothesis_settings(max_examples=80, deadline=None)
def test_recall_and_precision_are_scikit_learns(pairs):
    truth, answer = map(list, zip(*pairs, strict=True))
    table = metrics.per_class(truth, answer, range(len(pairs)), draws=20)
    assert list(table.index) == sorted({*truth, *answer})
    how = {"labels": table.index, "average": None, "zero_division": np.nan}
    for name, score in (("recall", recall_score), ("precision", precision_score)):
        expected = score(truth, answer, **how)
        assert np.allclose(table[name], expected, equal_nan=True)
    assert list(table.n) == [truth.count(name) for name in table.index]
    assert table.lesions.equals(table.n)


@pytest.mark.filterwarnings("error")
def test_a_class_never_answered_has_no_precision():
    truth, answer = list("aabbcc"), list("aaaddd")
    table = metrics.per_class(truth, answer, [1, 1, 2, 3, None, None])
    missing = ["precision", "precision low", "precision high"]
    assert table.loc[["b", "c"], missing].isna().all(axis=None)
    assert table.loc[["b", "c"], "recall"].eq(0).all()
    assert table.loc["d"].filter(like="recall").isna().all()
    assert list(table.n) == [2, 2, 2, 0] and list(table.lesions) == [1, 2, 2, 0]


def test_recall_and_precision_are_drawn_as_in_a_plain_loop():
    truth, answer, group = uneven()
    table = metrics.per_class(truth, answer, group, seed=3, draws=60)
    drawn = []
    for t, a in redrawn(group, 60, 3, truth, answer):
        how = {"labels": list("abc"), "average": None, "zero_division": np.nan}
        drawn.append([f(t, a, **how) for f in (recall_score, precision_score)])
    low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
    for i, name in enumerate(("recall", "precision")):
        assert np.allclose(table[f"{name} low"], low[i])
        assert np.allclose(table[f"{name} high"], high[i])


def redrawn(group, draws, seed, *columns):
    """The pictures of each bootstrap draw, repeated as often as their lesion is drawn."""
    order = list(dict.fromkeys(group))  # lesions as they first appear
    for weights in metrics._draws(len(order), draws, seed):
        times = [weights[order.index(g)] for g in group]
        yield [np.repeat(column, times, axis=0) for column in columns]


def test_the_difference_is_paired():
    truth, first, group = sample(300)
    second = np.where(np.arange(300) < 15, "c", first)  # differs in 5 % of pictures
    one, two = (metrics.scores(truth, a, group) for a in (first, second))
    gap = metrics.difference(truth, first, second, group)
    assert list(gap.index) == list(one.index)
    assert np.allclose(gap.difference, one.score - two.score)
    assert (gap.low <= gap.difference).all() and (gap.difference <= gap.high).all()
    assert (width(gap) < 0.7 * width(one)).all()
    assert gap.n.eq(300).all() and gap.lesions.eq(300).all()
    back = metrics.difference(truth, second, first, group)
    assert np.allclose(back[["low", "high"]], -gap[["high", "low"]])


def test_the_difference_is_drawn_as_in_a_plain_loop():
    truth, first, group = uneven()
    second = np.random.default_rng(5).permutation(first)
    table = metrics.difference(truth, first, second, group, seed=3, draws=60)
    drawn = [
        np.subtract(by_sklearn(t, a), by_sklearn(t, b))
        for t, a, b in redrawn(group, 60, 3, truth, first, second)
    ]
    assert np.allclose(bounds(table).T, np.percentile(drawn, (2.5, 97.5), axis=0))


def test_equal_answers_differ_by_exactly_nothing():
    truth, answer, group = uneven()
    gap = metrics.difference(truth, answer, list(answer), group)
    assert (gap[["difference", "low", "high"]] == 0).all(axis=None)


def rough(truth, seed: int = 0, levels: int = 8):
    """Scores (N×3) that know a little of the truth, with many ties."""
    rng = np.random.default_rng(seed)
    known = np.asarray(truth)[:, None] == list("abc")
    return np.round((known + rng.normal(size=known.shape)) * levels / 4) / levels


def sensitivity(positive, score, weight, specificity):
    false, true, _ = roc_curve(
        positive, score, sample_weight=weight, drop_intermediate=False
    )
    return true[1 - false >= specificity - 1e-12].max()


def ranks_by_sklearn(truth, probs, classes, positive, weight=None) -> list[float]:
    weight = np.ones(len(truth)) if weight is None else weight
    rows = {}
    for name, score in zip(classes, probs.T, strict=True):
        y = np.asarray(truth) == name
        if not (weight[y].sum() and weight[~y].sum()):
            rows[name] = [np.nan] * 4
            continue
        rows[name] = [
            roc_auc_score(y, score, sample_weight=weight),
            average_precision_score(y, score, sample_weight=weight),
            *(sensitivity(y, score, weight, s) for s in (0.9, 0.95)),
        ]
    ranked = [row[:2] for row in rows.values() if not np.isnan(row[0])]
    return [*np.mean(ranked, axis=0), *rows.get(positive, [])]


@pytest.mark.filterwarnings("error")
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), *[st.integers(0, 4)] * 3),
        min_size=2,
        max_size=60,
    ).filter(lambda rows: len({row[0] for row in rows}) > 1)
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_ranks_are_scikit_learns_with_ties(rows):
    truth, *columns = zip(*rows, strict=True)
    probs = np.transpose(columns) / 4
    table = metrics.ranking(truth, probs, "abc", range(len(rows)), "b", draws=20)
    expected = ranks_by_sklearn(truth, probs, "abc", "b")
    assert np.allclose(table.score, expected, equal_nan=True)


@pytest.mark.parametrize("m", [1, 2, 3, 7, 17, 99])
def test_a_specificity_that_is_just_reached_counts(m):
    """Of 20 m negatives, m score more than the second of four positives, 2 m than the
    third: specificities of exactly 95 % and 90 %."""
    score = np.repeat([3, 2, 1.5, 1, 0.5, 0, -1], [1, m, 1, m, 1, 18 * m, 1])
    truth = np.where(np.isin(score, [3, 1.5, 0.5, -1]), "a", "b")
    probs = np.stack([score, -score], axis=1)
    table = metrics.ranking(truth, probs, "ab", range(len(truth)), "a", draws=2)
    assert list(table.score[-2:]) == [3 / 4, 2 / 4]


def test_the_rows_of_a_ranking():
    truth = np.array(list("aaaabbbbbb"))
    table = metrics.ranking(truth, rough(truth), "abc", [0, 0, *range(8)], "a")
    assert list(table.index) == [
        "macro-AUC",
        "macro-PR-AUC",
        "a AUC",
        "a PR-AUC",
        "a sensitivity at 90% specificity",
        "a sensitivity at 95% specificity",
    ]
    assert list(table) == ["score", "low", "high", "blind", "n", "lesions"]
    assert np.allclose(table.blind, [0.5, 0.5, 0.5, 0.4, 0.1, 0.05])
    assert table.n.eq(10).all() and table.lesions.eq(8).all()
    assert len(metrics.ranking(truth, rough(truth), "abc", range(10))) == 2
    unseen = metrics.ranking(truth, rough(truth), "abc", range(10), "c")
    assert unseen[2:][["score", "low", "high"]].isna().all(axis=None)
    assert unseen[:2].equals(
        table[:2].assign(lesions=10, **unseen[["low", "high"]][:2])
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pictures", [5, 90])
def test_ranks_are_drawn_as_in_a_plain_loop(pictures):
    """Of 5 pictures, draws lose a class, or all but one."""
    truth, _, group = (column[-pictures:] for column in uneven())
    probs = rough(truth)
    table = metrics.ranking(truth, probs, "abc", group, "b", seed=3, draws=60)
    order, drawn = list(dict.fromkeys(group)), []
    for weights in metrics._draws(len(order), 60, 3):
        weight = np.array([weights[order.index(g)] for g in group])
        if len(set(truth[weight > 0])) > 1:
            drawn.append(ranks_by_sklearn(truth, probs, "abc", "b", weight))
    assert (len(drawn) < 60) == (pictures == 5)
    low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
    assert np.allclose(table.low, low) and np.allclose(table.high, high)


def test_answering_without_looking_scores_what_blind_says():
    rng = np.random.default_rng(0)
    truth = rng.choice(list("aaabbc"), 20_000)
    probs = rng.random((20_000, 3))
    table = metrics.ranking(truth, probs, "abc", range(20_000), "b", draws=20)
    assert np.allclose(table.score, table.blind, atol=0.015)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_are_drawn_by_lesion(seed):
    truth, _, group = sample(200, seed=seed)
    probs = rough(truth, seed)
    once = metrics.ranking(truth, probs, "abc", group, "b")
    assert (once.low < once.score).all() and (once.score < once.high).all()
    copied = [np.repeat(x, 4, axis=0) for x in (truth, probs, group)]
    by_lesion = metrics.ranking(*copied[:2], "abc", copied[2], "b")
    by_picture = metrics.ranking(*copied[:2], "abc", range(800), "b")
    assert np.allclose(bounds(by_lesion), bounds(once))
    assert (width(by_lesion) > 1.3 * width(by_picture)).all()
    assert by_lesion.n.eq(800).all() and by_lesion.lesions.eq(200).all()


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_drawn_by_lesion(seed):
    table = metrics.per_class(*sample(300, copies=4, seed=seed))
    truth, answer, _ = sample(300, copies=4, seed=seed)
    by_picture = metrics.per_class(truth, answer, range(1200))
    for name in ("recall", "precision"):
        low, high = f"{name} low", f"{name} high"
        assert (table[low] < table[name]).all() and (table[name] < table[high]).all()
        wide, narrow = (t[high] - t[low] for t in (table, by_picture))
        assert (wide > 1.5 * narrow).all()
    assert table.n.eq(4 * table.lesions).all()


def test_a_score_that_resampling_raises_can_be_centred():
    values = np.random.default_rng(0).normal(size=(200, 1))

    def size(sums):
        return np.abs(sums)

    raised, centred = (
        metrics.interval(size, values - values.mean(), range(200), centred=c)
        for c in (False, True)
    )
    assert raised[0] == centred[0] < raised[1] and centred[1] < centred[0] < centred[2]
    assert np.allclose(np.diff(raised[1:], axis=0), np.diff(centred[1:], axis=0))


FOUR = np.full((4, 2), 0.5)
HOLE = np.array([[0.5, 0.5], [0.5, 0.5], [np.nan, 0.5], [np.inf, 0]])


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: metrics.scores("ab", "abb", "ab"), "answer has 3"),
        (lambda: metrics.per_class("ab", "ab", "abb"), "group has 3"),
        (lambda: metrics.difference("ab", "ab", "abb", "ab"), "second has 3"),
        (
            lambda: metrics.ranking(list("abb"), FOUR, "ab", "1234"),
            "truth has 3, probs has 4",
        ),
        (lambda: metrics.mean_interval([1, 2], "abb"), "values has 2, group has 3"),
        (lambda: metrics.scores([], [], []), "table is empty"),
        (lambda: metrics.per_class([], [], []), "table is empty"),
        (lambda: metrics.difference([], [], [], []), "table is empty"),
        (lambda: metrics.ranking([], FOUR[:0], "ab", []), "table is empty"),
        (lambda: metrics.mean_interval([], []), "table is empty"),
        (
            lambda: metrics.ranking(list("abab"), HOLE, "ab", "1234"),
            "2 of 4 rows .* row 2;",
        ),
        (
            lambda: metrics.ranking(list("abac"), FOUR, "ab", "1234"),
            "no column for c, only",
        ),
        (lambda: metrics.ranking([0, 1, 0, 1], FOUR, "ab", "1234"), "column for 0, 1"),
        (
            lambda: metrics.ranking(list("abab"), FOUR, "abc", "1234"),
            r"\(4, 2\) .* 3 classes",
        ),
        (
            lambda: metrics.ranking(list("aaaa"), FOUR, "ab", "1234"),
            "all pictures are a: ",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(call, said):
    with pytest.raises(CourseError, match=said) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_told_is_the_mean_with_its_interval():
    values, group = np.array([-1.0, 0, 2, np.nan]), list("abcd")
    mean, low, high = metrics.mean_interval(values[:3], group[:3])
    text = f"{mean:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert metrics.told(values, group) == text and "−" in text


def test_strata_are_means_of_their_parts():
    rng = np.random.default_rng(0)
    values, group = rng.random(40), rng.integers(0, 20, 40)
    first = np.arange(40) < 25
    parts = {"first": first, "last": ~first, "few": np.arange(40) < 3}
    found = metrics.strata(values, group, parts)
    assert list(found.index) == ["first", "last"] and list(found.n) == [25, 15]
    whole = metrics.means({"first": values[first]}, group[first])
    pd.testing.assert_frame_equal(found.loc[["first"]], whole)
    refused(lambda: metrics.strata(values, group, parts, least=30), "no part has 30")
