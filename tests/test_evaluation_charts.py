"""Charts of notebook 06: what they draw is what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import evaluation_charts

plt.switch_backend("agg")
pytestmark = pytest.mark.usefixtures("style")


@pytest.mark.parametrize("index", [[0.0, 0.5, 1.0], ["none", "head", "blocks.6"]])
def test_lines_hold_their_scores_and_bands(index):
    frame = pd.DataFrame({"score": [1, 0.5, 0], "low": 0.0, "high": 1.0}, index)
    named = {"first": frame, "second": frame[["score"]]}
    fig = evaluation_charts.lines(named, "x", "y", zero=0.5)
    (ax,) = fig.axes
    drawn = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in drawn] == ["first", "second"]
    assert all((line.get_ydata() == frame.score).all() for line in drawn)
    assert len(ax.collections) == 1, "a band where there is an interval"
    if isinstance(index[0], str):
        assert [t.get_text() for t in ax.get_xticklabels()] == index


def test_ranked_rows_come_best_first_with_their_numbers():
    table = pd.DataFrame({"score": [0.2, 0.9]}, ["low", "high"]).assign(low=0.1, high=1)
    other = pd.DataFrame({"score": [0.5], "low": 0.4, "high": 0.6}, ["between"])
    (ax,) = evaluation_charts.ranked({"clever": table, "dumb": other}, "x").axes
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["high", "between", "low"]
    told = {names[round(text.xy[1])]: text.get_text() for text in ax.texts}
    assert told == {"high": "0.90", "between": "0.50", "low": "0.20"}
    dots = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert dots == {"clever": [0.2, 0.9], "dumb": [0.5]}


def test_agreement_prints_every_number():
    values = np.array([[1.0, -0.25], [-0.25, 1.0]])
    fig = evaluation_charts.agreement(values, ["one", "two"])
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts == ["1.00", "−0.25", "−0.25", "1.00"]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["one", "two"]
