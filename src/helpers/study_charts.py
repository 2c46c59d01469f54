"""The charts of a study of trust: paired differences, and power (used in 06)."""

from itertools import cycle
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .figures import GREY
from .score_charts import DOTS, LEGEND, LINES
from .settings import CourseError
from .study import SCALE

SHARES = [
    "over-reliance",
    "switched to a wrong answer",
    "under-reliance",
    "accuracy",
    "accuracy before the AI (control)",
]
POINTS = ["trust", "trust in wrong answers", "confidence"]
TIME = ["seconds (log)"]
SHORT = {TIME[0]: "time", SHARES[-1]: "accuracy before the AI's answer"}


def differences(tables: dict[str, pd.DataFrame]) -> list[Figure]:
    """With explanation minus without, a study a colour: points, shares, time."""
    points = _panel(tables, POINTS, f"points of {SCALE[1]}", "{:+.1f}".format)
    shares = _panel(tables, SHARES, "percentage points", lambda x: f"{100 * x:+.0f}")
    time = _panel(tables, TIME, "in time", lambda x: f"{100 * np.expm1(x):+.0f}%")
    ax = time.axes[0]
    wide = ax.get_xlim()[1]  # in logarithms, told as shares
    step = 0.1 if wide < 0.35 else 0.25 if wide < 0.8 else 0.5
    ticks = np.log1p([k * step for k in range(-9, 20) if k * step > -1])
    ax.set_xticks([tick for tick in ticks if abs(tick) < wide])
    return [points, shares, time]


def _panel(tables, measures: list[str], unit: str, written) -> Figure:
    """Rows of differences with intervals; the line is no difference."""
    many, ends = len(tables), [0.0]
    tall = max(0.44, 0.24 * many) * len(measures)
    fig, ax = plt.subplots(figsize=(4.8, 1.0 + tall + 0.2 * many * (many > 1)))
    for i, (name, table) in enumerate(tables.items()):
        colour, dot = DOTS[(i - many) % len(DOTS)]
        rows = table.reindex(measures)
        y = np.arange(len(measures)) + (i - (many - 1) / 2) * 0.7 / many
        ax.hlines(y, rows.low, rows.high, color=colour, lw=2.5, alpha=0.6)
        ax.plot(rows.difference, y, dot, color=colour, label=name, ms=5.5)
        for at in y[rows.difference.isna()]:
            how = {"color": colour, "fontsize": 8.5, "va": "center"}
            ax.text(0, at, "  cannot be measured", **how)
        ends += [*rows[["difference", "low", "high"]].to_numpy().ravel()]
    wide = np.nanmax(np.abs(ends)) * 1.12 or 1
    ax.axvline(0, color=GREY, lw=1.2, zorder=0.5)
    ax.set(xlim=(-wide, wide), ylim=(len(measures) - 0.5, -0.5))
    ax.set_yticks(range(len(measures)), [fill(SHORT.get(m, m), 20) for m in measures])
    ax.xaxis.set_major_locator(plt.MaxNLocator(5))
    ax.xaxis.set_major_formatter(
        lambda x, _: written(x).replace("-", "−") if abs(x) > 1e-9 else "0"
    )
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"with explanation minus without,\n{unit} ({_who(tables)})")
    if many > 1:
        fig.legend(**LEGEND | {"ncols": 1})
    return fig


def _who(tables: dict[str, pd.DataFrame]) -> str:
    """Whose answers these are: a chart says aloud that its readers are simulated."""
    kinds = {kind for table in tables.values() for kind in table.readers}
    return " and ".join(f"{kind} readers" for kind in sorted(kinds))


def power(table: pd.DataFrame, marks: tuple[int, ...] = ()) -> Figure:
    """How often a study finds each measure's difference, by its number of readers."""
    known = table.dropna(subset="power")
    if known.empty:
        raise CourseError("nothing to draw: no measure of the table can be measured")
    fig, ax = plt.subplots(figsize=(4.8, 3.4))
    styles = zip(known.groupby("measure", sort=False), cycle(LINES))
    for (name, rows), (colour, dash) in styles:
        x, label = rows.participants, f"{name} (effect {rows.effect.iloc[0]:+.2f})"
        label = label.replace(" -", " −")
        ax.plot(x, rows.power, dash, marker="o", ms=4, color=colour, label=label)
        ax.fill_between(x, rows.low, rows.high, color=colour, alpha=0.15, lw=0)
    ax.axhline(0.8, color=GREY, ls=":", lw=1.2)
    for mark in marks:
        ax.axvline(mark, color=GREY, ls="--", lw=1.2)
        ax.text(mark, 0.02, f" {mark}", fontsize=8.5)
    ax.set(ylim=(0, 1.03), xlim=(0, None), ylabel="studies that find it")
    ax.set_xlabel(f"readers in the study ({_who({'': table})})")
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    fig.legend(**LEGEND | {"ncols": 1})
    return fig


def words(tables: dict[str, pd.DataFrame]) -> str:
    """What `differences` shows, for those who cannot see it."""
    return "; ".join(
        f"{name} ({_who({name: table})}): "
        + ", ".join(
            f"{row} {gap:+.2f}" if pd.notna(gap) else f"{row} cannot be measured"
            for row, gap in table.difference.items()
        )
        for name, table in tables.items()
    )


def power_words(table: pd.DataFrame) -> str:
    """What `power` shows, for those who cannot see it."""
    rows = table.dropna(subset="power").groupby("measure", sort=False)
    return f"{_who({'': table})}; " + "; ".join(
        f"{name}: "
        + ", ".join(
            f"{p:.0%} with {n}" for n, p in zip(r.participants, r.power, strict=True)
        )
        for name, r in rows
    )
