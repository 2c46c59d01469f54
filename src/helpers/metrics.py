"""Scores with intervals that respect lesions. Taught in notebooks 01 and 02."""

import numpy as np
import pandas as pd


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
    """Accuracy, balanced accuracy, macro-F1 with 95 % intervals, n and lesions.

    The bootstrap draws lesions, not pictures, for pictures of one lesion are not
    independent. A draw is a weight per lesion, so that all draws are one product.
    """
    truth, answer = np.asarray(truth), np.asarray(answer)
    classes = sorted(set(truth) | set(answer))
    size = len(classes)
    place = {name: i for i, name in enumerate(classes)}
    cell = [place[t] * size + place[a] for t, a in zip(truth, answer, strict=True)]
    lesion, lesions = _numbered(group)
    per_lesion = np.zeros((lesions, size * size))
    np.add.at(per_lesion, (lesion, cell), 1)
    weights = _draws(lesions, draws, seed)
    drawn = from_confusion((weights @ per_lesion).reshape(draws, size, size))
    low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
    value = from_confusion(per_lesion.sum(0).reshape(size, size))
    index = ["accuracy", "balanced accuracy", "macro-F1"]
    columns = {"score": value, "low": low, "high": high}
    columns |= {"n": len(truth), "lesions": lesions}
    return pd.DataFrame(columns, index=index)


def mean_interval(values, group, seed: int = 0, draws: int = 1000) -> tuple[float, ...]:
    """A mean over pictures with its 95 % interval, drawn by lesion: mean, low, high."""
    values = np.asarray(values, float)
    lesion, lesions = _numbered(group)
    total, count = np.bincount(lesion, values), np.bincount(lesion)
    weights = _draws(lesions, draws, seed)
    drawn = (weights @ total) / (weights @ count)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def _numbered(group) -> tuple[np.ndarray, int]:
    """The lesion of each picture as a number, and how many; unknown ones stand alone."""
    group = pd.Series(group, dtype=object).reset_index(drop=True)
    alone = group.index.to_series().map("unknown {}".format)
    number, names = pd.factorize(group.where(group.notna(), alone))
    return number, len(names)


def _draws(lesions: int, draws: int, seed: int) -> np.ndarray:
    """How often each lesion is drawn, in each bootstrap draw (draws × lesions)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(lesions, np.full(lesions, 1 / lesions), size=draws)
