"""Charts of how explanations fare: lines with bands, who agrees with whom (used in 06)."""

from itertools import cycle
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .figures import BLUE, GREEN, GREY, LIGHT_MAP, ORANGE, PINK

STYLES = [(BLUE, "o-"), (ORANGE, "D--"), (GREEN, "s-."), (PINK, "^:"), (GREY, "v--")]
RIGHT = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8.5}


def lines(
    frames: dict[str, pd.DataFrame], xlabel: str, ylabel: str, zero=None
) -> Figure:
    """A line a frame: its score by its index, low to high as a band; `zero` a level."""
    fig, ax = plt.subplots(figsize=(4.8, 3.6))
    for (name, frame), (colour, style) in zip(frames.items(), cycle(STYLES)):
        words = pd.api.types.is_numeric_dtype(frame.index)
        x = frame.index.to_numpy() if words else np.arange(len(frame))
        label = fill(name, 24)
        ax.plot(x, frame.score, style, color=colour, label=label, ms=4, lw=1.6)
        if "low" in frame:
            ax.fill_between(x, frame.low, frame.high, color=colour, alpha=0.18, lw=0)
        if not words:
            ax.set_xticks(x, [fill(str(i), 9) for i in frame.index], fontsize=8.5)
    if zero is not None:
        ax.axhline(zero, color=GREY, ls=":", lw=1.2, zorder=0.5)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    fig.legend(loc="outside upper left", ncols=2, fontsize=9)
    return fig


def ranked(kinds: dict[str, pd.DataFrame], xlabel: str) -> Figure:
    """Rows of scores with their intervals, the best above; a kind of rows a colour."""
    order = pd.concat(kinds.values()).score.sort_values(ascending=False).index
    place = {name: at for at, name in enumerate(order)}
    fig, ax = plt.subplots(figsize=(5.6, 1 + 0.3 * len(order)))
    for (kind, frame), (colour, style) in zip(kinds.items(), STYLES, strict=False):
        y = [place[name] for name in frame.index]
        ax.hlines(y, frame.low, frame.high, color=colour, lw=2.5, alpha=0.6)
        ax.plot(
            frame.score,
            y,
            style[0],
            color=colour,
            label=kind,
            ms=6,
            ls="",
            clip_on=False,
        )
        for at, score in zip(y, frame.score, strict=True):
            ax.annotate(f"{score:.2f}", (1.02, at), **RIGHT)
    ax.set_yticks(range(len(order)), order)
    ax.set(xlabel=xlabel, xlim=(0, 1), ylim=(len(order) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside upper left", ncols=3, fontsize=9)
    return fig


def agreement(values: np.ndarray, names) -> Figure:
    """How much each kind of map agrees with each other (M×M), as numbers on colours."""
    many, names = len(names), [fill(str(name), 16) for name in names]
    fig, ax = plt.subplots(figsize=(min(1.6 + 0.62 * many, 4.8), 1.1 + 0.5 * many))
    ax.imshow(values, cmap=LIGHT_MAP, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        ink = "white" if value < 0.47 else "black"  # contrast 4.5 on either side
        text = f"{value:.2f}".replace("-", "−")
        ax.text(j, i, text, ha="center", va="center", color=ink, fontsize=8.5)
    ax.set_xticks(range(many), names, rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(many), names)
    ax.tick_params(labelsize=8.5)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return fig
