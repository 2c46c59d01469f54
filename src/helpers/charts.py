"""The charts of the course, each a function from a table to a figure (01 on).

They only draw; `figures.show` puts them into the page with words.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .figures import BLUE, COLOURS, GREY, INK, LIGHT_MAP, ORANGE


def _rows(n: int, wide: float = 4.8, per_row: float = 0.34, extra: float = 0.8):
    """A figure whose height fits its n rows, read from the top."""
    fig, ax = plt.subplots(figsize=(wide, extra + per_row * n))
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return fig, ax


def class_counts(counts: pd.DataFrame) -> Figure:
    """Pictures and lesions of each class, with the numbers."""
    fig, ax = _rows(len(counts), per_row=0.42)
    y = np.arange(len(counts))
    ax.barh(y - 0.19, counts.pictures, 0.34, color=BLUE, label="pictures")
    ax.barh(y + 0.19, counts.lesions, 0.34, color=ORANGE, label="lesions")
    for shift, column in ((-0.19, counts.pictures), (0.19, counts.lesions)):
        for at, count in zip(y, column, strict=True):
            ax.text(count, at + shift, f" {count:,}", va="center", fontsize=8.5)
    ax.set_yticks(y, counts.index)
    ax.set_xlim(0, counts.pictures.max() * 1.12)
    ax.xaxis.set_major_locator(plt.MaxNLocator(5))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("count")
    ax.legend(loc="lower right")
    return fig


def shares(frame: pd.DataFrame, xlabel: str) -> Figure:
    """Rows as stacked bars of shares; a column a colour."""
    fig, ax = _rows(len(frame), extra=1.2)
    left = np.zeros(len(frame))
    for name, colour in zip(frame.columns, COLOURS, strict=False):
        rows = frame.index.astype(str)
        ax.barh(rows, frame[name], 0.7, left=left, color=colour, label=name)
        left += frame[name].to_numpy()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel(xlabel)
    fig.legend(loc="outside upper left", ncols=4, fontsize=9)
    return fig


def columns(series: pd.Series, xlabel: str, ylabel: str) -> Figure:
    """A small bar chart with the value over each column."""
    fig, ax = plt.subplots(figsize=(4.8, 2.6))
    bars = ax.bar(series.index.astype(str), series, color=BLUE)
    ax.bar_label(bars, [f"{v:.0%}" for v in series], fontsize=9, padding=2)
    ax.grid(axis="x", visible=False)
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return fig


def leak(name: str, leaked: pd.Series) -> Figure:
    """The leak of each class of a data set; the whole set is the dashed line."""
    each = leaked.drop("all").sort_values(ascending=False)
    fig, ax = _rows(len(each), wide=2.4, per_row=0.32, extra=1.1)
    colours = [ORANGE if name == "mel" else BLUE for name in each.index]
    bars = ax.barh(each.index, each, color=colours)
    ax.bar_label(bars, [f"{v:.0%}" for v in each], fontsize=8.5, padding=2)
    ax.axvline(leaked["all"], color=GREY, ls="--", lw=1.2, zorder=0.5)
    ax.set_title(f"{name}\n{leaked['all']:.1%} overall")
    ax.set_xlim(0, 1.12)
    ax.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    ax.set_xlabel("held out and leaked")
    return fig


def intervals(frame: pd.DataFrame, xlabel: str, chance: float | None = None) -> Figure:
    """Scores as dots with their intervals (columns score, low, high), a row each."""
    fig, ax = _rows(len(frame))
    y = np.arange(len(frame))
    ax.hlines(y, frame.low, frame.high, color=BLUE, lw=2.5, alpha=0.6)
    ax.plot(frame.score, y, "o", color=BLUE)
    ax.set_yticks(y, frame.index)
    if chance is not None:
        ax.axvline(chance, color=ORANGE, ls="--", lw=1.4)
        ax.text(chance, -0.75, " chance", fontsize=9, va="center")
    ax.set_ylim(len(frame) - 0.4, -1.1)
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.set_xlabel(xlabel)
    return fig


def heat(values: np.ndarray, label: str) -> Figure:
    """A map with its colour bar."""
    fig, ax = plt.subplots(figsize=(4.2, 3.4))
    image = ax.imshow(values, cmap=LIGHT_MAP, vmin=0, vmax=1)
    ax.plot([values.shape[1] / 2], [values.shape[0] / 2], "+", color="white", ms=10)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(False)
    fig.colorbar(image, ax=ax, label=label, shrink=0.9)
    return fig


def by_group(frame: pd.DataFrame, value: str, group: str, xlabel: str) -> Figure:
    """A value's spread within each group, in the order of the categories."""
    names = list(frame[group].cat.categories)
    fig, ax = _rows(len(names))
    parts = [frame.loc[frame[group] == name, value].dropna() for name in names]
    box = ax.boxplot(parts, orientation="horizontal", widths=0.6, patch_artist=True)
    for patch in box["boxes"]:
        patch.set(facecolor=BLUE, edgecolor=GREY, alpha=0.55)
    for line in (*box["medians"], *box["whiskers"], *box["caps"]):
        line.set_color(INK if line in box["medians"] else GREY)
    for flier in box["fliers"]:
        flier.set(marker=".", markeredgecolor=GREY, markersize=4)
    ax.set_yticks(range(1, len(names) + 1), names)
    ax.set_xlabel(xlabel)
    return fig


def costs_of_archive(table: pd.DataFrame) -> Figure:
    """Hours (bars, on a logarithmic scale) and the cost of each way, a row each."""
    fig, ax = _rows(len(table), per_row=0.5)
    ax.barh(table.index, table.hours, 0.6, color=BLUE)
    for y, (hours, cost) in enumerate(zip(table.hours, table.cost, strict=True)):
        told = f" {hours:,.2f} h" + (
            f", {cost:,.2f} dollars" if np.isfinite(cost) else ""
        )
        ax.text(hours, y, told, va="center", fontsize=9)
    ax.set_xscale("log")
    ax.set_xlim(table.hours.min() / 3, table.hours.max() * 20)
    ax.grid(axis="x", which="minor", visible=False)
    ax.set_xlabel("hours")
    return fig
