"""Films with several findings: what is known of each, and how well it is told (07).

`y` is N×C: 1 shown, 0 not shown, NaN where nobody knows. Every finding is a question of
its own: its own score, its own calibration.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from . import calibration, metrics, models, splits
from .settings import CourseError

FEWEST = 12  # patients with a finding: fewer can be neither learnt nor measured


@dataclass(frozen=True)
class Run:
    model: models.Classifier  # in eval mode
    cases: pd.DataFrame  # the films with their split
    y: np.ndarray  # N×C
    logits: np.ndarray  # N×C
    probs: np.ndarray  # N×C, calibrated

    @property
    def findings(self) -> list[str]:
        return list(self.model.classes)

    def part(self, name: str) -> np.ndarray:
        """The positions of the films of a part of the split."""
        return np.flatnonzero(self.cases.split == name)


def known(cases: pd.DataFrame) -> list[str]:
    """The findings that enough patients have, in order; the others are named."""
    seen = cases[["patient", "label"]].explode("label").dropna()
    patients = seen.drop_duplicates().label.value_counts().sort_index()
    rare = patients[patients < FEWEST]
    if len(rare):
        told = ", ".join(f"{name} ({n})" for name, n in rare.items())
        print(f"left out, for fewer than {FEWEST} patients have them: {told}")
    if len(rare) == len(patients):
        raise CourseError(f"no finding has {FEWEST} patients: take more films")
    return patients.index[patients >= FEWEST].tolist()


def targets(cases: pd.DataFrame, findings: list[str]) -> np.ndarray:
    """What each film shows (N×C): 1, 0, or NaN where the labeller was in doubt."""
    y = np.array([[f in label for f in findings] for label in cases.label], float)
    if "uncertain" in cases:
        y[[[f in doubt for f in findings] for doubt in cases.uncertain]] = np.nan
    return y


def split(cases: pd.DataFrame, findings: list[str], seed: int) -> pd.DataFrame:
    """`group` and `split` of each film: by patient, alike for each rarest finding."""
    count = cases.label.explode().value_counts()
    rarest = [
        min((f for f in label if f in findings), key=count.get, default="none")
        for label in cases.label
    ]
    label = pd.Series(rarest, cases.index)
    few = label.map(cases.patient.groupby(label).nunique()) < len(splits.PARTS)
    cases = cases.assign(label=label.mask(few, "none"))
    part, group = splits.make(cases, seed), splits.groups(cases)
    return pd.DataFrame({"split": part, "group": group})


def calibrated(logits: np.ndarray, y: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Probabilities (N×C): for each finding a slope and a shift, fitted where `held`."""
    probs = expit(logits.astype(float))
    for k, truth in enumerate(y.T):
        rows = held & ~np.isnan(truth)
        if len(set(truth[rows])) == 2:
            platt = LogisticRegression(C=1e6).fit(logits[rows, k : k + 1], truth[rows])
            probs[:, k] = platt.predict_proba(logits[:, k : k + 1])[:, 1]
    return probs


def scores(run: Run, part: str = "test") -> pd.DataFrame:
    """AUROC of each finding with its interval by patient, n, and how many show it."""
    rows, found = run.part(part), []
    for k, name in enumerate(run.findings):
        here = rows[~np.isnan(run.y[rows, k])]
        truth = np.where(run.y[here, k] == 1, name, "not")
        both = np.stack([-run.logits[here, k], run.logits[here, k]], 1)
        group = run.cases.group.iloc[here]
        if len(set(truth)) == 2:
            table = metrics.ranking(truth, both, ["not", name], group, name)
            row = table.loc[f"{name} AUC", ["score", "low", "high", "n"]]
            found.append(row.rename(name))
    shown = np.nansum(run.y[rows], axis=0)
    frame = pd.DataFrame(found)
    frame["with it"] = pd.Series(shown, run.findings)[frame.index]
    return frame.astype({"n": int, "with it": int})


def errors(run: Run, part: str = "test") -> pd.DataFrame:
    """ECE of each finding as trained, and calibrated, with intervals by patient."""
    rows, found = run.part(part), {}
    for k, name in enumerate(run.findings):
        here = rows[~np.isnan(run.y[rows, k])]
        truth, group = run.y[here, k].astype(int), run.cases.group.iloc[here]
        both = {"as trained": expit(run.logits[here, k].astype(float))}
        both["calibrated"] = run.probs[here, k]
        for when, p in both.items():
            table = calibration.measures(np.stack([1 - p, p], 1), truth, group)
            found[when, name] = table.loc["ECE", ["score", "low", "high", "floor"]]
    return pd.DataFrame(found).T
