"""Can a probability be taken at its word? Taught in notebook 02.

How far off probabilities are, how to mend them (temperature, prior shift), what to
answer when one is not enough (conformal sets), and when to act on one (cost). `truth`
is the position of the true class of each picture; `logits` and `probs` are N×C.
"""

import hashlib
import warnings

import numpy as np
import pandas as pd
from scipy import optimize, special

from . import metrics
from .settings import CourseError

EPS = np.finfo(float).eps  # in a logarithm, 0 counts as this, as in scikit-learn


def softmax(logits, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N×C) of logits; a temperature above 1 makes them less sure."""
    return special.softmax(np.asarray(logits, float) / temperature, axis=1)


def nll(probs, truth) -> float:
    """Negative log-likelihood: the mean over pictures of -log p(true class)."""
    return float(_nll(*_checked(probs, truth)).mean())


def brier(probs, truth) -> float:
    """Brier score: squared error summed over classes (0 to 2), mean over pictures."""
    return float(_brier(*_checked(probs, truth)).mean())


def ece(probs, truth, bins: int = 15) -> float:
    """Expected calibration error: how far confidence and accuracy are apart.

    Pictures are binned by the probability of their answer, in bins of equal width, the
    last with 1; the error is the mean over pictures of their bin's |accuracy - confidence|.
    """
    probs, truth = _checked(probs, truth)
    return float(np.abs(_gaps(probs, truth, bins).sum(0)).sum() / len(truth))


def floor(
    probs, bins: int = 15, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """ECE that a perfectly calibrated model with these probs shows: mean, 97.5 %.

    It is above 0, for a few pictures a bin never show an accuracy exactly. Pictures are
    drawn as independent: with several a lesion, the floor is somewhat higher.
    """
    confidence = _checked(probs)[0].max(1)
    right = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    gaps = (right - confidence) @ _in_bins(confidence, bins)
    drawn = np.abs(gaps).sum(1) / len(confidence)
    return float(drawn.mean()), float(np.percentile(drawn, 97.5))


def measures(probs, truth, group, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """ECE, Brier score and NLL with 95 % intervals; and the mean floor of the ECE.

    A resample is rougher than its sample, so that its ECE is higher: the draws are moved
    so that their mean is the score. Like the floor, this holds for sets of this size.
    """
    probs, truth = _checked(probs, truth)
    metrics.check_rows(probs=probs, group=group)
    each = [_gaps(probs, truth, 15), _brier(probs, truth), _nll(probs, truth)]
    values = np.column_stack([*each, np.ones(len(truth))])
    found = metrics.interval(_of_sums, values, group, seed, draws, centred=True)
    result = metrics.table(["ECE", "Brier", "NLL"], found.clip(0), group)
    result.insert(3, "floor", [floor(probs, seed=seed)[0], np.nan, np.nan])
    return result


def reliability(probs, truth, bins: int = 10) -> pd.DataFrame:
    """Confidence and accuracy of each bin with pictures, and Wilson's 95 % interval."""
    probs, truth = _checked(probs, truth)
    member = _in_bins(probs.max(1), bins)
    n = member.sum(0)
    sums = np.stack([probs.max(1), probs.argmax(1) == truth]) @ member[:, n > 0]
    n = n[n > 0]
    confidence, accuracy = sums / n
    z = special.ndtri(0.975)
    middle = accuracy + z**2 / (2 * n)
    half = z * np.sqrt(accuracy * (1 - accuracy) / n + (z / (2 * n)) ** 2)
    low, high = (middle + np.array([[-1], [1]]) * half) / (1 + z**2 / n)
    columns = {"confidence": confidence, "accuracy": accuracy, "low": low, "high": high}
    return pd.DataFrame(columns | {"n": n.astype(int)})


def temperature(logits, truth) -> float:
    """The temperature (0.05 to 20) by which softmax makes the NLL of these smallest."""
    logits, truth = _checked(logits, truth, "logits")
    if len(set(truth.tolist())) == 1:
        raise CourseError(
            f"all {len(truth):,} calibration pictures are of class {truth[0]}: a "
            "temperature fitted on one class says nothing of the others; take a split "
            "that has each class"
        )

    def loss(log_temperature: float) -> float:
        logs = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -logs[np.arange(len(truth)), truth].mean()

    found = optimize.minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded")
    return float(np.exp(found.x))


def prior_shift(logits, trained, actual) -> np.ndarray:
    """Logits for the class shares `actual`, of a network that was shown `trained`.

    By Bayes: p(class | picture) is proportional to p(picture | class) p(class).
    """
    logits = _checked(logits, name="logits")[0]
    shares = {"trained": trained, "actual": actual}
    shares = {name: np.asarray(share, float) for name, share in shares.items()}
    metrics.check_columns(logits.shape[1], **shares)
    for name, share in shares.items():
        if not ((share > 0) & np.isfinite(share)).all():
            raise CourseError(
                f"{name} has a share that is not above 0: a class that is never seen "
                "cannot be reweighted; leave it out, or give it a small share"
            )
    return logits + np.log(shares["actual"]) - np.log(shares["trained"])


def conformal(probs_cal, truth_cal, probs, alpha: float = 0.1) -> np.ndarray:
    """Sets of classes (N×C) that hold the true one in a share 1 - alpha of each class.

    A class is in, unless its probability is among the lowest alpha of the calibration
    pictures of that class; one with fewer than 1/alpha - 1 of these is always in. The
    promise needs independent pictures: calibrate on one a lesion (`one_per_lesion`).
    """
    probs_cal, truth_cal = _checked(probs_cal, truth_cal)
    probs = _checked(probs)[0]
    metrics.check_columns(probs_cal.shape[1], probs=probs)
    with warnings.catch_warnings():  # crepes makes every UserWarning repeat itself
        from crepes import ConformalClassifier  # a second: only for those who ask

    own = 1 - probs_cal[np.arange(len(truth_cal)), truth_cal]
    asked = np.tile(np.arange(probs.shape[1]), len(probs))
    model = ConformalClassifier().fit(own, bins=truth_cal)
    p = model.predict_p((1 - probs).ravel(), bins=asked, smoothing=False)
    return p.reshape(probs.shape) > alpha


def one_per_lesion(group, seed: int = 0) -> np.ndarray:
    """Chooses one picture of each lesion (n, bool); unknown lesions stand alone.

    The lot depends on the seed and the lesion's name; of the other rows, only on the
    order of its own.
    """
    group = pd.Series(group, dtype=object).reset_index(drop=True)
    lot = group.map(
        lambda name: int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:8], 16)
    )
    mine = group.groupby(group, sort=False)
    chosen = mine.cumcount() == lot % mine.transform("size")
    return (chosen | group.isna()).to_numpy(bool)


def coverage(
    sets, truth, group, classes, seed: int = 0, draws: int = 1000
) -> pd.DataFrame:
    """How often sets (N×C) hold the true class, and their mean size: a class, and all."""
    sets, truth = _checked(sets, truth, "sets")
    group, classes = np.asarray(group, object), list(classes)
    metrics.check_rows(sets=sets, group=group)
    metrics.check_columns(len(classes), sets=sets)
    held, size = sets[np.arange(len(truth)), truth], pd.Series(sets.sum(1))
    rows = []
    for i, name in enumerate([*classes, "all"]):
        own = truth == i if i < len(classes) else np.full(len(truth), True)
        found = [np.nan] * 3
        if own.any():
            found = metrics.mean_interval(held[own], group[own], seed, draws)
        row = metrics.table([name], np.reshape(found, (3, 1)), group[own], "coverage")
        row.insert(3, "set size", size[own].mean())
        rows.append(row)
    return pd.concat(rows)


def cost(truth_positive, flagged, k: float) -> float:
    """Mean cost a picture, if a missed positive costs k and a needless flag costs 1."""
    metrics.check_rows(truth_positive=truth_positive, flagged=flagged)
    positive, flagged = np.asarray(truth_positive, bool), np.asarray(flagged, bool)
    return float((k * (positive & ~flagged) + (~positive & flagged)).mean())


def cost_table(p, truth_positive, ks) -> pd.DataFrame:
    """Costs of four rules, for each k; p is the probability of a positive (n).

    To flag costs 1 - p on average, not to flag k p: equal at p = 1/(1+k).
    """
    p = np.asarray(p, float)
    metrics.check_rows(p=p, truth_positive=truth_positive)
    metrics.check_finite("p", p)
    rules = {
        "at the threshold 1/(1+k)": lambda k: p >= 1 / (1 + k),
        "argmax-like 0.5": lambda k: p >= 0.5,
        "flag all": lambda k: p >= -np.inf,
        "flag none": lambda k: p > np.inf,
    }
    rows = [
        {name: cost(truth_positive, rule(k), k) for name, rule in rules.items()}
        for k in ks
    ]
    return pd.DataFrame(rows, index=pd.Index(ks, name="k"))


def _checked(values, truth=None, name: str = "probs") -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N×C) and positions (N) as arrays; refuses what cannot be scored."""
    values = np.asarray(values, float)
    truth = np.zeros(len(values), int) if truth is None else np.asarray(truth)
    metrics.check_rows(**{name: values, "truth": truth})
    metrics.check_finite(name, values)
    if values.ndim != 2:
        raise CourseError(
            f"{name} has shape {values.shape}: give a row a picture, a column a class"
        )
    off = np.abs(values.sum(1) - 1) > 0.01
    if name == "probs" and ((values < 0).any() or off.any()):
        raise CourseError(
            "probs are no probabilities: they are negative, or a row does not sum to 1; "
            "turn logits into probabilities with calibration.softmax"
        )
    size = values.shape[1]
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= size:
        raise CourseError(
            f"truth must be whole numbers from 0 to {size - 1}, the column of the true "
            "class: pd.Categorical(label, classes).codes"
        )
    return values, truth


def _nll(probs, truth) -> np.ndarray:
    return -np.log(np.clip(probs[np.arange(len(truth)), truth], EPS, None))


def _brier(probs, truth) -> np.ndarray:
    return ((probs - np.eye(probs.shape[1])[truth]) ** 2).sum(1)


def _gaps(probs, truth, bins: int) -> np.ndarray:
    """Right (0 or 1) less confidence of each picture, in the column of its bin."""
    gap = (probs.argmax(1) == truth) - probs.max(1)
    return gap[:, None] * _in_bins(probs.max(1), bins)


def _of_sums(sums: np.ndarray) -> np.ndarray:
    """Sums of gaps by bin, of Brier score, of NLL, of pictures, to ECE, Brier, NLL."""
    error = np.abs(sums[..., :-3]).sum(-1, keepdims=True)
    return np.concatenate([error, sums[..., -3:-1]], -1) / sums[..., -1:]


def _in_bins(confidence, bins: int) -> np.ndarray:
    """Which bin each picture is in, as 0 and 1 (n×bins)."""
    place = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="right") - 1
    return np.eye(bins)[np.clip(place, 0, bins - 1)]
