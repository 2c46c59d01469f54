"""The charts of models and scores draw what is in their tables, and stay legible."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from helpers import figures, score_charts

plt.switch_backend("agg")
pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("style")]
CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
LONG = "fine-tuned, with discriminative learning rates, mixup and twelve views"


def words(ax) -> list[str]:
    return [text.get_text().strip() for text in ax.texts]


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(fig) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


def points(line) -> list[tuple]:
    return list(zip(*line.get_data(), strict=True))


def title(fig) -> str:
    return fig.axes[0].get_title(loc="left").replace("\n", " ")


def dashed(ax) -> list[float]:
    """Where the vertical dashed or dotted lines stand."""
    upright = [x for x in ax.lines if list(x.get_ydata()) == [0, 1]]
    return [x.get_xdata()[0] for x in upright if x.get_xdata()[0] == x.get_xdata()[1]]


def box(artist, fig):
    if isinstance(artist, Annotation):
        artist.update_positions(fig.canvas.get_renderer())
        return plt.Text.get_window_extent(artist)
    return artist.get_window_extent()


def drawn(fig) -> list[plt.Text]:
    """The words that are really drawn: not the tick labels beyond the limits."""
    seen, draw = [], plt.Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt.Text, "draw", lambda t, *how: [seen.append(t), draw(t, *how)])
        fig.canvas.draw()
    return [text for text in seen if text.get_visible() and text.get_text().strip()]


def assert_legible(fig):
    """All words lie within the chart, and no two of them on one another."""
    texts = drawn(fig)
    boxes = [box(text, fig) for text in texts]
    for text, at in zip(texts, boxes, strict=True):
        inside = fig.bbox.padded(1.5)
        assert inside.contains(at.x0, at.y0) and inside.contains(at.x1, at.y1), text
    for (a, at), (b, bt) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        if not (a.get_rotation() % 90 or b.get_rotation() % 90):
            assert not at.padded(-1).overlaps(bt.padded(-1)), (a, b)


def history(epochs=6, kept=3):
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "valid_loss": 2 / epoch + 0.3,
            "score": 1 - 0.6 / epoch,
            "kept": epoch == kept,
        }
    )


def scores(*values, names=("frozen", "fine-tuned", "weighted", "scratch")):
    score = np.array(values)
    columns = {"score": score, "low": score - 0.06, "high": score + 0.05}
    return pd.DataFrame(columns, list(names)[: len(values)])


def bins(*confidences):
    x = np.array(confidences)
    columns = {"confidence": x, "accuracy": x * 0.8, "low": x * 0.6, "high": x * 0.95}
    return pd.DataFrame(columns | {"n": np.arange(1, len(x) + 1) * 50})


def curve(high=0.2):
    coverage = np.linspace(0.05, 1, 20)
    return pd.DataFrame({"coverage": coverage, "error": high * coverage})


def sets(n=7):
    share = np.linspace(0.7, 1, 7)
    columns = {
        "coverage": share,
        "low": share - 0.1,
        "high": np.minimum(share + 0.1, 1),
    }
    columns |= {
        "set size": np.linspace(3.14, 1, 7),
        "n": [33, 51, 110, 12, 111, 6705, 14],
    }
    return pd.DataFrame(columns, CLASSES)[:n]


@pytest.mark.parametrize(("recipes", "wide"), [(2, 3.1), (3, 2.3), (4, 3.1)])
def test_a_recipe_has_its_losses_its_score_and_its_kept_epoch(recipes, wide):
    table = history()
    figs = score_charts.learning({f"recipe {i}": table for i in range(recipes)})
    assert [title(fig) for fig in figs] == [f"recipe {i}" for i in range(recipes)]
    for fig in figs:
        assert fig.get_figwidth() == wide
        loss, score = fig.axes
        train, valid, _ = loss.lines
        assert points(train) == list(zip(table.epoch, table.train_loss, strict=True))
        assert points(valid) == list(zip(table.epoch, table.valid_loss, strict=True))
        assert [t.get_text() for t in loss.get_legend().get_texts()] == [
            "training",
            "calibration",
        ]
        assert dashed(loss) == dashed(score) == [3]
        assert points(score.lines[0]) == list(
            zip(table.epoch, table.score, strict=True)
        )
        assert points(score.lines[-1]) == [(3, 0.8)]
        assert score.get_xlabel() == "epoch (kept: 3, 80%)"
        assert score.get_ylim() == (0, 1.02) and loss.get_ylim()[0] == 0
        assert_legible(fig)


def test_recipes_of_different_length_share_their_epochs():
    recipes = {"a": history(1, 1), LONG: history(25, 20), "b": history()}
    short, long, _ = score_charts.learning(recipes)
    assert short.axes[1].get_xlim() == long.axes[1].get_xlim()
    assert title(long) == LONG
    assert short.axes[1].get_xlabel() == "epoch (kept: 1, 40%)"
    for fig in (short, long):
        assert fig.axes[0].get_position().width > 0.6  # no word pushes the chart aside
        assert_legible(fig)


def test_the_epochs_of_a_second_phase_count_on():
    phases = pd.concat([history(2, 1), history(4, 3)])
    phases["kept"] = phases.kept.where(phases.kept, None)  # as read from a file
    [fig] = score_charts.learning({"frozen, then fine-tuned": phases})
    assert list(fig.axes[0].lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert dashed(fig.axes[0]) == [5] and "kept: 5" in fig.axes[1].get_xlabel()
    assert_legible(fig)


@pytest.mark.parametrize("without", ["valid_loss", "score", "kept"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_history_may_lack_a_column(without, empty):
    table = history()
    table[without] = np.nan
    table = table if empty else table.drop(columns=without)
    [fig] = score_charts.learning({"a": table})
    lines = len(fig.axes[0].lines) - len(dashed(fig.axes[0]))
    assert lines == (1 if without == "valid_loss" else 2)
    assert dashed(fig.axes[0]) == ([] if without == "kept" else [3])
    assert "nan" not in fig.axes[1].get_xlabel()
    assert_legible(fig)


def counts(classes, seed=0):
    drawn = np.random.default_rng(seed).poisson(9, (len(classes),) * 2)
    drawn[0, 1] = 0
    return pd.DataFrame(drawn + 90 * np.eye(len(classes), dtype=int), classes, classes)


@pytest.mark.parametrize(
    "classes", [CLASSES, CLASSES[:3], ["common", "atypical", "mel"]]
)
def test_every_count_is_in_its_cell_in_an_ink_that_shows(classes):
    table = counts(classes)
    fig = score_charts.confusion(table)
    ax, bar = fig.axes
    texts = {t.get_position(): t for t in ax.texts}
    assert len(ax.patches) == table.size and len(texts) == (table > 0).sum(axis=None)
    shares = table.div(table.sum(axis=1), axis=0).to_numpy()
    scale = plt.colormaps[figures.LIGHT_MAP]
    for patch, (y, x) in zip(ax.patches, np.ndindex(*table.shape), strict=True):
        if table.iat[y, x] == 0:
            assert patch.get_alpha() or patch.get_facecolor()[3] < 0.2  # quiet
            continue
        assert to_hex(patch.get_facecolor()) == to_hex(scale(shares[y, x]))
        text = texts[x + 0.5, y + 0.5]
        assert text.get_text() == str(table.iat[y, x])
        assert contrast(text.get_color(), patch.get_facecolor()) > 4
    assert ticks(ax.xaxis) == classes and ax.get_ylim()[0] == len(classes)  # from top
    total = table.sum(axis=1)
    assert ticks(ax.yaxis) == [f"{name} ({total[name]})" for name in classes]
    assert bar.get_xlabel() == "share of the row" and fig.get_figwidth() < 5
    assert_legible(fig)


def contrast(ink, ground) -> float:
    """The contrast of two colours as WCAG has it."""
    lights = []
    for colour in (ink, ground):
        rgb = np.array(plt.matplotlib.colors.to_rgb(colour))
        rgb = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
        lights.append(rgb @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(lights) / min(lights)


def test_ink_shows_on_every_share():
    for part in range(1, 100, 4):
        fig = score_charts.confusion(pd.DataFrame([[part, 100 - part]]))
        for text, patch in zip(fig.axes[0].texts, fig.axes[0].patches, strict=True):
            assert contrast(text.get_color(), patch.get_facecolor()) > 4
        plt.close(fig)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame([[5]], ["mel"], ["mel"]),
        pd.DataFrame([[0, 0], [1, 20_000]], ["mel", "nv"], ["mel", "nv"]),
        pd.DataFrame([[np.nan, 2], [1, np.nan]], ["mel", "nv"], ["mel", "nv"]),
        pd.DataFrame([[1, 2, 3]], ["mel"], ["mel", "nv", "not sure"]),
        counts(list(map(figures.NAMES.get, CLASSES))),
    ],
)
def test_odd_counts_are_drawn(table):
    fig = score_charts.confusion(table)
    assert len(fig.axes[0].texts) == (table > 0).sum(axis=None)
    assert fig.get_figwidth() <= 7
    assert_legible(fig)


def test_reliability_shows_dots_whiskers_and_how_many():
    before, after = bins(0.3, 0.6, 0.95), bins(0.2, 0.5)
    figs = score_charts.reliability(before, after)
    assert [title(fig) for fig in figs] == ["before", "after temperature"]
    for fig, table in zip(figs, (before, after), strict=True):
        ax, below = fig.axes
        diagonal, dots = ax.lines
        assert points(diagonal) == [(0, 0), (1, 1)]
        assert points(dots) == list(zip(table.confidence, table.accuracy, strict=True))
        ends = [(a[1], b[1]) for a, b in ax.collections[0].get_segments()]
        assert ends == list(zip(table.low, table.high, strict=True))
        assert [bar.get_height() for bar in below.patches] == list(table.n)
        assert (
            below.get_ylim() == figs[0].axes[1].get_ylim() and below.get_ylim()[1] > 150
        )
        assert_legible(fig)


@pytest.mark.parametrize(
    "table", [bins(0.9), bins(0.9) * np.nan, bins(0.4, 1)[["confidence", "accuracy"]]]
)
def test_reliability_of_little(table):
    for fig in score_charts.reliability(table, table, (LONG, "after")):
        assert len(fig.axes[0].lines[1].get_xdata()) == len(table)
        assert fig.axes[1].get_ylim()[1] >= 1
        assert_legible(fig)


def test_each_curve_of_risk_has_a_line_a_name_and_its_band():
    banded = curve().assign(low=0, high=0.3)
    curves = {
        "largest probability": banded,
        "twelve views": curve(0.1),
        LONG: curve(0.3),
    }
    fig = score_charts.risk_coverage(curves)
    [ax] = fig.axes
    for line, table in zip(ax.lines, curves.values(), strict=True):
        assert points(line) == list(zip(table.coverage, table.error, strict=True))
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len({a for a, _ in looks}) == len({b for _, b in looks}) == 3
    assert [name.replace("\n", " ") for name in legend(fig)] == list(curves)
    assert len(ax.collections) == 1 and ax.get_ylim()[0] == 0
    assert ax.get_xlabel() == "share of pictures answered"
    assert ax.get_ylabel() == "wrong among the answered"
    assert_legible(fig)


@pytest.mark.parametrize(
    "table", [curve()[-1:], curve() * np.nan, curve(0), curve()[::-1]]
)
def test_odd_curves_are_drawn(table):
    fig = score_charts.risk_coverage({"a": table})
    x = fig.axes[0].lines[0].get_xdata()
    assert len(x) == len(table) and (np.diff(x) > 0).sum() in (0, len(table) - 1)
    assert len(table) > 1 or fig.axes[0].lines[0].get_marker() == "o"
    assert_legible(fig)


def prices(ks=(1, 2, 5, 10, 20, 50, 100, 1000)):
    k = np.array(ks, float)
    columns = {"most likely class": 12 + 4 * k, "chosen": 20 + 9 * np.sqrt(k)}
    return pd.DataFrame(columns | {"biopsy all": 90 + 0 * k, "biopsy none": 10 * k}, ks)


def test_each_column_of_costs_is_a_line_on_plain_numbers():
    table = prices()
    fig = score_charts.costs(table)
    [ax] = fig.axes
    for line, name in zip(ax.lines, table, strict=True):
        assert points(line) == list(table[name].items())
    assert legend(fig) == list(table) and ax.get_xscale() == "log"
    assert {"1", "2", "5", "10", "100", "1,000"} <= set(ticks(ax.xaxis))
    assert ax.get_ylim() == (0, 270)  # three times the cheapest: the crossings show
    assert (
        score_charts.costs(table[["chosen"]], "euros").axes[0].get_ylabel() == "euros"
    )
    assert_legible(fig)


@pytest.mark.parametrize(
    "table", [prices([5]), prices() * 0, prices() * np.nan, prices()[["chosen"]]]
)
def test_odd_costs_are_drawn(table):
    fig = score_charts.costs(table)
    assert len(fig.axes[0].lines) == table.shape[1]
    low, high = fig.axes[0].get_ylim()
    assert low == 0 and not high < np.nan_to_num(table.min(axis=1).max())
    assert_legible(fig)


RATES = np.geomspace(1e-6, 10, 50)
LOSSES = 2 - 0.1 * np.arange(50) * (RATES < 0.1) + RATES**2


def test_the_suggestion_stands_on_the_curve_of_rates():
    fig = score_charts.learning_rates(list(RATES), list(LOSSES), 1.2e-3)
    [ax] = fig.axes
    assert points(ax.lines[0]) == list(zip(RATES, LOSSES, strict=True))
    assert dashed(ax) == [1.2e-3] and words(ax) == ["suggested: 0.0012"]
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[1] < 4 < LOSSES.max()  # the blow-up does not hide the fall
    assert_legible(fig)


@pytest.mark.parametrize(
    ("rates", "losses", "suggestion"),
    [
        ([1e-3], [2.0], None),
        (RATES, np.where(RATES > 1, np.inf, LOSSES), np.nan),
        (RATES, LOSSES * np.nan, 1e-2),
        (RATES, np.full(50, 2.0), 5.0),
        (RATES, pd.Series(LOSSES, RATES), 2e-6),
    ],
)
def test_odd_searches_are_drawn(rates, losses, suggestion):
    fig = score_charts.learning_rates(rates, losses, suggestion)
    known = suggestion is not None and np.isfinite(suggestion)
    assert len(fig.axes[0].texts) == known
    assert_legible(fig)


def test_one_frame_compares_without_a_legend():
    table = scores(0.5, 0.71, 0.74)
    fig = score_charts.compare(
        {"lesions": table}, "balanced accuracy", {"chance": 0.14}
    )
    [ax] = fig.axes
    assert not fig.legends and ticks(ax.yaxis) == list(table.index)
    assert points(ax.lines[0]) == list(zip(table.score, range(3), strict=True))
    ends = [(a[0], b[0]) for a, b in ax.collections[0].get_segments()]
    assert ends == list(zip(table.low, table.high, strict=True))
    assert words(ax) == ["50%", "71%", "74%", "chance"] and dashed(ax) == [0.14]
    assert ax.get_xlabel() == "balanced accuracy" and ax.get_ylim() == (2.5, -0.5)
    assert to_hex(ax.lines[0].get_color()) == figures.BLUE
    assert_legible(fig)


def test_two_frames_lie_side_by_side_in_two_colours():
    names = [LONG, "frozen", "fine-tuned"]
    one, two = scores(0.8, 0.7, 0.6, names=names), scores(0.7, 0.6, names=names[:2])
    frames = {"split by picture": one, "split by lesion": two}
    fig = score_charts.compare(frames, "macro-F1", {"always nv": 0.67})
    [ax] = fig.axes
    first, second = ax.lines[:2]
    assert legend(fig) == list(frames)
    assert [to_hex(x.get_color()) for x in (first, second)] == [
        figures.ORANGE,
        figures.BLUE,
    ]
    assert first.get_marker() != second.get_marker()
    assert (first.get_ydata() < second.get_ydata()).all()
    assert words(ax) == ["80%", "70%", "60%", "70%", "60%", "–", "always nv"]
    assert ticks(ax.yaxis)[0].replace("\n", " ") == LONG
    assert_legible(fig)


@pytest.mark.parametrize(
    "floors",
    [
        {"chance": 0.143, "always nv": 0.143, "colours alone": 0.144},
        {"chance": 0.14, "colours alone": 0.41, "always nv": 0.67},
        {"a floor with a long name, far right": 0.9, "always nv": 0.89, "chance": 0.5},
        {"x": 0.0, "a floor with a long name": 0.01},
    ],
)
def test_the_names_of_floors_lie_on_nothing(floors):
    frames = {"one": scores(0.9, 0.3, 0.5), "two": scores(0.85, 0.2, 0.45)}
    fig = score_charts.compare(frames, "balanced accuracy", floors)
    [ax] = fig.axes
    assert sorted(dashed(ax)) == sorted(floors.values())
    assert_legible(fig)
    names = [text for text in ax.texts if text.get_text().strip() in floors]
    assert len(names) == len(floors)
    for text in names:
        at = box(text, fig)
        assert at.y0 >= ax.bbox.y1  # above every dot and interval
        for other in names:
            x, foot = (
                other.axes.transData.transform((other.xy[0], 0))[0],
                box(other, fig),
            )
            crosses = at.x0 + 1 < x < at.x1 - 1 and foot.y0 > at.y1
            assert not crosses, (text, other)


@pytest.mark.parametrize(
    "frames",
    [
        {"a": scores(0.5)},
        {"a": scores(0.5, 0.6) * np.nan},
        {"a": scores(0.5, 0.6)[["score"]]},
        {
            "a": scores(1.0, 0.0),
            LONG[:40]: scores(0.5),
            "c": scores(0.2),
            "d": scores(0.1),
        },
    ],
)
def test_odd_scores_are_drawn(frames):
    fig = score_charts.compare(frames, "score")
    rows = max(map(len, frames.values()))
    assert len(fig.axes[0].lines) == len(frames)
    assert len(fig.axes[0].texts) == rows * len(frames)
    assert_legible(fig)


def test_coverage_is_held_against_its_target():
    table = sets()
    fig = score_charts.coverage(table, 0.9)
    [ax] = fig.axes
    assert ticks(ax.yaxis) == CLASSES and dashed(ax) == [0.9]
    assert points(ax.lines[0]) == list(zip(table.coverage, range(7), strict=True))
    assert words(ax)[:3] == ["set size", "3.1", "2.8"]
    assert words(ax)[8:15] == ["n", "33", "51", "110", "12", "111", "6,705"]
    assert words(ax)[-1] == "target 90%"
    assert_legible(fig)


@pytest.mark.parametrize(
    "table",
    [
        sets(1),
        sets(3) * np.nan,
        sets()[["coverage"]],
        sets().drop(columns="n"),
        sets().rename(index={"mel": LONG}),
        sets().assign(coverage=1.0, low=0.97, high=1.0),
    ],
)
def test_odd_coverage_is_drawn(table):
    fig = score_charts.coverage(table, 0.95)
    columns = len({"set size", "n"} & set(table))
    assert len(fig.axes[0].texts) == columns * (len(table) + 1) + 1
    assert not [word for word in words(fig.axes[0]) if "nan" in word]
    assert_legible(fig)


def test_the_ink_is_the_pages_own_and_no_chart_is_wider_than_the_page():
    table = scores(0.5, 0.7)
    figs = [
        *score_charts.learning({"a": history()}),
        score_charts.confusion(counts(CLASSES)),
        *score_charts.reliability(bins(0.3, 0.6), bins(0.9)),
        score_charts.risk_coverage({"a": curve()}),
        score_charts.costs(prices()),
        score_charts.learning_rates(RATES, LOSSES, 1e-3),
        score_charts.compare({"a": table, "b": table}, "score", {"chance": 0.14}),
        score_charts.coverage(sets(), 0.9),
    ]
    for fig in figs:
        svg = figures._svg(fig, "a chart").lower()
        assert "currentcolor" in svg and fig.get_figwidth() <= 4.9
        assert "#000000" not in svg and "black" not in svg and figures.INK not in svg
