"""A study of trust: its plan, and its records in a file (taught in 06).

Readers decide alone, see the AI's answer, with an explanation or without, and decide
again. The AI is also wrong, at a stated share: otherwise nobody can tell trust from
over-reliance. Every reader sees each case once, half of them with its explanation.
"""

import io
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from .files import atomic, below_out, writing
from .settings import CourseError

ARMS = ("answer alone", "with explanation")
SCALE = (1, 7)  # trust and confidence, from not at all to completely
READERS = ("real", "simulated")
SECONDS = (0.01, 86_400)  # a day: more is a clock gone wrong
PLAN = ["image_id", "label", "answer", "p", "right", "half"]


@dataclass(frozen=True)
class Answer:
    """One line of the records. A name is never asked: a reader is a number."""

    participant: int
    position: int  # in the reader's own order, from 1
    image_id: str
    arm: str
    label: str  # the truth
    ai: str
    ai_right: bool
    first: str | None  # the reader's decision before the AI's answer
    final: str | None  # and after it
    trust: int | None
    confidence: int | None  # in the final decision
    seconds_first: float | None  # from the picture to the first decision
    seconds: float | None  # from the AI's answer to the final one
    readers: str = "real"


COLUMNS = [field.name for field in fields(Answer)]
MAY_MISS = ["first", "final", "trust", "confidence", "seconds_first", "seconds"]
AMONG = {"arm": ARMS, "ai_right": ("True", "False"), "readers": READERS}
WHOLE = {"participant": (1, math.inf), "position": (1, math.inf)}
WHOLE |= {"trust": SCALE, "confidence": SCALE}
NUMBERS = WHOLE | {"seconds_first": SECONDS, "seconds": SECONDS}


def plan(table: pd.DataFrame, n: int, wrong_share: float, seed: int = 0):
    """n cases out of a table of answers (image_id, label, answer, p), in two halves.

    Right and wrong answers are taken at equal steps of p, one picture a lesion where
    `group` is known; of each two neighbours in p, chance puts one into either half.
    """
    has(table, PLAN[:4], "the table of answers")
    if table.image_id.duplicated().any():
        raise CourseError("an image_id stands twice in the table of answers: drop one")
    if "group" in table:
        table = table[table.group.isna() | ~table.duplicated("group")]
    table = table.assign(right=table.label == table.answer)
    rng, chosen = np.random.default_rng(seed), []
    for right, count in _counts(n, wrong_share).items():
        pool = table[table.right == right].sort_values(["p", "image_id"])
        if len(pool) < count:
            raise CourseError(
                f"{count} cases with a {'right' if right else 'wrong'} answer are "
                f"asked for, the table has {len(pool)}: take fewer, or another share"
            )
        steps = ((np.arange(count) + 0.5) * len(pool) / count).astype(int)
        half = rng.permuted(np.tile([0, 1], (count // 2, 1)), axis=1).ravel()
        chosen.append(pool.iloc[steps].assign(half=half))
    cases = pd.concat(chosen).iloc[rng.permutation(n)]
    return cases[PLAN].reset_index(drop=True)


def _counts(n: int, wrong_share: float) -> dict[bool, int]:
    """How many cases with a right and with a wrong answer: both fill two halves."""
    wrong = n * wrong_share
    whole = 0 <= wrong_share <= 1 and math.isclose(wrong, round(wrong), abs_tol=1e-9)
    if not whole or round(wrong) % 2 or n % 2 or n < 2:
        raise CourseError(
            f"{n} cases with a wrong share of {wrong_share:g} make {wrong:g} wrong ones: "
            "right and wrong ones must each fill two halves, so choose even numbers of "
            "both (20 cases and 0.3, 16 and 0.25)"
        )
    return {True: n - round(wrong), False: round(wrong)}


def session(cases: pd.DataFrame, participant: int) -> pd.DataFrame:
    """The cases of a plan in this reader's order, with `arm` and `position`.

    Odd numbers see one half of the cases with its explanation, even ones the other: who
    hands out 1, 2, 3 … balances them.
    """
    if not isinstance(participant, int | np.integer) or participant < 1:
        raise CourseError(f"a reader is a whole number from 1, not {participant!r}")
    mine = cases.iloc[order(len(cases), participant)].reset_index(drop=True)
    arm = np.array(ARMS)[(mine.half + participant) % 2]
    return mine.assign(arm=arm, position=np.arange(1, len(mine) + 1))


def order(n: int, participant: int) -> np.ndarray:
    return np.random.default_rng(participant).permutation(n)


def place(name: str = "answers") -> Path:
    """The file of a study's records, below the folder of what the course makes."""
    return below_out("study", f"{name}.csv")


def remaining(cases: pd.DataFrame, participant: int, path: Path) -> pd.DataFrame:
    """What this reader has not answered yet, in order; all, where no file is."""
    mine = session(cases, participant)
    if not Path(path).exists():
        return mine
    kept = _load(path).query("participant == @participant")
    here = kept.merge(mine, on=["image_id", "arm", "position"])
    if len(here) < len(kept):
        raise CourseError(
            f"{path}: reader {participant} has answered another plan there; "
            "take another number, or another file for this plan"
        )
    return mine[~mine.image_id.isin(kept.image_id)]


def keep(answer: Answer, path: str | Path) -> None:
    """Adds an answer to the file, which is replaced whole: a crash loses nothing."""
    path, row = Path(path), pd.DataFrame([asdict(answer)])
    new, old = _table(io.StringIO(row.to_csv(index=False))), None
    checked = _checked(new, "the answer")
    with writing(path), FileLock(path.with_suffix(".lock")):
        if path.exists():
            _unique(pd.concat([_load(path), checked]))
            old = _table(path)
        with atomic(path) as part:
            pd.concat([old, new]).to_csv(part, index=False, lineterminator="\n")


def read(*paths: str | Path) -> pd.DataFrame:
    """The records of one file or several, checked; what is missing is counted.

    An answer with something missing stays, and is left out of what needs it.
    """
    records = _unique(pd.concat([_load(path) for path in paths], ignore_index=True))
    if records.empty:
        raise CourseError(f"{paths[0]}: holds no answer; answer a case first")
    lost = records[MAY_MISS].isna()
    said = ", ".join(f"{name} {n}" for name, n in lost.sum().items() if n)
    print(
        f"{len(records):,} answers of {records.participant.nunique()} "
        f"{'/'.join(records.readers.unique())} readers; incomplete: "
        f"{lost.any(axis=1).sum():,}"
        + f" ({said}), left out only where that is needed"
        * bool(said)
    )
    return records


def _table(source) -> pd.DataFrame:
    """A CSV as text; only what is empty is missing (a class may be called NA)."""
    return pd.read_csv(source, dtype=str, keep_default_na=False, na_values=[""])


def _load(path: str | Path) -> pd.DataFrame:
    try:
        table = _table(path)
    except FileNotFoundError:
        raise CourseError(f"{path}: no such file; answer a case first") from None
    except (OSError, ValueError) as error:  # pandas' errors are ValueErrors
        why = str(error).splitlines()[0]
        raise CourseError(
            f"{path}: cannot be read ({why}); give a study's CSV"
        ) from None
    return _checked(table, path)


def has(table: pd.DataFrame, columns, where) -> None:
    if lost := [column for column in columns if column not in table]:
        raise CourseError(
            f"{where}: no column {', '.join(lost)}; add it, or rename one"
        )


def _checked(table: pd.DataFrame, where) -> pd.DataFrame:
    """Text as records; refuses the first value that cannot be, with its line."""
    has(table, COLUMNS, where)

    def refuse(column: str, bad, rule: str) -> None:
        if bad.any():
            first = bad.to_numpy().argmax()
            value = table[column].iloc[first]
            said = "is missing" if pd.isna(value) else f"is {value!r}"
            raise CourseError(
                f"{where}: line {first + 2}, {column} {said}: {rule} "
                f"({bad.sum()} such lines); correct or delete them"
            )

    for column in COLUMNS:
        if column not in MAY_MISS:
            refuse(column, table[column].isna(), "it must be there")
    for column, words in AMONG.items():
        refuse(column, ~table[column].isin(words), f"it must be {' or '.join(words)}")
    numbers = {}
    for column, (low, high) in NUMBERS.items():
        number = numbers[column] = pd.to_numeric(table[column], errors="coerce")
        good = number.between(low, high) & np.isfinite(number)
        good &= (number % 1 == 0) | (column not in WHOLE)
        kind = "a whole number" if column in WHOLE else "a number"
        upto = f"from {low:g}" + f" to {high:,}" * math.isfinite(high)
        refuse(column, table[column].notna() & ~good, f"it must be {kind} {upto}")
    right = table.label == table.ai
    other = right != (table.ai_right == "True")
    refuse("ai_right", other, "it must say whether ai is label")
    whole = {name: numbers[name].astype(int) for name in ("participant", "position")}
    return table.assign(**numbers | whole, ai_right=right)[COLUMNS]


def _unique(records: pd.DataFrame) -> pd.DataFrame:
    twice = records.duplicated(["participant", "image_id"])
    if twice.any():
        one = records[twice].iloc[0]
        raise CourseError(
            f"reader {one.participant} has answered {one.image_id} twice ({twice.sum()} "
            "such answers): give every reader a number of their own, and each file once"
        )
    return records
