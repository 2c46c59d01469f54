"""The charts of models and scores, each a function from a table to a figure (02 on)."""

from itertools import cycle
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .figures import BLUE, GREEN, GREY, LIGHT_MAP, ORANGE, PINK

LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"), (GREY, "-"))
DOTS = ((GREEN, "s"), (ORANGE, "D"), (BLUE, "o"))  # the last series is blue
NOTE = {"textcoords": "offset points", "fontsize": 8.5}  # words near a point
LEGEND = {"loc": "outside upper left", "ncols": 2, "fontsize": 9}


def _percent(*axes) -> None:
    for axis in axes:
        axis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")


def learning(histories: dict[str, pd.DataFrame]) -> list[Figure]:
    """Each recipe's losses and, beneath, its score; dotted: the epoch that was kept."""
    wide = 3.1 if len(histories) in (1, 2, 4) else 2.3  # two in a row, or three
    last = max(map(len, histories.values()))
    return [_learned(*each, wide, last) for each in histories.items()]


def _learned(name: str, table: pd.DataFrame, wide: float, last: int) -> Figure:
    fig, (loss, score) = plt.subplots(2, sharex=True, figsize=(wide, 3.2))
    columns = ["train_loss", "valid_loss", "score", "kept"]
    table = table.reindex(columns=columns).astype(float)
    table.index = np.arange(1, len(table) + 1)  # phases each count from 1: count on
    loss.plot(table.train_loss, ".-", color=BLUE, label="training")
    if table.valid_loss.notna().any():
        loss.plot(table.valid_loss, ".--", color=ORANGE, label="calibration")
    score.plot(table.score, ".-", color=GREEN)
    score.set(xlim=(max(1 - last / 20, 0.4), last * 1.05), xlabel="epoch")
    for epoch, value in table.score[table.kept == 1][-1:].items():
        loss.axvline(epoch, color=GREY, ls=":", lw=1.4)
        score.axvline(epoch, color=GREY, ls=":", lw=1.4)
        score.plot(epoch, value, "o", color=GREEN)
        score.set_xlabel(f"epoch (kept: {epoch}, {value:.0%})".replace(", nan%", ""))
    loss.set(ylim=(0, None), ylabel="loss")
    loss.set_title(fill(name, round(wide * 12 - 8)), pad=20)
    tight = {"handlelength": 1.3, "columnspacing": 0.7, "handletextpad": 0.3}
    key = loss.legend(loc=(-0.05, 1.01), ncols=2, fontsize=8.5, **tight)
    key.set_in_layout(False)
    score.set(ylim=(0, 1.02), yticks=(0, 0.5, 1), ylabel="score")
    score.xaxis.set_major_locator(plt.MaxNLocator(5, integer=True))
    _percent(score.yaxis)
    fig.align_ylabels()
    return fig


def confusion(counts: pd.DataFrame) -> Figure:
    """Counts, true classes by answers; the colour is the share of the row."""
    total, (rows, cols) = counts.sum(axis=1), counts.shape
    names = [fill(f"{name} ({n:,.0f})", 20) for name, n in total.items()]
    row, answer = min(20, max(map(len, names))), max(len(str(name)) for name in counts)
    side = 0.6 if cols < 5 else 0.46
    turn = answer > side * 12
    wide = 0.6 + 0.075 * row + max(side * cols, 1.3)
    high = 1.4 + 0.05 * answer * turn + side * 0.9 * rows
    fig, ax = plt.subplots(figsize=(wide, high))
    scale = plt.cm.ScalarMappable(plt.Normalize(0, 1), LIGHT_MAP)
    for (y, x), count in np.ndenumerate(counts.to_numpy(float)):
        share = count / total.iloc[y] if count > 0 else 0
        colour = scale.to_rgba(share) if share else GREY + "1f"
        ax.add_patch(plt.Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, lw=0, fc=colour))
        if share:
            ink = "#16161a" if share > 0.47 else "white"  # whatever the page
            look = {"ha": "center", "va": "center", "fontsize": 9.5, "color": ink}
            ax.text(x + 0.5, y + 0.5, f"{count:,.0f}", **look)
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if turn else {}
    ax.set_xticks(np.arange(cols) + 0.5, counts.columns, **turned)
    ax.set_yticks(np.arange(rows) + 0.5, names)
    ax.set(xlim=(0, cols), ylim=(rows, 0), xlabel="answer", ylabel="truth (pictures)")
    ax.tick_params(length=0)
    ax.set_frame_on(False)
    ax.grid(False)
    bar = fig.colorbar(scale, ax=ax, location="top", ticks=(0, 0.5, 1), aspect=40)
    bar.set_label("share of the row")
    _percent(bar.ax.xaxis)
    return fig


def reliability(
    before: pd.DataFrame, after: pd.DataFrame, titles=("before", "after temperature")
) -> list[Figure]:
    """How often answers are right, by how sure the model said it was."""
    columns, figs = ["confidence", "accuracy", "low", "high", "n"], []
    for table, title in zip((before, after), titles, strict=True):
        bins = table.reindex(columns=columns).astype(float)
        shape = {"figsize": (3.1, 3.7), "height_ratios": (5, 1)}
        fig, (ax, below) = plt.subplots(2, sharex=True, **shape)
        ax.plot([0, 1], [0, 1], "--", color=GREY, lw=1.2)
        ax.vlines(bins.confidence, bins.low, bins.high, color=BLUE, lw=2, alpha=0.6)
        ax.plot(bins.confidence, bins.accuracy, "o", color=BLUE, ms=5, clip_on=False)
        ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="share right")
        ax.set(xticks=np.linspace(0, 1, 5), yticks=np.linspace(0, 1, 5))
        ax.set_title(fill(title, 30))
        below.bar(bins.confidence, bins.n, 0.04, color=BLUE, alpha=0.6)
        below.set(xlabel="confidence", ylabel="n")
        below.grid(axis="x", visible=False)
        below.yaxis.set_major_locator(plt.MaxNLocator(2, integer=True))
        _percent(ax.xaxis, ax.yaxis)
        fig.align_ylabels()
        figs.append(fig)
    most = max(1, *(fig.axes[1].get_ylim()[1] for fig in figs))
    for fig in figs:
        fig.axes[1].set_ylim(0, most)
    return figs


def risk_coverage(curves: dict[str, pd.DataFrame]) -> Figure:
    """How often answers are wrong when the model answers only where it is surest."""
    fig, ax = _lines({n: curve.set_index("coverage") for n, curve in curves.items()})
    ax.set(xlim=(0, 1.02), xlabel="share of pictures answered")
    ax.set_ylabel("wrong among the answered")
    _percent(ax.xaxis, ax.yaxis)
    return fig


def costs(table: pd.DataFrame, ylabel: str = "cost per picture") -> Figure:
    """What each way of deciding costs (a column), by the price of a missed melanoma."""
    fig, ax = _lines({name: table[name].to_frame("error") for name in table})
    cheap, dear = table.min(axis=1).max(), table.max(axis=None)
    if cheap > 0:  # what is far dearer than the cheapest leaves at the top
        ax.set_ylim(0, min(3 * cheap, 1.05 * dear))
    ax.set(xscale="log", xlim=(table.index.min() / 1.2, table.index.max() * 1.2))
    ax.xaxis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.10g}")
    ax.xaxis.set_minor_locator(plt.NullLocator())
    ax.set(xlabel="needless biopsies that a missed melanoma costs", ylabel=ylabel)
    return fig


def _lines(curves: dict[str, pd.DataFrame]):
    """A line a frame: its errors by its index, low to high as a light band."""
    fig, ax = plt.subplots(figsize=(4.8, 3.4))
    for (name, curve), (colour, dash) in zip(curves.items(), cycle(LINES)):
        curve = curve.sort_index()
        x, label, dot = curve.index, fill(name, 28), "o" if len(curve) == 1 else None
        ax.plot(x, curve.error, dash, marker=dot, color=colour, label=label)
        if {"low", "high"} <= set(curve):
            ax.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, lw=0)
    ax.set_ylim(0)
    fig.legend(**LEGEND)
    return fig, ax


def learning_rates(rates, losses, suggestion: float | None) -> Figure:
    """The search for a learning rate: the loss as the rate grows, and the choice."""
    losses = pd.Series(np.asarray(losses, float)).where(np.isfinite)
    fig, ax = plt.subplots()
    ax.plot(rates, losses, color=BLUE, marker="." if len(losses) == 1 else None)
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(plt.NullLocator())
    ax.set(xlabel="learning rate", ylabel="loss, smoothed")
    if losses.notna().any():  # the blow-up at the end would hide the fall before it
        low, high = losses.min(), losses[: losses.argmin() + 1].max()
        ax.set_ylim(top=high + max(0.3 * (high - low), 0.1 * abs(high)))
    if suggestion is not None and np.isfinite(suggestion):
        _flags(ax, {f"suggested: {suggestion:.2g}": suggestion})
    return fig


def compare(frames: dict, xlabel: str, floors: dict | None = None) -> Figure:
    """Rows of scores as dots with intervals, a frame a colour; dashed: the floors."""
    fig, ax, series = _dots(frames, len(floors or {}))
    for y, scores in series:
        _column(ax, y, scores, "{:.0%}", 34)
    if len(frames) > 1:
        fig.legend(**LEGEND)
    _flags(ax, floors or {})
    ax.set_xlabel(xlabel)
    return fig


def words(frames: dict) -> str:
    """What `compare` shows, for those who cannot see it."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{row} {score:.2f}" for row, score in t.score.items())
        for name, t in frames.items()
    )


def coverage(table: pd.DataFrame, target: float) -> Figure:
    """How often each class's sets hold the truth, against what was aimed at."""
    fig, ax, [(y, _)] = _dots({"": table.rename(columns={"coverage": "score"})}, 1)
    for name, form, place in (("set size", "{:.1f}", 50), ("n", "{:,.0f}", 88)):
        if name in table:
            _column(ax, [-0.75], [name], "{}", place)
            _column(ax, y, table[name], form, place)
    _flags(ax, {f"target {target:.0%}": target})
    ax.set_xlabel("sets that hold the truth")
    return fig


def _dots(frames: dict[str, pd.DataFrame], flags: int):
    """Rows read from the top; and where each frame's dots lie, with their scores."""
    names = list(dict.fromkeys(name for part in frames.values() for name in part.index))
    labels, many = [fill(str(name), 22) for name in names], len(frames)
    tall = max(0.34, 0.22 * many, *(0.17 * len(x.split("\n")) for x in labels))
    fig, ax = plt.subplots(figsize=(4.8, 0.75 + 0.18 * flags + tall * len(names)))
    series = []
    for i, (label, frame) in enumerate(frames.items()):
        colour, dot = DOTS[(i - many) % len(DOTS)]
        frame = frame.reindex(names).reindex(columns=["score", "low", "high"])
        y = np.arange(len(names)) + (i - (many - 1) / 2) * 0.76 / many
        ax.hlines(y, frame.low, frame.high, color=colour, lw=2.5, alpha=0.6)
        ax.plot(frame.score, y, dot, color=colour, label=label, ms=5.5)
        series.append((y, frame.score))
    ax.set_yticks(range(len(names)), labels)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(plt.MaxNLocator(5, steps=(1, 2, 5, 10)))
    _percent(ax.xaxis)
    return fig, ax, series


def _column(ax, rows, values, form: str, place: float) -> None:
    """Values at the right of their rows, ending `place` points from the chart."""
    side = {"xycoords": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
    for y, value in zip(rows, values, strict=True):
        word = "–" if pd.isna(value) else form.format(value)
        ax.annotate(word, (1, y), (place, 0), **side, **NOTE)


def _flags(ax, values: dict[str, float]) -> None:
    """Dashed lines, named above the chart; the rightmost highest: none cross."""
    pole = {"arrowstyle": "-", "color": GREY, "ls": "--", "lw": 1.2}
    pole |= {"relpos": (1, 0), "shrinkA": 0, "shrinkB": 0}
    how = {"xycoords": ax.get_xaxis_transform(), "arrowprops": pole, "ha": "right"}
    for level, (name, x) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        ax.axvline(x, color=GREY, ls="--", lw=1.2, zorder=0.5)
        ax.annotate(f"{name} ", (x, 1), (0, 3 + 13 * level), **how, **NOTE)
