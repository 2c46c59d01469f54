"""Probabilities, and what is done with them."""

import math
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.classification import MulticlassCalibrationError

from helpers import calibration, metrics
from helpers.settings import CourseError

FEW = hypothesis_settings(max_examples=30, deadline=None)
SEEDS = st.integers(0, 10_000)


def labels(probs, rng) -> np.ndarray:
    """A true class for each picture, drawn from its probabilities."""
    return (rng.random((len(probs), 1)) > probs.cumsum(1)[:, :-1]).sum(1)


def source(n: int, classes: int = 4, seed: int = 0, spread: float = 2):
    """Logits that are calibrated, and truth; the last class is rare."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * spread
    logits[:, -1] -= 1
    return logits, labels(softmax(logits, axis=1), rng)


def test_softmax_is_scipys_and_a_temperature_divides():
    logits = source(50)[0] * 100
    assert np.allclose(calibration.softmax(logits), softmax(logits, axis=1))
    assert np.allclose(calibration.softmax(logits, 2), softmax(logits / 2, axis=1))
    assert np.allclose(calibration.softmax(logits, 1e6), 0.25, atol=1e-3)


@given(SEEDS, st.integers(1, 300), st.floats(0.2, 3))
@FEW
def test_the_measures_are_those_of_trusted_libraries(seed, n, factor):
    logits, truth = source(n, seed=seed)
    probs = softmax(logits * factor, axis=1)
    everyone = range(4)
    assert calibration.nll(probs, truth) == pytest.approx(
        log_loss(truth, probs, labels=everyone)
    )
    assert calibration.brier(probs, truth) == pytest.approx(
        brier_score_loss(truth, probs, labels=everyone, scale_by_half=False)
    )
    for bins in (1, 10, 15):
        trusted = MulticlassCalibrationError(4, n_bins=bins, norm="l1")
        expected = trusted(torch.tensor(probs), torch.tensor(truth)).item()
        assert calibration.ece(probs, truth, bins) == pytest.approx(expected, abs=1e-6)


def test_certainty_and_impossibility_are_scored():
    sure = np.array([[1.0, 0], [1, 0], [0, 1], [0.97, 0.03]])
    truth = np.array([0, 1, 1, 0])
    assert calibration.ece(sure, truth) == pytest.approx(0.97 / 4)  # one bin, with 1
    assert calibration.ece(sure[:3], truth[:3]) == pytest.approx(1 / 3)
    assert calibration.nll(sure, truth) == pytest.approx(log_loss(truth, sure))
    assert calibration.nll(sure[:1], truth[:1]) == 0
    assert calibration.brier(sure[1:2], truth[1:2]) == 2
    assert list(calibration.reliability(sure, truth).n) == [4]
    bins = calibration._in_bins(np.array([0, 0.1, 0.2, 1, 1 + 1e-9]), 5)
    assert bins.argmax(1).tolist() == [0, 0, 1, 4, 4]


def test_a_calibrated_source_is_at_the_floor():
    """Labels drawn anew: their mean ECE is the floor's, and 2.5 % lie above its end."""
    logits, _ = source(1000)
    probs, rng = softmax(logits, axis=1), np.random.default_rng(1)
    mean, high = calibration.floor(probs, draws=2000)
    found = np.array([calibration.ece(probs, labels(probs, rng)) for _ in range(1200)])
    assert found.mean() == pytest.approx(mean, rel=0.03)
    few, many = stats.binom.ppf([0.001, 0.999], 1200, 0.025)
    assert few <= (found > high).sum() <= many
    assert calibration.ece(probs, source(1000)[1]) < high
    sharp = softmax(2 * logits, axis=1)
    assert calibration.ece(sharp, source(1000)[1]) > calibration.floor(sharp)[1]


def test_the_floor_falls_with_n_and_its_seed_decides():
    few, many = (calibration.floor(softmax(source(n)[0], axis=1)) for n in (100, 6400))
    assert many[0] < 0.3 * few[0] and few[0] < few[1]
    probs = softmax(source(100)[0], axis=1)
    assert calibration.floor(probs) == few != calibration.floor(probs, seed=1)


def test_the_table_of_measures():
    logits, truth = source(400)
    probs, group = softmax(2 * logits, axis=1), np.arange(400) // 2
    table = calibration.measures(probs, truth, group)
    assert list(table) == ["score", "low", "high", "floor", "n", "lesions"]
    alone = [getattr(calibration, f)(probs, truth) for f in ("ece", "brier", "nll")]
    assert list(table.index) == ["ECE", "Brier", "NLL"]
    assert np.allclose(table.score, alone)
    assert (table.low < table.score).all() and (table.score < table.high).all()
    assert table.floor["ECE"] == calibration.floor(probs)[0]
    assert table.floor[["Brier", "NLL"]].isna().all()
    assert table.n.eq(400).all() and table.lesions.eq(200).all()
    assert table.equals(calibration.measures(probs, truth, group))
    assert not table.equals(calibration.measures(probs, truth, group, seed=1))


def test_measures_are_drawn_as_in_a_plain_loop():
    logits, truth = source(90)
    probs = softmax(2 * logits, axis=1)
    group = np.random.default_rng(1).integers(0, 40, 90)
    order = list(dict.fromkeys(group))
    drawn = []
    for weights in metrics._draws(len(order), 60, 3):
        rows = np.repeat(np.arange(90), [weights[order.index(g)] for g in group])
        again = probs[rows], truth[rows]
        drawn.append([getattr(calibration, f)(*again) for f in ("ece", "brier", "nll")])
    table = calibration.measures(probs, truth, group, seed=3, draws=60)
    bounds = np.percentile(drawn, (2.5, 97.5), axis=0)
    raised = np.mean(drawn, axis=0) - table.score.to_numpy()
    assert raised[0] > 0  # the ECE of resamples is too high: it is moved back
    bounds -= raised
    assert np.allclose(table[["low", "high"]].T, bounds)


def test_the_interval_of_a_calibrated_ece_holds_it_and_mostly_its_floor():
    """The floor lies in 95 % of the intervals: of 40, in 33 or more (but for 0.1 %)."""
    held = 0
    for seed in range(40):
        logits, truth = source(300, seed=seed)
        probs = softmax(logits, axis=1)
        table = calibration.measures(probs, truth, range(300), draws=200)
        row = table.loc["ECE"]
        assert 0 <= row.low < row.score < row.high
        held += row.low < row.floor < row.high
    assert held >= stats.binom.ppf(0.001, 40, 0.95)


def test_no_ece_is_below_0():
    half = np.full((40, 2), 0.5), np.arange(40) % 2, range(40)
    row = calibration.measures(*half).loc["ECE"]
    assert row.score == row.low == 0 < row.high


def test_copies_of_a_lesion_make_no_measure_surer():
    logits, truth = source(200)
    probs, group = softmax(2 * logits, axis=1), np.arange(200)
    once = calibration.measures(probs, truth, group)
    copied = [np.repeat(x, 4, axis=0) for x in (probs, truth, group)]
    by_lesion = calibration.measures(*copied)
    by_picture = calibration.measures(*copied[:2], range(800))
    shared = ["score", "low", "high"]
    assert np.allclose(by_lesion[shared], once[shared])
    widths = [table.high - table.low for table in (by_lesion, by_picture)]
    assert (widths[0] > 1.5 * widths[1]).all()


@given(SEEDS, st.integers(1, 300), st.integers(1, 20))
@FEW
def test_reliability_adds_up_to_the_ece_with_wilsons_intervals(seed, n, bins):
    logits, truth = source(n, seed=seed)
    probs = softmax(logits, axis=1)
    table = calibration.reliability(probs, truth, bins)
    assert table.n.sum() == n and (table.n > 0).all()
    gap = (table.accuracy - table.confidence).abs() @ table.n / n
    assert gap == pytest.approx(calibration.ece(probs, truth, bins))
    for row in table.itertuples():
        right = stats.binomtest(round(row.accuracy * row.n), row.n)
        wilson = right.proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx(tuple(wilson), abs=1e-9)
        where = row.confidence * bins
        assert abs(where - math.floor(where) - 0.5) <= 0.5
    assert table.confidence.is_monotonic_increasing


@given(SEEDS, st.floats(0.2, 5))
@FEW
def test_a_temperature_changes_no_answer_and_lowers_the_nll(seed, factor):
    logits, truth = source(120, seed=seed)
    logits = logits * factor
    found = calibration.temperature(logits, truth)
    before, after = (calibration.softmax(logits, t) for t in (1, found))
    assert (before.argmax(1) == after.argmax(1)).all()
    order = np.argsort(logits, axis=1)
    assert (np.diff(np.take_along_axis(after, order, axis=1)) >= 0).all()
    nll = [calibration.nll(p, truth) for p in (before, after)]
    assert nll[1] <= nll[0] + 1e-9
    for other in (0.9, 1.1):
        assert nll[1] <= calibration.nll(
            calibration.softmax(logits, found * other), truth
        )


@pytest.mark.parametrize("factor", [0.25, 1, 3, 8])
def test_a_known_temperature_is_found(factor):
    logits, truth = source(20_000)
    own = calibration.temperature(logits, truth)
    assert own == pytest.approx(1, abs=0.03)
    found = calibration.temperature(np.float32(logits * factor), truth)
    assert found == pytest.approx(own * factor, rel=1e-3)


def test_a_temperature_stays_in_its_bounds():
    sure = np.eye(2) / 2  # always right: the surer the better
    assert calibration.temperature(sure, [0, 1]) == pytest.approx(0.05, rel=1e-3)
    assert calibration.temperature(sure, [1, 0]) == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize("actual", [[0.5, 0.5], [0.95, 0.05], [1, 9]])
def test_a_prior_shift_is_bayes(actual):
    """Two Gaussians, whose posterior is known for any shares, or counts."""
    trained, x = np.array([0.3, 0.7]), np.linspace(-4, 4, 50)
    density = np.stack([stats.norm.pdf(x, -1), stats.norm.pdf(x, 1, 2)], 1)
    logits = np.log(density * trained) + 5
    shifted = calibration.softmax(calibration.prior_shift(logits, trained, actual))
    bayes = density * actual / (density @ actual)[:, None]
    assert np.allclose(shifted, bayes)
    back = calibration.prior_shift(
        calibration.prior_shift(logits, trained, actual), actual, trained
    )
    assert np.allclose(back, logits)


def by_hand(probs_cal, truth_cal, probs, alpha):
    sets = np.ones(probs.shape, bool)
    for c in range(probs.shape[1]):
        own = np.sort(1 - probs_cal[truth_cal == c, c])
        rank = math.ceil(round((len(own) + 1) * (1 - alpha), 9))  # 0.7 * 10 is above 7
        if rank <= len(own):
            sets[:, c] = 1 - probs[:, c] <= own[rank - 1]
    return sets


@given(SEEDS, st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5]), st.booleans())
@FEW
def test_conformal_sets_are_those_of_the_plain_definition(seed, alpha, ties):
    logits, truth = source(150, seed=seed)
    probs = softmax(logits, axis=1)
    if ties:
        probs = np.round(probs * 8) / 8
        probs[:, 0] += 1 - probs.sum(1)
        probs = np.where((probs < 0).any(1, keepdims=True), 0.25, probs)
    data = probs[:90], truth[:90], probs[90:]
    sets = calibration.conformal(*data, alpha)
    assert sets.dtype == bool and (sets == by_hand(*data, alpha)).all()


@pytest.mark.parametrize("alpha, enough", [(0.1, 9), (0.05, 19), (0.2, 4), (0.5, 1)])
def test_a_class_with_too_few_pictures_is_in_every_set(alpha, enough):
    """1/alpha - 1 pictures are enough to leave a class out; one fewer is not."""
    for n in (0, enough - 1, enough):
        probs_cal = np.tile([0.4, 0.6], (50 + n, 1))
        truth = np.array([0] * 50 + [1] * n)
        sets = calibration.conformal(probs_cal, truth, np.array([[1.0, 0]]), alpha)
        assert sets.tolist() == [[True, n < enough]]


def test_conformal_sets_cover_each_class():
    """Exchangeable pictures: the covered of m are beta-binomial, given n calibrated.

    A true class is held if its rank among n + 1 is not in the lowest l = floor(alpha
    (n + 1)), so that coverage is Beta(n + 1 - l, l). Each class within 99.9 %.
    """
    logits, truth = source(6000, spread=1.5)
    probs = softmax(3 * logits, axis=1)  # overconfident: the promise does not mind
    cal, test = slice(0, 2000), slice(2000, None)
    sets = calibration.conformal(probs[cal], truth[cal], probs[test], 0.1)
    table = calibration.coverage(sets, truth[test], range(4000), "abcd")
    for c, name in enumerate("abcd"):
        n, m = ((truth[part] == c).sum() for part in (cal, test))
        least = math.floor(0.1 * (n + 1))
        low, high = stats.betabinom.ppf([5e-4, 1 - 5e-4], m, n + 1 - least, least)
        assert low <= round(table.coverage[name] * m) <= high
        assert high - low < 0.15 * m  # the bound says something


def test_conformal_leaves_the_filters_of_warnings_alone(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "crepes"]:
        monkeypatch.delitem(sys.modules, name)
    before = list(warnings.filters)
    calibration.conformal(np.full((2, 2), 0.5), [0, 1], np.full((1, 2), 0.5))
    assert warnings.filters == before


def test_one_picture_of_each_lesion():
    rng = np.random.default_rng(0)
    group = pd.Series(rng.integers(0, 300, 1000)).map("L{}".format)
    mask = calibration.one_per_lesion(group)
    assert mask.dtype == bool and mask.shape == (1000,)
    assert sorted(group[mask]) == sorted(set(group))
    assert (mask == calibration.one_per_lesion(list(group))).all()
    assert (mask != calibration.one_per_lesion(group, seed=1)).any()


def test_the_pictures_of_a_lesion_have_equal_chances():
    group = np.repeat(np.arange(9000), 3)
    rank = np.tile(np.arange(3), 9000)[calibration.one_per_lesion(group)]
    assert stats.chisquare(np.bincount(rank)).pvalue > 0.001


def test_the_choice_in_a_lesion_minds_no_other_lesion():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"group": rng.integers(0, 90, 400), "id": range(400)})
    chosen = set(table.id[calibration.one_per_lesion(table.group, 5)])
    shuffled = table.sample(frac=1, random_state=1).sort_values("group", kind="stable")
    ordered = shuffled.sort_values(["group", "id"], ascending=[False, True])
    assert chosen == set(ordered.id[calibration.one_per_lesion(ordered.group, 5)])
    some = table[table.group < 30]
    part = set(some.id[calibration.one_per_lesion(some.group, 5)])
    assert part == chosen & set(some.id)


def test_pictures_of_unknown_lesions_are_all_chosen():
    mask = calibration.one_per_lesion(["a", None, "a", np.nan, "b"])
    assert mask[[1, 3, 4]].all() and mask.sum() == 4
    assert calibration.one_per_lesion([None, None]).all()


def test_the_table_of_coverage():
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]], bool)
    truth, group = np.array([0, 1, 0, 1, 0]), ["x", "x", "y", None, None]
    table = calibration.coverage(sets, truth, group, ["a", "b", "c"])
    assert list(table) == ["coverage", "low", "high", "set size", "n", "lesions"]
    assert list(table.index) == ["a", "b", "c", "all"]
    assert np.allclose(table.coverage, [1 / 3, 1, np.nan, 0.6], equal_nan=True)
    assert np.allclose(table["set size"], [1, 2.5, np.nan, 8 / 5], equal_nan=True)
    assert list(table.n) == [3, 2, 0, 5] and list(table.lesions) == [3, 2, 0, 4]
    held = sets[np.arange(5), truth]
    everyone = metrics.mean_interval(held, group)
    assert tuple(table.loc["all"].iloc[:3]) == pytest.approx(everyone)
    assert table.loc["c", ["low", "high"]].isna().all()


def test_costs_by_hand():
    positive = np.array([1, 1, 0, 0, 0], bool)
    p = np.array([0.3, 0.9, 0.6, 0.45, 0.05])
    assert calibration.cost(positive, p >= 0.5, 10) == (10 + 1) / 5
    table = calibration.cost_table(p, positive, [1, 4, 19])
    rules = ["at the threshold 1/(1+k)", "argmax-like 0.5", "flag all", "flag none"]
    assert list(table) == rules and table.index.name == "k"
    expected = [[2, 2, 3, 2], [2, 5, 3, 8], [3, 20, 3, 38]]
    assert np.allclose(table, np.divide(expected, 5))


def test_the_threshold_is_the_best_for_calibrated_probabilities():
    p = np.random.default_rng(0).random(20_000)
    positive = np.random.default_rng(1).random(20_000) < p
    table = calibration.cost_table(p, positive, [0.2, 5, 30])
    others = table.drop(columns="at the threshold 1/(1+k)")
    assert table["at the threshold 1/(1+k)"].lt(others.min(axis=1)).all()
    for k, row in table.iterrows():
        thresholds = np.linspace(0.01, 0.99, 99)
        costs = [calibration.cost(positive, p >= t, k) for t in thresholds]
        assert row["at the threshold 1/(1+k)"] <= min(costs) * 1.02


HALF = np.full((4, 2), 0.5)
HOLE = np.array([[0, 1], [0, np.nan], [0, np.inf], [1, 0]])
YES = [True, False]


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: calibration.temperature(HALF[:0], []), "table is empty"),
        (
            lambda: calibration.temperature(HOLE, [0, 1, 0, 1]),
            "logits: 2 of 4 .* row 1",
        ),
        (lambda: calibration.temperature(HALF, [1] * 4), "class 1: .* nothing of the"),
        (lambda: calibration.temperature(HALF, [0, 1]), "logits has 4, truth has 2"),
        (lambda: calibration.nll(HALF, [0, 1, 2, 0]), "whole numbers from 0 to 1"),
        (lambda: calibration.nll(HALF, [0, 1, -1, 0]), "whole numbers from 0 to 1"),
        (lambda: calibration.ece(HALF, list("abab")), "whole numbers from 0 to 1"),
        (lambda: calibration.ece(HALF[:, 0], [0, 1, 0, 1]), r"shape \(4,\)"),
        (lambda: calibration.brier(HALF * 2, [0, 1, 0, 1]), "calibration.softmax"),
        (lambda: calibration.brier([[2, -1]], [0]), "calibration.softmax"),
        (lambda: calibration.brier(HOLE, [0, 1, 0, 1]), "probs: 2 of 4"),
        (lambda: calibration.floor(HALF[:0]), "table is empty"),
        (lambda: calibration.reliability(HALF, [0]), "truth has 1"),
        (lambda: calibration.measures(HALF, [0, 1, 0, 1], "abc"), "group has 3"),
        (lambda: calibration.prior_shift(HALF, [1, 0], [1, 1]), "trained has a share"),
        (lambda: calibration.prior_shift(HALF, [1, 1], [1, 0]), "actual has a share"),
        (lambda: calibration.prior_shift(HALF, [1, 1], [1, np.nan]), "actual has a"),
        (lambda: calibration.prior_shift(HALF, [1, 1, 1], [1, 1]), "and .* 2 classes"),
        (lambda: calibration.prior_shift(HALF, 1, [1, 1]), "trained has shape"),
        (lambda: calibration.prior_shift(HOLE, [1, 1], [1, 1]), "logits: 2 of 4"),
        (lambda: calibration.conformal(HALF[:0], [], HALF), "table is empty"),
        (lambda: calibration.conformal(HALF, [0, 1], HALF), "truth has 2"),
        (lambda: calibration.conformal(HALF, [0, 1] * 2, np.eye(3)), "are 2 classes"),
        (lambda: calibration.coverage(HALF, [0, 1] * 2, [1, 2], "ab"), "group has 2"),
        (lambda: calibration.coverage(HALF, [0, 1] * 2, range(4), "abc"), "3 classes"),
        (
            lambda: calibration.cost(YES, [True], 2),
            "truth_positive has 2, flagged has 1",
        ),
        (lambda: calibration.cost([], [], 2), "table is empty"),
        (lambda: calibration.cost_table([0.1], YES, [2]), "p has 1"),
        (lambda: calibration.cost_table([0.1, np.nan], YES, [2]), "p: 1 of 2"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(call, said):
    with pytest.raises(CourseError, match=said) as refused:
        call()
    assert "\n" not in str(refused.value)
