"""Scores of slot answers, and what captions should not say (taught in notebook 05).

Intervals are drawn by lesion. Where the truth is "cannot tell", a picture is left out
of that slot; an answer that is "cannot tell", or could not be read, is wrong there.
"""

import re

import numpy as np
import pandas as pd
from scipy.stats import binom

from . import metrics
from .lexicon import sure, tokens
from .settings import CourseError
from .slots import CANNOT, SLOTS

UNREAD = "unreadable"
SCORES = ["balanced accuracy", "kappa", "yes-bias", CANNOT, UNREAD]
YES = {slot: options[1:-1] for slot, options in SLOTS.items()}  # there, or irregular
YES["colours"] = ("three or more",)

SIZE = r"milli ?met(?:er|re)s?|centi ?met(?:er|re)s?"
UNSEEN = re.compile(  # a size, a relief, a touch, a complaint, a history
    rf"\d[\d.,–-]* ?(?:mm|cm|{SIZE})\b"
    rf"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten) (?:{SIZE})\b"
    r"|\b(?:raised|elevated|flat|palpable|growing)\b"
    r"|\b(?:itch(?:y|ing|es)?|pain(?:ful)?|tender)\b"
    r"|\b(?:scaly|smooth|rough|soft|firm) (?:to the touch|texture|surface)\b"
    r"|\btexture (?:is |appears )?(?:scaly|smooth|rough|soft|firm)\b"
)
PROMPT_WORDS = ("no diagnosis", "clinical sentence", "if visible", "background dimmed")
RUN = 4  # words on end that two texts share: fewer are mere language


def scores(truth, said, group, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """A row a slot: balanced accuracy beside chance, kappa, yes-bias, with intervals.

    Truth and said are a list of answers (None: not read) or a table of them. Yes-bias:
    how much oftener "there", "irregular", "asymmetric" are said than true.
    """
    metrics.check_rows(truth=truth, said=said, group=group)
    truth, said = _table(truth), _table(said)
    group = pd.Series(list(group), dtype=object)
    rows = {}
    for slot, options in SLOTS.items():
        known = truth[slot].isin(options[:-1])
        if known.any():
            pair = truth[slot][known], said[slot][known]
            rows[slot] = _row(slot, *pair, group[known], seed, draws)
    return pd.DataFrame.from_dict(rows, orient="index")


def kappa(
    truth, said, group, order=None, seed: int = 0, draws: int = 1000
) -> tuple[float, ...]:
    """Cohen's kappa with its 95 % interval by lesion: kappa, low, high.

    With an order of the options a miss weighs the square of its steps.
    """
    metrics.check_rows(truth=truth, said=said, group=group)
    classes = list(order or sorted({*truth, *said}))
    if strange := {*truth, *said} - set(classes):
        raise CourseError(f"not in the order: {', '.join(sorted(map(str, strange)))}")
    place = np.arange(len(classes))
    steps = abs(place[:, None] - place)
    weights = steps**2 if order else steps > 0
    cells = _cells(truth, said, classes)
    found = metrics.interval(
        lambda s: _kappa(_square(s), weights)[..., None], cells, group, seed, draws
    )
    return tuple(found[:, 0].tolist())


def mcnemar(first_right, second_right) -> float:
    """p of the exact test that two ways are right equally often, on the same pictures.

    Only pictures that one gets right and the other wrong count. It takes them as
    independent: give one picture a lesion.
    """
    metrics.check_rows(first_right=first_right, second_right=second_right)
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    one, two = int((first & ~second).sum()), int((second & ~first).sum())
    return min(1.0, 2 * float(binom.cdf(min(one, two), one + two, 0.5)))


def unseeable(caption: str) -> list[str]:
    """What a caption claims, or denies, that no dermoscopic picture shows."""
    return [found.group() for found in UNSEEN.finditer(sure(caption))]


def echoed(caption: str, prompt: str) -> bool:
    """Whether a caption repeats its prompt: four words on end, or words only asked."""
    own, asked = _runs(caption), _runs(prompt)
    spoken = says_prompt_words(caption)
    return bool(own & asked or set(spoken) & set(says_prompt_words(prompt)))


def says_prompt_words(caption: str) -> list[str]:
    """Words of an instruction that have no place in a caption: "has no diagnosis"."""
    text = " ".join(caption.lower().split())
    return [words for words in PROMPT_WORDS if words in text]


def _row(slot: str, truth, said, group, seed: int, draws: int) -> dict:
    """The scores of one slot with their intervals, chance, n and lesions."""
    options = [*SLOTS[slot], UNREAD]
    yes = np.isin(options, YES[slot])

    def of(sums):
        counts = _square(sums)
        true, answer = counts.sum(-1), counts.sum(-2)
        balanced = metrics.from_confusion(counts)[..., 1]
        agreed = _kappa(counts, ~np.eye(len(options), dtype=bool))
        shares = (answer - true) @ yes, answer[..., -2], answer[..., -1]
        return np.stack([balanced, agreed, *(s / true.sum(-1) for s in shares)], -1)

    cells = _cells(truth, said, options)
    found = metrics.interval(of, cells, group, seed, draws)
    table = metrics.table(SCORES, found, group)
    row = {"chance": 1 / truth.nunique()}
    for name, score, low, high in table[["score", "low", "high"]].itertuples():
        row |= {name: score, f"{name} low": low, f"{name} high": high}
    return row | table[["n", "lesions"]].iloc[0].to_dict()


def _table(answers) -> pd.DataFrame:
    """Answers as a table of slots; what is None is unreadable throughout."""
    if not isinstance(answers, pd.DataFrame):
        blank = dict.fromkeys(SLOTS, UNREAD)
        answers = pd.DataFrame([blank if a is None else a for a in answers])
    for slot, options in SLOTS.items():
        said = set(answers[slot]) if slot in answers else {"nothing"}
        if strange := said - {*options, UNREAD}:
            raise CourseError(
                f"{slot}: no option {sorted(map(str, strange))[0]!r}; "
                f"there are {', '.join(options)}"
            )
    return answers[list(SLOTS)].reset_index(drop=True)


def _cells(truth, said, classes: list) -> np.ndarray:
    """The cell of the confusion matrix of each picture (n×C²)."""
    place = {name: i for i, name in enumerate(classes)}
    cell = [place[t] * len(place) + place[s] for t, s in zip(truth, said, strict=True)]
    return np.eye(len(place) ** 2)[cell]


def _square(sums: np.ndarray) -> np.ndarray:
    size = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], size, size)


def _kappa(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cohen's kappa of counts (…×C×C): missing where chance agrees on everything."""
    n = counts.sum((-1, -2), keepdims=True)
    chance = counts.sum(-1, keepdims=True) * counts.sum(-2, keepdims=True) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - (weights * counts).sum((-1, -2)) / (weights * chance).sum((-1, -2))


def _runs(text: str) -> set[tuple[str, ...]]:
    """All runs of words on end in a text."""
    words = [word for word in tokens(text) if word.isalnum()]
    return {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}
