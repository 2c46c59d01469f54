"""Scores with intervals that respect lesions. Taught in notebooks 01 and 02.

The bootstrap draws lesions, not pictures, for pictures of one lesion are not
independent. A draw is a weight per lesion, so that many draws are one product. One lesion
alone says nothing of others: its interval is missing (NaN).
"""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from .settings import CourseError

CHUNK = 100  # draws held at once: 20 MB for 25,000 lesions
SCORES = ["accuracy", "balanced accuracy", "macro-F1"]
SPECIFICITIES = (0.9, 0.95)
RANKS = ["AUC", "PR-AUC"] + [
    f"sensitivity at {s:.0%} specificity" for s in SPECIFICITIES
]


def confusion(truth, answer, classes) -> np.ndarray:
    """Counts (C×C): rows are true classes, columns are answers."""
    place = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(place), len(place)))
    rows, cols = ([place[v] for v in values] for values in (truth, answer))
    np.add.at(counts, (rows, cols), 1)
    return counts


def from_confusion(counts: np.ndarray) -> np.ndarray:
    """Accuracy, balanced accuracy, macro-F1 of counts (…×C×C), as …×3.

    A class without a true picture has no recall: it is left out of the averages.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    true, said = counts.sum(-1), counts.sum(-2)
    known = true > 0
    with np.errstate(invalid="ignore"):
        recall = np.where(known, hits / true, np.nan)
        f1 = np.where(known, 2 * hits / (true + said), np.nan)
        accuracy = hits.sum(-1) / true.sum(-1)
    return np.stack([accuracy, np.nanmean(recall, -1), np.nanmean(f1, -1)], -1)


def scores(truth, answer, group, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """Accuracy, balanced accuracy, macro-F1 with 95 % intervals, n and lesions."""
    check_rows(truth=truth, answer=answer, group=group)
    cells, _ = _cells(truth, answer)
    found = interval(lambda s: from_confusion(_square(s)), cells, group, seed, draws)
    return table(SCORES, found, group)


def difference(
    truth, first, second, group, seed: int = 0, draws: int = 1000
) -> pd.DataFrame:
    """By how much the first answer beats the second: paired, in the same draws."""
    check_rows(truth=truth, first=first, second=second, group=group)
    both, _ = _cells(np.tile(truth, 2), np.concatenate([first, second]))

    def gap(sums):
        one, two = (from_confusion(_square(s)) for s in np.split(sums, 2, axis=-1))
        return one - two

    found = interval(gap, np.hstack(np.split(both, 2)), group, seed, draws)
    return table(SCORES, found, group, "difference")


def per_class(truth, answer, group, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """Recall and precision of each class, with 95 % intervals, its n and lesions.

    A class that is never the answer has no precision; one that is never true, no recall.
    """
    check_rows(truth=truth, answer=answer, group=group)
    cells, classes = _cells(truth, answer)

    def rates(sums):
        counts = _square(sums)
        hits = np.diagonal(counts, axis1=-2, axis2=-1)
        with np.errstate(invalid="ignore"):
            return np.concatenate([hits / counts.sum(-1), hits / counts.sum(-2)], -1)

    found = np.split(interval(rates, cells, group, seed, draws), 2, axis=1)
    columns = {}
    for name, (value, low, high) in zip(("recall", "precision"), found, strict=True):
        columns |= {name: value, f"{name} low": low, f"{name} high": high}
    lesion = pd.Series(_numbered(group)[0]).groupby(np.asarray(truth))
    for name, counts in (("n", lesion.size()), ("lesions", lesion.nunique())):
        columns[name] = counts.reindex(classes, fill_value=0).to_numpy()
    return pd.DataFrame(columns, index=classes)


def ranking(
    truth, probs, classes, group, positive="mel", seed: int = 0, draws: int = 1000
) -> pd.DataFrame:
    """AUC, average precision (PR-AUC) and sensitivity of probs (N×C), with intervals.

    Each class is ranked against the rest; one with no picture, or with all of them,
    is left out of the means. `blind` is what answering without looking scores.
    """
    truth, probs, classes = np.asarray(truth), np.asarray(probs, float), list(classes)
    check_rows(truth=truth, probs=probs, group=group)
    _check_ranked(truth, probs, classes)
    lesion, lesions = _numbered(group)
    is_it = np.stack([truth == name for name in classes])
    share = is_it.mean(1)
    curves = [
        _curve(*pair, lesion, lesions) for pair in zip(is_it, probs.T, strict=True)
    ]
    index, blind = ["macro-AUC", "macro-PR-AUC"], [0.5, share[share > 0].mean()]
    chosen = [i for i, name in enumerate(classes) if name == positive]
    for i in chosen:
        index += [f"{positive} {name}" for name in RANKS]
        blind += [0.5, share[i], *(1 - s for s in SPECIFICITIES)]
    found = _interval(lambda w: _ranks(curves, chosen, w), lesions, seed, draws)
    result = table(index, found, group)
    result.insert(3, "blind", blind)
    return result


def mean_interval(values, group, seed: int = 0, draws: int = 1000) -> tuple[float, ...]:
    """A mean over pictures with its 95 % interval, drawn by lesion: mean, low, high."""
    check_rows(values=values, group=group)
    values = np.asarray(values, float)
    sums = np.stack([values, np.ones(len(values))], 1)
    found = interval(lambda s: s[..., :1] / s[..., 1:], sums, group, seed, draws)
    return tuple(found[:, 0].tolist())


def told(values, group, form: str = "{:.2f} [{:.2f}, {:.2f}]") -> str:
    """The mean of `means` with its interval as text, for a line or a cell of a table."""
    mean = means({"": values}, group).loc["", ["score", "low", "high"]]
    return form.format(*mean).replace("-", "−")


def means(values: dict, group) -> pd.DataFrame:
    """`mean_interval` of several measures of the same pictures: score, low, high, n.

    Where a measure is missing (NaN) its picture is left out: n and lesions count the rest.
    """
    group, rows = np.asarray(group, object), {}
    for name, measured in values.items():
        check_rows(**{str(name): measured, "group": group})
        measured = np.asarray(measured, float)
        there = ~np.isnan(measured)
        found = [np.nan] * 3
        if there.any():
            found = mean_interval(measured[there], group[there])
        rows[name] = (*found, there.sum(), _numbered(group[there])[1])
    frame = pd.DataFrame(rows, ["score", "low", "high", "n", "lesions"]).T
    return frame.astype({"n": int, "lesions": int})


def strata(values, group, parts: dict, least: int = 10) -> pd.DataFrame:
    """`means` of one measure in parts of the pictures, each a mask (n bool) by its name.

    A part of fewer than `least` pictures is left out: its interval would tell nothing.
    """
    values, group = np.asarray(values, float), np.asarray(group, object)
    parts = {name: np.asarray(part, bool) for name, part in parts.items()}
    rows = [
        means({name: values[part]}, group[part])
        for name, part in parts.items()
        if part.sum() >= least
    ]
    if not rows:
        raise CourseError(f"no part has {least} pictures: ask for fewer, or for more")
    return pd.concat(rows)


def interval(
    function, values, group, seed: int = 0, draws: int = 1000, centred: bool = False
) -> np.ndarray:
    """A function of sums over pictures, and its 95 % interval drawn by lesion (3×m).

    values are n×k; the function turns sums (…×k) into scores (…×m). `centred` moves the
    draws so that their mean is the score, for a score that every resampling raises.
    """
    lesion, lesions = _numbered(group)
    per_lesion = _sparse(lesion, np.arange(len(lesion)), (lesions, len(lesion)))
    sums = per_lesion @ np.asarray(values, float)
    return _interval(lambda w: function(w @ sums), lesions, seed, draws, centred)


def table(index, found, group, name: str = "score") -> pd.DataFrame:
    """A row for each score of an interval (3×m), with n and lesions."""
    columns = dict(zip((name, "low", "high"), found, strict=True))
    columns |= {"n": len(group), "lesions": _numbered(group)[1]}
    return pd.DataFrame(columns, index=index)


def check_rows(**columns) -> None:
    """Refuses columns of different lengths, and empty ones."""
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} has {n:,}" for name, n in sizes.items())
        raise CourseError(f"the rows do not match: {said}; give one a picture in each")
    if not all(sizes.values()):
        raise CourseError(
            "there are no pictures to score: the table is empty; look at what selected it"
        )


def check_columns(classes: int, **arrays) -> None:
    """Refuses arrays (N×C, or C) that do not have a column for each class."""
    for name, values in arrays.items():
        if values.ndim == 0 or values.shape[-1] != classes:
            raise CourseError(
                f"{name} has shape {values.shape} and there are {classes} classes: give "
                "one column a class, in their order"
            )


def check_finite(name: str, values: np.ndarray) -> None:
    """Refuses numbers (N×C) that are missing or infinite."""
    bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise CourseError(
            f"{name}: {bad.sum():,} of {len(bad):,} rows are missing or infinite, first "
            f"row {bad.argmax()}; look for a training that diverged, or drop these rows"
        )


def _check_ranked(truth, probs, classes) -> None:
    """Refuses what cannot be ranked."""
    check_columns(len(classes), probs=probs)
    check_finite("probs", probs)
    there = set(truth)
    if strange := sorted(map(str, there - set(classes))):
        raise CourseError(
            f"no column for {', '.join(strange)}, only for {', '.join(classes)}: "
            "give truth as labels, and a column for each of them"
        )
    if len(there) == 1:
        raise CourseError(
            f"all pictures are {there.pop()}: a ranking needs two classes; add pictures"
        )


def _curve(positive, score, lesion, lesions: int) -> tuple[csr_array, csr_array]:
    """Which lesions lie where on a ROC curve, as 0/1 sums: hits G×lesions, misses.

    The thresholds are the G scores of positives, highest first, for only there does
    sensitivity change. Misses has 2G+1 rows: before, tied with, after each threshold.
    """
    levels, hit = np.unique(-score[positive], return_inverse=True)
    rest = -score[~positive]
    miss = np.searchsorted(levels, rest) + np.searchsorted(levels, rest, side="right")
    size = len(levels)
    hits = _sparse(hit, lesion[positive], (size, lesions))
    return hits, _sparse(miss, lesion[~positive], (2 * size + 1, lesions))


def _ranks(curves, chosen: list[int], weights) -> np.ndarray:
    """Macro means over the curves, and all four of the chosen one (draws × 2 or 6)."""
    weights = np.ascontiguousarray(weights.T, float)
    each = np.stack([_ranked(*curve, weights) for curve in curves])  # C×4×draws
    with np.errstate(invalid="ignore"):
        macro = np.nansum(each[:, :2], 0) / (~np.isnan(each[:, 0])).sum(0)
    return np.vstack([macro, *each[chosen]]).T


def _ranked(hits, misses, weights) -> np.ndarray:
    """AUC, average precision, sensitivity at 90 and 95 % specificity (4×draws)."""
    gain, false = hits @ weights, np.cumsum(misses @ weights, axis=0)
    true, negatives, positives = np.cumsum(gain, axis=0), false[-1], gain.sum(0)
    above, upto = false[:-1:2], false[1::2]  # false alarms before and with the ties
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = 1 - (gain * (above + upto)).sum(0) / (2 * positives * negatives)
        precision = (gain * true / np.maximum(true + upto, 1)).sum(0) / positives
        found = [auc, precision]
        for specificity in SPECIFICITIES:
            allowed = negatives - upto >= specificity * negatives
            found.append((gain * allowed).sum(0) / positives)
    return np.where((positives > 0) & (negatives > 0), found, np.nan)


def _sparse(rows, cols, shape) -> csr_array:
    """Counts of (row, column) pairs."""
    return csr_array((np.ones(len(rows)), (rows, cols)), shape=shape)


def _cells(truth, answer) -> tuple[np.ndarray, list]:
    """The cell of the confusion matrix that each picture falls in (n×C²), and classes."""
    classes = sorted(set(truth) | set(answer))
    place = {name: i for i, name in enumerate(classes)}
    cell = [
        place[t] * len(place) + place[a] for t, a in zip(truth, answer, strict=True)
    ]
    cells = np.zeros((len(cell), len(place) ** 2))
    cells[np.arange(len(cell)), cell] = 1
    return cells, classes


def _square(sums: np.ndarray) -> np.ndarray:
    """Rows of C² counts as C×C."""
    size = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], size, size)


def _interval(statistic, lesions: int, seed: int, draws: int, centred=False):
    """Score, low, high (3×m) of a statistic: weights (draws×lesions) → draws×m."""
    score = statistic(np.ones((1, lesions)))[0]
    if lesions < 2:
        return np.vstack([score, np.full((2, len(score)), np.nan)])
    rng = np.random.default_rng(seed)
    chunks = [min(CHUNK, draws - done) for done in range(0, draws, CHUNK)]
    drawn = np.concatenate([statistic(_draws(lesions, few, rng)) for few in chunks])
    if centred:
        drawn += score - drawn.mean(0)
    return np.vstack([score, pd.DataFrame(drawn).quantile([0.025, 0.975])])


def _numbered(group) -> tuple[np.ndarray, int]:
    """The lesion of each picture as a number, and how many; unknown ones stand alone."""
    group = pd.Series(group, dtype=object).reset_index(drop=True)
    alone = group.index.to_series().map("unknown {}".format)
    number, names = pd.factorize(group.where(group.notna(), alone))
    return number, len(names)


def _draws(lesions: int, draws: int, seed) -> np.ndarray:
    """How often each lesion is drawn, in each bootstrap draw (draws × lesions)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(lesions, np.full(lesions, 1 / lesions), size=draws)
