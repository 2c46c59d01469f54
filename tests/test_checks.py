"""Claims of the text, and the checkers of the exercises."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from helpers import checks
from helpers.navigation import sources, tagged

CHECKERS = {n[3:]: f for n, f in vars(checks).items() if n.startswith("ex_")}


def cells(tag: str) -> list[str]:
    notebooks = [nbformat.read(path, 4) for path in sources()]
    return [c.source for book in notebooks for c in book.cells if tagged(c, tag)]


def test_every_exercise_has_a_checker_a_try_and_a_solution():
    for tag in ("exercise", "check", "solution"):
        text = "\n".join(cells(tag))
        assert all(f"answer_{name}" in text for name in CHECKERS)
        assert set(re.findall(r"ex_(\d+_\d+)\(", text)) <= set(CHECKERS)


@pytest.mark.parametrize("source", cells("solution"))
def test_each_checker_accepts_its_solution(source, capsys):
    exec(source, {"checks": checks, "np": np, "pd": pd})
    assert capsys.readouterr().out.startswith("✔")


def test_the_empty_exercises_are_not_tried(capsys):
    for source in [*cells("exercise"), *cells("check")]:
        exec("\n".join([*cells("exercise"), source]), {"checks": checks})
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(CHECKERS) and all(line.startswith("○") for line in told)


def hook_that_stays(model, layer, x, tidy=False, clone=True):
    kept = []
    handle = layer.register_forward_hook(
        lambda _, __, output: kept.append(output.clone() if clone else output)
    )
    model(x)
    if tidy:
        handle.remove()
    return kept[0]


def hook_that_stays_after_an_error(model, layer, x):
    return hook_that_stays(model, layer, x, tidy=True)


def no_clone(model, layer, x):
    try:
        return hook_that_stays(model, layer, x, tidy=True, clone=False)
    finally:
        layer._forward_hooks.clear()


def without_a_hook(model, layer, x):
    return layer(x)


def run_by_hand(model, layer, x):
    for step in model:
        x = step(x)
        if step is layer:
            return x


def swallows_the_error(model, layer, x):
    kept = []
    handle = layer.register_forward_hook(
        lambda _, __, output: kept.append(output.clone())
    )
    try:
        model(x)
    except Exception:
        pass
    finally:
        handle.remove()
    return kept[0]


def not_the_output(model, layer, x):
    return model(x) + 1


HOOKS = {
    hook_that_stays: "a hook stayed",
    hook_that_stays_after_an_error: "a hook stayed",
    no_clone: "you kept what the ReLU overwrote",
    without_a_hook: "the model was never run",
    run_by_hand: "the model was never run",
    swallows_the_error: "the model's error was swallowed",
    not_the_output: "you gave something else",
}


def with_epsilon(eps):
    def alpha(A, g):
        under = 2 * g**2 + g**3 * A.sum((1, 2), keepdims=True)
        return np.where(g > 0, g**2 / (under + eps), 0)

    return alpha


def near(eps):
    def alpha(A, g):
        under = 2 + g * A.sum((1, 2), keepdims=True)
        return np.where(g > 0, 1 / (under + eps), 0)

    return alpha


WRONG = {
    "1_1": [
        lambda labels: labels.value_counts().iloc[0],  # a count, no share
        lambda labels: 1 / labels.nunique(),
        lambda labels: labels.value_counts(normalize=True).iloc[-1],
    ],
    "1_2": [
        lambda group, held: group.isin(group[~held]).mean(),  # of all pictures
        lambda group, held: group.duplicated(keep=False)[held].mean(),
        lambda group, held: 0.25,  # right for the one that the text shows
    ],
    "1_3": [
        lambda k, share: share ** (k - 1),  # the chance to escape
        lambda k, share: 1 - share**k,
        lambda k, share: (1 - share) ** (k - 1),
    ],
    "2_1": [
        lambda truth, said: (truth == said).mean(),  # plain accuracy
        lambda truth, said: np.mean([(said == c)[truth == c].sum() for c in {*truth}]),
        lambda truth, said: 0.5,
        lambda truth, said: np.mean(  # of classes that are never true as well
            [
                (said[truth == c] == c).sum() / max((truth == c).sum(), 1)
                for c in {*truth, *said}
            ]
        ),
    ],
    "2_2": [
        lambda probs, shares: probs * shares,  # does not sum to one
        lambda probs, shares: probs / shares / (probs / shares).sum(),
        lambda probs, shares: probs,
    ],
    "2_3": [
        lambda p, is_mel, wanted: np.quantile(p[is_mel], wanted),  # from the wrong end
        lambda p, is_mel, wanted: np.quantile(p[is_mel], 1 - wanted),  # between two
        lambda p, is_mel, wanted: p[is_mel].min(),
    ],
    "3_1": [
        lambda raw: np.maximum(raw, 0) / max(np.max(np.abs(raw)), 1e-9),
        lambda raw: (raw - raw.min()) / max(np.ptp(raw), 1e-9),  # min to max
        lambda raw: np.maximum(raw, 0) / np.float64(raw.max() or np.nan),
    ],
    "3_2": [
        lambda A, g: np.einsum("k,nkhw->nhw", g.mean((0, 2, 3)), A),  # one for all
        lambda A, g: (g * A).sum(1),  # HiResCAM
        lambda A, g: np.maximum(np.einsum("nk,nkhw->nhw", g.mean((2, 3)), A), 0),
    ],
    "4_1": [
        lambda A, g: 1 / (2 + g * A.sum((1, 2), keepdims=True)),  # negative g as well
        lambda A, g: np.where(g > 0, 1 / (2 + g * A.sum()), 0),  # of all channels
        lambda A, g: np.where(g > 0, 1 / (2 + g * A), 0),
        *map(with_epsilon, (1e-4, 1e-7, 1e-12)),
        *map(near, (1e-4, 1e-7)),
    ],
    "4_2": [
        lambda g, total, eps: 1.0,
        lambda g, total, eps: 1 / (1 + eps),
        lambda g, total, eps: g**2 / (2 * g**2 + total * g**3 + eps),
    ],
    "4_3": [
        lambda scores, alive: np.exp(scores) / np.exp(scores).sum(),  # the dead as well
        lambda scores, alive: scores * alive,
        lambda scores, alive: alive / alive.sum(),
    ],
    "5_1": [
        lambda caption, word: word in caption.lower(),  # substrings
        lambda caption, word: word in caption,
        lambda caption, word: bool(re.search(rf"\\b{word}\\b", caption.lower())),
    ],
    "5_2": [
        lambda first, second: (first == second).mean(),
        lambda first, second: 2 * (first == second).mean() - 1,
        lambda first, second: np.corrcoef(first, second)[0, 1],
    ],
    "5_3": [
        lambda labels: 1 / labels.nunique(),
        lambda labels: labels.value_counts(normalize=True).iloc[0],
        lambda labels: 3 / 7,
    ],
    "6_1": [
        lambda heatmap, mask: (
            ((heatmap >= 0.5) & mask).sum() / ((heatmap >= 0.5) | mask).sum()
        ),  # a fixed threshold
        lambda heatmap, mask: mask[
            heatmap >= np.sort(heatmap.ravel())[-mask.sum()]
        ].mean(),
        lambda heatmap, mask: 1.0,
    ],
    "6_2": [
        lambda probabilities: probabilities.mean(),
        lambda probabilities: np.trapezoid(probabilities),  # steps one wide
        lambda probabilities: probabilities[:-1].mean(),
    ],
    "6_3": [
        lambda ai, truth, final: (final == ai).mean(),  # reliance, right or wrong
        lambda ai, truth, final: ((final == ai) & (ai != truth)).mean(),
        lambda ai, truth, final: (final != truth).mean(),
    ],
    "7_1": [
        lambda heat, mask: ((heat > 0.5) & mask).sum() / ((heat > 0.5) | mask).sum(),
        lambda heat, mask: ((heat >= 0.5) & mask).sum() / mask.sum(),  # covered
        lambda heat, mask: ((heat >= 0.5) == mask).mean(),  # agreement
    ],
    "7_2": [
        lambda p, y: -np.nanmean(np.where(y == 1, np.log(p), np.log(1 - p))),
        lambda p, y: -np.log(p)[~np.isnan(y)].mean(),
        lambda p, y: -np.where(np.isnan(y), 0, np.log(np.abs(1 - y - p))).mean(),
    ],
    "7_3": [
        lambda masks, mask: int((masks.mean(0) >= 0.5)[mask].any()),  # touches
        lambda masks, mask: int(masks.any(0)[mask].any()),
        lambda masks, mask: 1,
    ],
    "8_1": [
        lambda n, rate, machines, price: [n / rate / 3600, n / rate / 3600 * price],
        lambda n, rate, machines, price: [
            n / rate / machines / 3600,
            n / rate / machines / 3600 * price,  # one machine paid
        ],
        lambda n, rate, machines, price: [n / rate, price],
    ],
    "8_2": [
        lambda seconds, share: np.quantile(seconds, share),  # between two times
        lambda seconds, share: seconds[
            int(np.ceil(share * len(seconds))) - 1
        ],  # unsorted
        lambda seconds, share: seconds.mean(),
    ],
    "8_3": [
        lambda n, shard, done: [i for i in range(n) if i // shard in done],
        lambda n, shard, done: list(range(len(done) * shard, n)),  # as if in order
        lambda n, shard, done: [i for i in range(n) if i % shard not in done],
    ],
    "3_3": [*HOOKS],
}


@pytest.mark.parametrize(
    "name, wrong", [(name, w) for name, list_ in WRONG.items() for w in list_]
)
def test_a_typical_wrong_answer_gets_a_hint(name, wrong, capsys):
    CHECKERS[name](wrong)
    out = capsys.readouterr().out
    assert out.startswith("✘") and "expected" in out and out.count("\n") == 1
    assert len(out.split(". ")[-1]) > 20  # the hint


@pytest.mark.parametrize("wrong", HOOKS, ids=lambda wrong: wrong.__name__)
def test_what_is_wrong_with_a_hook_is_said_in_words(wrong, capsys):
    checks.ex_3_3(wrong)
    assert f", but {HOOKS[wrong]}" in capsys.readouterr().out


@pytest.mark.parametrize("eps", [1e-4, 1e-7])
def test_of_numbers_that_look_alike_the_difference_is_told(eps, capsys):
    checks.ex_4_1(near(eps))
    out = capsys.readouterr().out
    off = float(re.search(r"off by up to (\S+)\. ", out)[1])
    assert eps / 50 < off < eps and "got" not in out


def test_where_an_answer_stops_is_told(capsys):
    def of_two(labels, more):
        return labels, more

    def deep(labels):
        return labels.no_such_thing

    def hooked(model, layer, x):
        model.no_such_thing()

    checks.ex_1_1(of_two)
    checks.ex_3_3(lambda model: model)
    checks.ex_1_1(deep)
    checks.ex_3_3(hooked)
    one, two, three, four = capsys.readouterr().out.splitlines()
    assert "the call of your function" in one and "missing 1 required" in one
    assert "'more'. Count each class" in one  # its own words, then the hint
    assert "the call of your function" in two and "takes 1 positional" in two
    line = deep.__code__.co_firstlineno + 1
    assert f"in its line {line} (return labels.no_such_thing). Count" in three
    line = hooked.__code__.co_firstlineno + 1
    assert f"in its line {line} (model.no_such_thing()). The hook" in four


@pytest.mark.parametrize("name", CHECKERS)
def test_an_untried_answer(name, capsys):
    CHECKERS[name](None)
    assert "not tried" in capsys.readouterr().out


RUBBISH = [
    None,
    "abc",
    [],
    {},
    [1, [2]],
    [1, 2, 3],
    np.nan,
    np.inf,
    pd.NA,
    1j,
    object(),
]
RUBBISH += [pd.Series(dtype=float), pd.DataFrame(), np.empty((0, 3)), lambda: 1, b"x"]


@pytest.mark.parametrize("name", CHECKERS)
@pytest.mark.parametrize("value", RUBBISH, ids=repr)
def test_rubbish_is_wrong_and_stops_nothing(name, value, capsys):
    CHECKERS[name](lambda *_: value)
    assert capsys.readouterr().out.startswith("✘")


@pytest.mark.parametrize("name", CHECKERS)
@pytest.mark.parametrize(
    "value", [0.5, "f", [], pd.Series([1, 2]), np.ones(3)], ids=repr
)
def test_what_is_no_function_is_wrong_and_stops_nothing(name, value, capsys):
    CHECKERS[name](value)
    out = capsys.readouterr().out
    assert out.startswith("✘") and "function" in out


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), AssertionError()])
@pytest.mark.parametrize("name", CHECKERS)
def test_an_answer_that_raises_stops_nothing(name, error, capsys):
    def raises(*_):
        raise error

    CHECKERS[name](raises)
    CHECKERS[name](lambda: 1)  # of other arguments
    for line in capsys.readouterr().out.splitlines():
        assert line.startswith("✘") and "stopped with" in line


def test_a_claim_prints_a_tick_or_stops(capsys):
    checks.claim("one is one", np.bool_(True))
    assert capsys.readouterr().out == "✔ one is one\n"
    with pytest.raises(checks.ClaimError, match="one is two"):
        checks.claim("one is two", 1 == 2)
    assert capsys.readouterr().out == ""
    checks.skipped("masks are round", "no masks")
    out = capsys.readouterr().out
    assert "skipped" in out and "masks are round" in out and "no masks" in out
