"""What the records of a study say: with explanation against without (taught in 06)."""

import numpy as np
import pandas as pd

from . import metrics, study
from .settings import CourseError
from .study import ARMS, COLUMNS

MEASURES = (
    "trust",
    "trust in wrong answers",
    "accuracy",
    "over-reliance",
    "switched to a wrong answer",
    "under-reliance",
    "confidence",
    "seconds (median)",
    "seconds (log)",
    "accuracy before the AI (control)",
)


def measured(records: pd.DataFrame) -> dict[str, tuple[pd.Series, pd.Series]]:
    """What is measured at each answer, as (value, where it applies).

    Over-reliance: a wrong answer of the AI is the final decision. Under-reliance: a
    right one is not. The first decision is a control: no explanation was seen yet.
    """
    first, final, ai = records["first"], records.final, records.ai
    followed, wrong = _same(final, ai), ~records.ai_right
    always = pd.Series(True, records.index)
    switched = followed.where(first.notna())
    values = (
        (records.trust, always),
        (records.trust, wrong),
        (_same(final, records.label), always),
        (followed, wrong),
        (switched, wrong & (first != ai)),
        (1 - followed, ~wrong),
        (records.confidence, always),
        (records.seconds, always),
        (np.log(records.seconds), always),
        (_same(first, records.label), always),
    )
    return dict(zip(MEASURES, values, strict=True))


def _same(said: pd.Series, truth: pd.Series) -> pd.Series:
    """1 where two columns agree, 0 where they do not, missing where nothing is said."""
    return (said == truth).astype(float).where(said.notna())


def by_participant(records: pd.DataFrame, measures=None) -> pd.DataFrame:
    """Each reader's mean in each arm (one row a reader, columns measure × arm)."""
    found = {
        name: value.where(applies)
        for name, (value, applies) in measured(records).items()
        if measures is None or name in measures
    }
    keys = [records.participant, records.arm]
    groups = pd.DataFrame(found).groupby(keys, observed=True)
    table = groups.mean()
    if (name := "seconds (median)") in table:
        table[name] = groups[name].median()
    columns = pd.MultiIndex.from_product([found, ARMS])
    return table.unstack().reindex(columns=columns)


def analyse(records: pd.DataFrame, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """Each measure in both arms, and the paired difference with a 95 % interval.

    A reader's difference is the mean with explanation minus the mean without; the
    bootstrap draws readers, so it speaks for other readers of these same cases. Who
    lacks one arm is `unpaired` and left out; `missing` answers are left out and counted.
    """
    study.has(records, COLUMNS, "the records")
    if records.readers.nunique() > 1:
        raise CourseError("real and simulated readers are mixed: analyse one at a time")
    if records.participant.nunique() < 2:
        raise CourseError("fewer than two readers: no interval; ask more readers")
    means, rows = by_participant(records), {}
    for name, (value, applies) in measured(records).items():
        paired = means[name].dropna()
        alone, explained = paired.mean()
        row = {"alone": alone, "explained": explained, "difference": explained - alone}
        if len(paired) > 1:
            gap = paired[ARMS[1]] - paired[ARMS[0]]
            _, low, high = metrics.mean_interval(gap, paired.index, seed, draws)
            row |= {"low": low, "high": high}
        used, there = len(paired), applies & value.notna()
        row |= {"participants": used, "unpaired": len(means) - used}
        row |= {"answers": there.sum(), "missing": applies.sum() - there.sum()}
        rows[name] = row
    order = ["alone", "explained", "difference", "low", "high"]
    counted = ["participants", "unpaired", "answers", "missing"]
    table = pd.DataFrame(rows).T.reindex(columns=order + counted).astype(float)
    return table.astype(dict.fromkeys(counted, int)).assign(
        readers=records.readers.iloc[0]
    )
