"""Claims that the notebooks stake, and checkers for the exercises.

`claim` prints a tick or stops the notebook: what the text says, the run has shown. A
checker never stops anything: it says ○ not tried, ✔ right, or ✘ with a hint.
"""

import traceback
from copy import deepcopy

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score, f1_score

from . import calibration, localisation, metrics, splits


class ClaimError(AssertionError):
    """A claim of the text does not hold in this run."""


def claim(text: str, holds) -> None:
    """Prints ✔ and the claim, or raises: no notebook may say what it cannot show."""
    if not bool(holds):
        raise ClaimError(f"does not hold in this run: {text}")
    print(f"✔ {text}")


def skipped(text: str, why: str) -> None:
    """A claim that this data set cannot be asked."""
    print(f"– skipped: {text} ({why})")


def _check(name: str, answer, trials, hint: str, close: float = 1e-5) -> None:
    """Runs a student's function on (arguments, expected) pairs; never raises."""
    if answer is None:
        print(f"○ {name}: not tried yet")
        return
    if not callable(answer):
        print(f"✘ {name}: give a function (without brackets), not {answer!r}")
        return
    for arguments, expected in trials:
        try:
            got = answer(*arguments)
        except Exception as error:
            print(f"✘ {name}: {_stopped(error)}. {hint}")
            return
        if not _same(got, expected, close):
            asked = ", ".join(_short(argument) for argument in arguments)
            print(f"✘ {name}: for {asked} {_told(got, expected)}. {hint}")
            return
    print(f"✔ {name}: right")


def _stopped(error: Exception) -> str:
    """What an error says and, unless it is the call that failed, in which line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    steps = traceback.extract_tb(error.__traceback__)
    foreign = [step for step in steps if step.filename != __file__]
    if not foreign:
        return f"the call of your function stopped with {said}"
    last = [step for step in foreign if step.filename == foreign[0].filename][-1]
    source = f" ({last.line})" if last.line else ""
    return f"your function stopped with {said}, in its line {last.lineno}{source}"


def _same(got, expected, close: float = 1e-5) -> bool:
    if isinstance(expected, str):
        return got == expected
    try:
        same_shape = np.shape(got) == np.shape(expected)
        got = np.asarray(got, float)
        return same_shape and np.allclose(got, expected, close, close / 1000)
    except Exception:  # no numbers at all
        return False


def _told(got, expected) -> str:
    """What was expected and what came; of two that look alike, how far they are off."""
    if isinstance(expected, str):
        return f"expected {expected}, but {got}"
    wanted, came = _short(expected), _short(got)
    if wanted == came and np.shape(got) == np.shape(expected):
        off = np.abs(np.asarray(got, float) - expected).max()
        return f"nearly what is expected, but off by up to {off:.1g}"
    return f"expected {wanted}, got {came}"


def _short(value) -> str:
    try:
        value = np.array2string(
            np.asarray(value), precision=3, threshold=8, separator=" "
        )
    except ValueError:  # lists of several lengths
        value = repr(value)
    text = " ".join(value.split())
    return text if len(text) < 80 else text[:77] + "…"


def ex_1_1(answer) -> None:
    """labels → accuracy of always giving the commonest answer."""
    trials = [((pd.Series(list(s)),), n) for s, n in (("aab", 2 / 3), ("bcccc", 0.8))]
    hint = "Count each class, take the largest count, divide by the number of pictures."
    _check("Exercise 1.1", answer, trials, hint)


def ex_1_2(answer) -> None:
    """(group, held_out) → share of held-out pictures whose lesion was trained on."""
    rng = np.random.default_rng(0)
    trials = [((pd.Series(list("aabbc")), pd.Series([1, 0, 1, 1, 1]) > 0), 0.25)]
    for _ in range(5):
        group, held = pd.Series(rng.integers(0, 9, 40)), pd.Series(rng.random(40) < 0.4)
        split = held.map({True: "test", False: "train"})
        trials.append(((group, held), splits.leaks(group, split)[held].mean()))
    hint = "Only held-out pictures count, and each is asked: is its lesion trained on?"
    _check("Exercise 1.2", answer, trials, hint)


def ex_1_3(answer) -> None:
    """(pictures of the lesion, held-out share) → chance that a held-out one leaks."""
    trials = [((k, s), 1 - s ** (k - 1)) for k in (1, 2, 3, 6) for s in (0.2, 0.5)]
    hint = "It escapes only if every one of its siblings is held out as well."
    _check("Exercise 1.3", answer, trials, hint)


def ex_2_1(answer) -> None:
    """(truth, answer) → balanced accuracy."""
    rng = np.random.default_rng(0)
    trials = [((np.array([0, 0, 0, 1]), np.zeros(4, int)), 0.5)]
    trials += [((np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])), 0.75)]  # no 2 is true
    for _ in range(5):
        truth, said = rng.integers(0, 4, (2, 30))
        counts = metrics.confusion(truth, said, range(4))
        trials.append(((truth, said), metrics.from_confusion(counts)[1]))
    hint = "First the recall of each class that occurs in the truth, then their mean."
    _check("Exercise 2.1", answer, trials, hint)


def ex_2_2(answer) -> None:
    """(probs of a network that saw classes alike, true shares) → probs for the shares."""
    rng = np.random.default_rng(0)
    trials = [((np.array([0.2, 0.8]), np.array([0.5, 0.5])), [0.2, 0.8])]
    for _ in range(5):
        probs, shares = rng.dirichlet(np.ones(4), 2)
        shifted = calibration.prior_shift(np.log(probs)[None], np.full(4, 0.25), shares)
        trials.append(((probs, shares), calibration.softmax(shifted)[0]))
    hint = "Multiply each probability by its share; then divide by the sum."
    _check("Exercise 2.2", answer, trials, hint)


def ex_2_3(answer) -> None:
    """(p, is melanoma, wanted share) → the highest threshold that finds that share."""
    rng = np.random.default_rng(0)
    melanomas = np.array([0.2, 0.6, 0.8, 0.9]), np.array([True, True, True, False])
    trials = [((*melanomas, 2 / 3), 0.6), ((*melanomas, 1.0), 0.2)]
    for wanted in (0.5, 0.8, 0.9, 0.95):
        p, is_mel = rng.random(40), rng.random(40) < 0.4
        found = [
            (p[is_mel] >= cut).mean() >= wanted - 1e-9 for cut in np.sort(p[is_mel])
        ]
        trials.append(((p, is_mel, wanted), np.sort(p[is_mel])[found][-1]))
    hint = "Only melanomas count here; rounding must go up, or the promise breaks."
    _check("Exercise 2.3", answer, trials, hint)


def ex_3_1(answer) -> None:
    """raw map → its positive part over its maximum; zeros where nothing is positive."""
    rng = np.random.default_rng(0)
    raws = [np.array([[-2.0, 0], [1, 4]]), -np.ones((3, 3)), np.zeros((2, 2))]
    raws += [np.array([[1e-9, 4e-9]])]  # a weak map, which an epsilon would drown
    raws += list(rng.normal(size=(3, 4, 5)))
    trials = [
        ((r.copy(),), r.clip(0) / max(r.max(), 1e-300) * (r.max() > 0)) for r in raws
    ]
    hint = "Negatives to zero first; then divide, but only by a maximum above zero."
    _check("Exercise 3.1", answer, trials, hint)


def ex_3_2(answer) -> None:
    """(activations, gradients), both N×K×h×w → Grad-CAM, N×h×w."""
    rng = np.random.default_rng(0)
    trials = []
    small = np.array([[[[1.0, 2]]], [[[3, 4]]]]), np.array([[[[1.0, 3]]], [[[0, 2]]]])
    drawn = (rng.normal(size=(2, *s)) for s in ((3, 4, 2, 5), (2, 1, 1, 1)))
    for A, g in (small, *drawn):
        trials.append(((A, g), np.einsum("nk,nkhw->nhw", g.mean((2, 3)), A)))
    hint = "Mean of g over the last two axes, times A, summed over axis 1 alone."
    _check("Exercise 3.2", answer, trials, hint)


def ex_3_3(answer) -> None:
    """(model, layer, x) → what the layer gave; no hook stays, even after an error."""
    import torch  # two seconds: only for those who come this far
    from torch import nn

    class Tail(nn.Module):
        ran, fails = False, False

        def forward(self, x):
            self.ran = True
            if self.fails:
                raise ValueError("the model failed on purpose")
            return x

    torch.manual_seed(0)
    first, layer = nn.Linear(4, 4), nn.Linear(4, 4)
    whole = nn.Sequential(first, nn.Tanh(), layer, nn.ReLU(inplace=True), Tail())
    x = torch.randn(5, 4)
    with torch.no_grad():
        wanted = layer(first(x).tanh()).numpy()

    def verdict(model_that):
        """`fine`, or what is wrong with the answer for this model."""
        model = deepcopy(whole)
        model[-1].fails = fails = model_that == "a model that fails"
        try:
            with torch.no_grad():
                got = answer(model, model[2], x)
        except ValueError:
            if not model[-1].ran or not fails:
                raise
        else:
            if not model[-1].ran:
                return "the model was never run to its end"
            if fails:
                return "the model's error was swallowed"
            if _same(got, wanted.clip(0)):
                return "you kept what the ReLU overwrote"
            if not _same(got, wanted):
                return "you gave something else"
        if any(module._forward_hooks for module in model.modules()):
            return "a hook stayed"
        return fine[model_that]

    fine = {
        "a model that runs": "the layer's output and no hook left",
        "a model that fails": "its error and no hook left",
    }
    hint = "The hook keeps a clone. Register it, try: the model, finally: remove it."
    ready = verdict if callable(answer) else answer
    trials = [((model_that,), right) for model_that, right in fine.items()]
    _check("Exercise 3.3", ready, trials, hint)


def ex_4_1(answer) -> None:
    """(activations, gradients), both K×h×w → α of Grad-CAM++, zero where g ≤ 0."""
    rng = np.random.default_rng(0)
    trials = []
    sizes = ((1, 2, 2), 1), ((3, 4, 5), 1), ((2, 1, 1), 1), ((2, 3, 3), 1e-6)
    for shape, size in sizes:  # gradients are tiny where a network is sure
        A, g = rng.random(shape) * 9, size * rng.normal(size=shape)
        under = 2 + g * A.sum((1, 2), keepdims=True)
        trials.append(((A, g), np.divide(1, under, np.zeros(shape), where=g > 0)))
    hint = "1 / (2 + g·ΣA), A summed over the places of its channel; no epsilon."
    _check("Exercise 4.1", answer, trials, hint, close=1e-9)


def ex_4_2(answer) -> None:
    """(g, ΣA, epsilon) → α with the epsilon over α without it."""
    trials = [((0.01, 5.0, 0.0), 1.0)]
    for g, total, eps in ((1e-3, 3.0, 1e-6), (1e-4, 50.0, 1e-6), (0.2, 0.0, 1e-8)):
        exact = 2 * g**2 + total * g**3
        trials.append(((g, total, eps), exact / (exact + eps)))
    hint = "The numerator g² cancels: (2g² + ΣA·g³) over the same plus epsilon."
    _check("Exercise 4.2", answer, trials, hint)


def ex_4_3(answer) -> None:
    """(scores, alive), both K → softmax weights of the living channels."""
    rng = np.random.default_rng(0)
    trials = [
        ((np.array([0.5, 0.5, 9.0]), np.array([True, True, False])), [0.5, 0.5, 0])
    ]
    for _ in range(4):
        scores, alive = rng.normal(size=9), rng.random(9) < 0.6
        alive[0] = True
        powers = np.where(alive, np.exp(scores), 0)
        trials.append(((scores, alive), powers / powers.sum()))
    hint = "exp of the living scores over their own sum; a dead channel weighs nothing."
    _check("Exercise 4.3", answer, trials, hint)


def ex_5_1(answer) -> None:
    """(caption, keyword) → is it said, as whole words, and not after "no"?"""
    trials = [
        (("An irregular border.", "regular border"), False),
        (("A regular border.", "regular border"), True),
        (("uneven color", "even color"), False),
        (("There is no regular border", "regular border"), False),
        (("No streaks, even color", "even color"), True),
        (("nothing; regular border", "regular border"), True),
        (("No regular border left, a regular border right", "Regular border"), True),
    ]
    hint = r"re.search with \b around the keyword, and no (?<!\bno ) just before it."
    _check("Exercise 5.1", answer, trials, hint)


def ex_5_2(answer) -> None:
    """(first, second) → Cohen's kappa of two lists of answers."""
    rng = np.random.default_rng(0)
    trials = [((np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])), 1.0)]
    for classes in (2, 3, 4):
        first, second = rng.integers(0, classes, (2, 40))
        trials.append(((first, second), cohen_kappa_score(first, second)))
    hint = "(agreed - chance) / (1 - chance); chance: products of the shares, summed."
    _check("Exercise 5.2", answer, trials, hint)


def ex_5_3(answer) -> None:
    """labels → macro-F1 of always giving the commonest."""
    trials = []
    for text in ("aaab", "aaaabbc", "abbbbbb"):
        labels = pd.Series(list(text))
        always = np.full(len(labels), labels.mode()[0])
        score = f1_score(labels, always, average="macro", zero_division=0)
        trials.append(((labels,), score))
    hint = (
        "Only one class has an F1 above zero: 2p / (1 + p), p its share; then the mean."
    )
    _check("Exercise 5.3", answer, trials, hint)


def ex_6_1(answer) -> None:
    """(heatmap, mask) → IoU of as many of the hottest places as the mask has."""
    rng = np.random.default_rng(0)
    small = np.array([[0.9, 0.1], [0.5, 0.2]]), np.array([[True, False], [False, True]])
    trials = [(small, 1 / 3), ((small[0], small[0] > 0.4), 1.0)]
    for k in (3, 9, 20):
        heatmap, mask = rng.random((5, 6)), rng.permutation(30).reshape(5, 6) < k
        score = localisation.as_large(heatmap[None], mask[None])[0]
        trials.append(((heatmap, mask), score))
    hint = "As threshold take the n-th largest value, n the places in the mask."
    _check("Exercise 6.1", answer, trials, hint)


def ex_6_2(answer) -> None:
    """probabilities after each step → the area under their curve, the whole way 1."""
    rng = np.random.default_rng(0)
    trials = [((np.array([1.0, 0.5, 0.0]),), 0.5), ((np.array([1.0, 0.0]),), 0.5)]
    for steps in (3, 5, 8):
        curve = rng.random(steps)
        trials.append(((curve,), np.trapezoid(curve, dx=1 / (steps - 1))))
    hint = "The mean of each two neighbours, then the mean of these means."
    _check("Exercise 6.2", answer, trials, hint)


def ex_6_3(answer) -> None:
    """(ai, truth, final) → share of the AI's wrong answers that the reader followed."""
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(4):
        ai, truth, final = rng.choice(["mel", "nv", "bkl"], (3, 30))
        followed = [f == a for a, t, f in zip(ai, truth, final, strict=True) if a != t]
        trials.append(((ai, truth, final), np.mean(followed)))
    hint = "Keep the cases in which the AI is wrong; then final == ai."
    _check("Exercise 6.3", answer, trials, hint)


def ex_7_1(answer) -> None:
    """(heatmap, mask) → IoU of the places at one half or above with the mask."""
    rng = np.random.default_rng(0)
    trials = [((np.array([[0.5, 0.2], [0.9, 0.1]]), np.eye(2) > 0), 1 / 3)]
    for _ in range(5):
        heat, mask = rng.random((4, 5)), rng.random((4, 5)) < 0.4
        mask[0, 0] = True
        hot = heat >= 0.5
        trials.append(((heat, mask), (hot & mask).sum() / (hot | mask).sum()))
    hint = "Both hot and in the mask, over hot or in the mask; one half itself is hot."
    _check("Exercise 7.1", answer, trials, hint)


def ex_7_2(answer) -> None:
    """(p, y with NaN for doubts) → mean of -log p(truth) over what is known."""
    rng = np.random.default_rng(0)
    trials = [((np.array([[0.5, 0.9]]), np.array([[1.0, np.nan]])), np.log(2))]
    for _ in range(5):
        p, y = rng.uniform(0.05, 0.95, (3, 4)), rng.choice([0, 1, np.nan], (3, 4))
        y[0, 0] = 1
        each = -np.log(np.where(y == 1, p, 1 - p))
        trials.append(((p, y), each[~np.isnan(y)].mean()))
    hint = (
        "Minus log p where y is 1, minus log(1 - p) where 0; the mean of these alone."
    )
    _check("Exercise 7.2", answer, trials, hint)


def ex_7_3(answer) -> None:
    """(training masks M×H×W, a mask) → does the average box hit it: 1 or 0?"""
    rng = np.random.default_rng(0)
    often = np.array([[[1, 0]], [[1, 0]], [[0, 1]]]) > 0
    trials = [((often, often[0]), 1), ((often, often[2]), 0)]
    for _ in range(6):
        masks, mask = rng.random((7, 3, 3)) < 0.4, rng.random((3, 3)) < 0.5
        trials.append(((masks, mask), int(mask.flat[masks.mean(0).argmax()])))
    hint = "Mean of the masks, the place where it is largest, and: is it in the mask?"
    _check("Exercise 7.3", answer, trials, hint)


def ex_8_1(answer) -> None:
    """(pictures, a second, machines, price an hour) → hours and cost."""
    trials = []
    for n, rate, machines, price in (
        (3600, 1.0, 1, 2.0),
        (400_000, 50.0, 1, 0.4),
        (400_000, 50.0, 10, 0.4),
        (1000, 7.0, 3, 1.5),
    ):
        hours = n / rate / machines / 3600
        trials.append(((n, rate, machines, price), [hours, hours * machines * price]))
    hint = "Each machine works for the same hours, and each of them is paid."
    _check("Exercise 8.1", answer, trials, hint)


def ex_8_2(answer) -> None:
    """(seconds of all answers, share) → the least time that so many were done in."""
    rng = np.random.default_rng(0)
    trials = [((np.array([3.0, 1, 2, 4]), 0.5), 2.0), ((np.array([5.0]), 0.99), 5.0)]
    for share in (0.5, 0.95, 0.99):
        seconds = rng.exponential(size=37)
        ranked = np.sort(seconds)[int(np.ceil(share * 37)) - 1]
        trials.append(((seconds, share), ranked))
    hint = "Sort; the answer is one of the times: round the rank up, and count from 0."
    _check("Exercise 8.2", answer, trials, hint)


def ex_8_3(answer) -> None:
    """(pictures, rows a file, finished files) → positions of the pictures to do."""
    trials = []
    for n, shard, done in ((10, 4, [0]), (10, 4, [2, 0]), (7, 7, []), (9, 2, [4, 1])):
        left = [i for i in range(n) if i // shard not in done]
        trials.append(((n, shard, done), left))
    hint = "Picture i lies in file i // rows; the last file may be shorter."
    _check("Exercise 8.3", answer, trials, hint)
