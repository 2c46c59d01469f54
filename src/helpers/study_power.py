"""How many readers a study needs, tried on simulated readers (taught in 06).

A simulated reader is a few numbers, stated in `Readers`; what is made of them is
labelled as simulated in every table. It says what a study could find, not what is so.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from . import study
from .settings import CourseError
from .study import ARMS, COLUMNS, SCALE
from .study_scores import MEASURES, by_participant

CHUNK = 500_000  # simulated answers held at once


@dataclass(frozen=True)
class Readers:
    """The median simulated reader, and what an explanation adds (`more_…`).

    `more_follow_…` is added to the share itself. Readers differ by `spread`, and in what
    an explanation adds by `varies`: log-odds for shares, points for trust and confidence,
    logarithms for seconds.
    """

    skill: float = 0.7  # the first decision is right; a wrong one is any other class
    follow_right: float = 0.5  # goes over to the AI where it differs and is right
    follow_wrong: float = 0.4  # and where it is wrong
    trust: float = 3.5
    confidence: float = 4.5
    seconds: float = 12.0
    more_follow_right: float = 0.0
    more_follow_wrong: float = 0.0
    more_trust: float = 0.0
    more_confidence: float = 0.0
    more_seconds: float = 0.0  # as a share: −0.35 is 35 % faster
    spread: float = 0.6
    varies: float = 0.4
    noise: float = 1.0  # of one answer: points; half of it for log seconds

    def __post_init__(self):
        for name in ("skill", "follow_right", "follow_wrong"):
            if not 0 <= getattr(self, name) <= 1:
                raise CourseError(
                    f"{name} is a share from 0 to 1, not {getattr(self, name):g}"
                )
        if not (self.more_seconds > -1 and self.seconds > 0):
            raise CourseError(
                f"{self.seconds:g} seconds and {self.more_seconds:+g} of them more: a "
                "time is above 0; −0.35 is 35 % faster"
            )


def simulate(participants: int, cases: pd.DataFrame, readers: Readers, rng):
    """Records of simulated readers 1 … participants on a plan, labelled as simulated."""
    if participants < 1:
        raise CourseError(f"{participants} simulated readers: ask for at least one")
    drawn = _drawn(1, participants, cases, readers, rng)
    classes = np.array(_classes(cases))
    for name in ("label", "ai", "first", "final"):
        drawn[name] = classes[drawn[name]]
    order = [study.order(len(cases), k + 1) for k in range(participants)]
    drawn["position"] = np.argsort(order, axis=1).ravel() + 1
    drawn["image_id"] = np.tile(cases.image_id, participants)
    table = pd.DataFrame(drawn).assign(readers="simulated")
    table["arm"] = table.arm.astype(str)
    table = table.sort_values(["participant", "position"], ignore_index=True)
    return table[COLUMNS]


def _classes(cases: pd.DataFrame) -> list[str]:
    classes = sorted(set(cases.label) | set(cases.answer))
    if len(classes) < 2:
        raise CourseError("the plan knows one class only: nobody can decide wrongly")
    return classes


def _drawn(studies: int, size: int, cases, readers: Readers, rng) -> dict:
    """Columns of the answers of studies × size readers to all cases, classes as numbers.

    A case is as hard for all readers of one study; a reader's bent holds for all cases.
    """
    r, classes = readers, _classes(cases)
    people, n = studies * size, len(cases)
    number = np.arange(people)[:, None] % size + 1
    explained = (cases.half.to_numpy() + number) % 2  # people × n
    label, ai = (
        np.broadcast_to(pd.Categorical(column, classes).codes, (people, n))
        for column in (cases.label, cases.answer)
    )
    own = r.spread * rng.standard_normal((people, 1))
    bent = r.spread * rng.standard_normal((4, people, 1))
    bent = bent + r.varies * rng.standard_normal((4, people, 1)) * explained
    hard = np.repeat(r.spread * rng.standard_normal((studies, n)), size, axis=0)
    first_right = rng.random((people, n)) < special.expit(
        special.logit(r.skill) + own + hard
    )
    other = (label + rng.integers(1, len(classes), (people, n))) % len(classes)
    first = np.where(first_right, label, other)
    base = np.where(label == ai, r.follow_right, r.follow_wrong)
    more = np.where(label == ai, r.more_follow_right, r.more_follow_wrong)
    follow = special.logit((base + more * explained).clip(0.001, 0.999)) + bent[0]
    goes = rng.random((people, n)) < special.expit(follow)
    noise = r.noise * rng.standard_normal((4, people, n))
    trust = r.trust + r.more_trust * explained + bent[1] + noise[0]
    sure = r.confidence + r.more_confidence * explained + bent[2] + noise[1]
    slower = np.log1p(r.more_seconds) * explained + bent[3] + noise[2] / 2
    columns = {
        "participant": np.broadcast_to(np.arange(people)[:, None] + 1, (people, n)),
        "arm": explained,
        "label": label,
        "ai": ai,
        "ai_right": label == ai,
        "first": first,
        "final": np.where(goes, ai, first),
        "trust": np.rint(trust).clip(*SCALE),
        "confidence": np.rint(sure).clip(*SCALE),
        "seconds_first": r.seconds * np.exp(noise[3] / 2),
        "seconds": r.seconds * np.exp(slower),
    }
    columns = {name: values.ravel() for name, values in columns.items()}
    return columns | {"arm": pd.Categorical.from_codes(columns["arm"], ARMS)}


def power(
    cases: pd.DataFrame,
    readers: Readers,
    sizes,
    measures=("trust", "over-reliance"),
    studies: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a study of so many readers finds a difference, by simulation.

    Found: the 95 % t-interval of the paired difference leaves out 0. `power` has a 95 %
    interval of its own (Wilson), for the simulated studies are counted. `effect` is the
    mean difference in all of them; what the plan cannot measure is missing.
    """
    sizes, rng = sorted({int(size) for size in sizes}), np.random.default_rng(seed)
    if not sizes or sizes[0] < 2 or studies < 1:
        raise CourseError("power needs sizes of two readers or more, and studies")
    if strange := [name for name in measures if name not in MEASURES]:
        raise CourseError(
            f"unknown measure {strange[0]!r}; known: {', '.join(MEASURES)}"
        )
    most, gaps = sizes[-1], []
    at_once = max(1, CHUNK // (most * len(cases)))
    for done in range(0, studies, at_once):
        few = min(at_once, studies - done)
        drawn = pd.DataFrame(_drawn(few, most, cases, readers, rng))
        means = by_participant(drawn, measures)
        gap = means.xs(ARMS[1], axis=1, level=1) - means.xs(ARMS[0], axis=1, level=1)
        gaps.append(gap[list(measures)].to_numpy(float).reshape(few, most, -1))
    gaps = np.concatenate(gaps)  # studies × readers × measures
    rows = []
    for k, name in enumerate(measures):
        known = gaps[..., k][~np.isnan(gaps[..., k])]
        effect = known.mean() if len(known) else np.nan
        for size in sizes:
            found = int(_found(gaps[:, :size, k]).sum())
            row = {"measure": name, "participants": size, "effect": effect}
            share = stats.binomtest(found, studies).proportion_ci(method="wilson")
            row |= {"power": found / studies, "low": share.low, "high": share.high}
            if not len(known):
                row |= dict.fromkeys(("power", "low", "high"), np.nan)
            rows.append(row)
    return pd.DataFrame(rows).assign(studies=studies, readers="simulated")


def _found(gaps: np.ndarray) -> np.ndarray:
    """Does the t-interval of each study's differences (studies × readers) leave out 0?"""
    n = (~np.isnan(gaps)).sum(1)
    total = np.nansum(gaps, 1)
    mean = total / np.maximum(n, 1)
    squares = np.nansum((gaps - mean[:, None]) ** 2, 1)
    error = np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1))
    return (n > 1) & (np.abs(mean) > stats.t.ppf(0.975, np.maximum(n - 1, 1)) * error)
