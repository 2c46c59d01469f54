"""The study of trust: its plan, its file, its numbers against hand and scipy, its form."""

import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from errors import refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats
from test_score_charts import assert_legible

from helpers import (
    figures,
    study,
    study_charts,
    study_form,
    study_power,
    study_scores,
)

ALONE, EXPLAINED = study.ARMS
CLASSES = ["bkl", "mel", "nv"]


def answered(n=120, wrong=0.4, seed=0) -> pd.DataFrame:
    """A model's answers: some are wrong, two pictures show each lesion."""
    rng = np.random.default_rng(seed)
    label = rng.choice(CLASSES, n)
    other = np.array(CLASSES)[[CLASSES.index(one) - 1 for one in label]]
    table = {"image_id": [f"I{k:03}" for k in range(n)], "label": label}
    table |= {"answer": np.where(rng.random(n) < wrong, other, label)}
    return pd.DataFrame(table | {"p": rng.random(n), "group": np.arange(n) // 2})


@pytest.fixture(scope="module")
def cases():
    return study.plan(answered(), 20, 0.3)


def answer(case, participant=1, **said) -> study.Answer:
    """An answer to a row of a session, complete unless told otherwise."""
    given = {"first": "mel", "final": "mel", "trust": 4, "confidence": 5}
    given |= {"seconds_first": 9.5, "seconds": 4.25} | said
    of = {"position": case.position, "image_id": case.image_id, "arm": case.arm}
    of |= {"label": case.label, "ai": case.answer, "ai_right": bool(case.right)}
    return study.Answer(participant, **of, **given)


def rows(cases, participant=1):
    return list(study.session(cases, participant).itertuples())


@given(
    halves=st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(sum),
    seed=st.integers(0, 99),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_plan_has_its_share_in_both_halves_and_no_lesion_twice(halves, seed):
    right, wrong = (2 * count for count in halves)
    table, n = answered(seed=seed), right + wrong
    cases = study.plan(table, n, wrong / n, seed)
    assert list(cases) == study.PLAN and len(cases) == n
    assert (cases.right == (cases.label == cases.answer)).all()
    counts = cases.groupby(["right", "half"]).size()
    expected = {(r, h): c for r, c in ((True, right), (False, wrong)) for h in (0, 1)}
    assert counts.to_dict() == {key: c // 2 for key, c in expected.items() if c}
    lesions = table.set_index("image_id").group[cases.image_id]
    assert not lesions.duplicated().any()
    pd.testing.assert_frame_equal(cases, study.plan(table, n, wrong / n, seed))


def test_cases_are_taken_at_equal_steps_of_p():
    table = answered(60).drop(columns="group").assign(p=np.arange(60) / 60)
    table["answer"] = table.label
    cases = study.plan(table, 6, 0.0).sort_values("p")
    assert list(cases.p * 60) == pytest.approx([5, 15, 25, 35, 45, 55])
    pairs = cases.half.to_numpy().reshape(-1, 2)
    assert (np.sort(pairs, axis=1) == [0, 1]).all()  # neighbours are in both halves
    halves = {tuple(study.plan(table, 6, 0.0, seed).half) for seed in range(9)}
    assert len(halves) > 1


def test_a_plan_that_cannot_be_is_refused():
    table = answered()
    refused(lambda: study.plan(table.drop(columns="p"), 20, 0.3), "no column p")
    for n, share in ((10, 0.3), (10, 0.25), (7, 0), (20, 1.2), (20, -0.2), (0, 0)):
        refused(lambda n=n, s=share: study.plan(table, n, s), f"{n} cases", "even")
    refused(lambda: study.plan(table, 120, 0.5), "60 cases", "right", "the table has")
    twice = pd.concat([table, table[:1]])
    refused(lambda: study.plan(twice, 20, 0.3), "image_id stands twice")


def test_two_readers_see_every_case_once_and_between_them_in_both_arms(cases):
    for reader in (1, 2, 7, 40):
        mine, other = study.session(cases, reader), study.session(cases, reader + 1)
        assert sorted(mine.image_id) == sorted(cases.image_id)
        assert list(mine.position) == list(range(1, 21))
        both = mine.merge(other, on="image_id")
        assert (both.arm_x != both.arm_y).all()
        assert mine.groupby(["right", "arm"]).size().tolist() == [3, 3, 7, 7]
        assert list(mine.image_id) != list(other.image_id)
        pd.testing.assert_frame_equal(mine, study.session(cases, reader))
    for strange in (0, -1, "P1", 1.5):
        refused(lambda s=strange: study.session(cases, s), repr(strange))


def test_answers_are_kept_and_read_as_they_were(cases, tmp_path, capsys):
    path = tmp_path / "new" / "answers.csv"
    path.parent.mkdir()
    odd = {"first": 'a "class", odd', "final": "NA", "trust": None, "seconds": None}
    given = [answer(case) for case in rows(cases)[:3]]
    given.append(answer(rows(cases)[3], **odd))
    for one in given:
        study.keep(one, path)
    records = study.read(path)
    assert list(records) == study.COLUMNS
    for one, back in zip(given, records.to_dict("records"), strict=True):
        expected = {k: np.nan if v is None else v for k, v in vars(one).items()}
        assert back == pytest.approx(expected, nan_ok=True)
    said = capsys.readouterr().out
    assert "4 answers of 1 real readers; incomplete: 1 (trust 1, seconds 1)" in said


def test_what_cannot_be_is_not_kept(cases, tmp_path):
    path, case = tmp_path / "answers.csv", rows(cases)[0]
    refused(lambda: study.keep(answer(case, trust=8), path), "trust is '8'", "1 to 7")
    assert not path.exists()
    study.keep(answer(case), path)
    before = path.read_bytes()
    refused(lambda: study.keep(answer(case), path), case.image_id, "twice")
    assert path.read_bytes() == before


def test_a_crash_while_writing_loses_nothing(cases, tmp_path, monkeypatch):
    path, (one, two, *_) = tmp_path / "answers.csv", rows(cases)
    study.keep(answer(one), path)
    before = path.read_bytes()

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crash)
        study.keep(answer(two), path)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} <= {"answers.csv", "answers.lock"}
    study.keep(answer(two), path)
    assert path.read_bytes().startswith(before) and len(study.read(path)) == 2


def test_a_file_that_was_opened_elsewhere_goes_on(cases, tmp_path):
    path, (one, two, *_) = tmp_path / "answers.csv", rows(cases)
    study.keep(answer(one, seconds=None), path)
    table = pd.read_csv(path)[study.COLUMNS[::-1]].assign(note="came late")
    text = table.to_csv(index=False).rstrip()
    path.write_text("\ufeff" + text, "utf-8")  # a byte order mark, no last line end
    study.keep(answer(two), path)
    records = study.read(path)
    assert list(records.image_id) == [one.image_id, two.image_id]
    assert records.seconds.isna().tolist() == [True, False]
    assert "came late" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("trust", "0", "1 to 7"),
        ("trust", "4.5", "whole number"),
        ("trust", "high", "whole number"),
        ("confidence", "8", "1 to 7"),
        ("seconds", "0", "from 0.01"),
        ("seconds_first", "-3", "from 0.01"),
        ("seconds", "inf", "86,400"),
        ("participant", "Ann", "whole number from 1"),
        ("participant", "", "must be there"),
        ("position", "0", "from 1"),
        ("image_id", "", "must be there"),
        ("arm", "heatmap", ALONE),
        ("ai_right", "yes", "True or False"),
        ("readers", "invented", "real or simulated"),
    ],
)
def test_a_bad_value_is_named_with_its_line(cases, tmp_path, column, value, told):
    path = tmp_path / "answers.csv"
    for case in rows(cases)[:3]:
        study.keep(answer(case), path)
    table = pd.read_csv(path, dtype=str)
    table.loc[1, column] = value
    table.to_csv(path, index=False)
    refused(lambda: study.read(path), path, "line 3", column, told)


def test_a_file_that_is_no_study_is_refused(cases, tmp_path):
    path = tmp_path / "answers.csv"
    refused(lambda: study.read(path), path, "no such file")
    path.write_bytes(b"")
    refused(lambda: study.read(path), path, "cannot be read")
    path.write_bytes(b"\xff\xfe\x00")
    refused(lambda: study.read(path), path)
    path.write_text("participant,arm\n1,a\n")
    refused(lambda: study.read(path), path, "no column position, image_id")
    refused(lambda: study.keep(answer(rows(cases)[0]), path), path, "no column")
    path.write_text(",".join(study.COLUMNS) + "\n")
    refused(lambda: study.read(path), path, "holds no answer")
    study.keep(answer(rows(cases)[0]), path)
    table = pd.read_csv(path)
    table.assign(ai_right=~table.ai_right).to_csv(path, index=False)
    refused(lambda: study.read(path), path, "ai_right", "whether ai is label")


def test_files_of_several_machines_are_read_as_one(cases, tmp_path):
    paths = [tmp_path / f"{k}.csv" for k in (1, 2)]
    for reader, path in enumerate(paths, start=1):
        study.keep(answer(rows(cases, reader)[0], reader), path)
    assert list(study.read(*paths).participant) == [1, 2]
    refused(lambda: study.read(paths[0], paths[0]), "reader 1", "twice", "own")


def test_a_reader_goes_on_at_the_first_unanswered_case(cases, tmp_path):
    path, mine = tmp_path / "answers.csv", rows(cases, 3)
    assert len(study.remaining(cases, 3, path)) == 20
    for case in (mine[0], mine[2]):
        study.keep(answer(case, 3), path)
    assert list(study.remaining(cases, 3, path).position) == [2, *range(4, 21)]
    assert len(study.remaining(cases, 4, path)) == 20
    other = study.plan(answered(seed=5), 20, 0.3)
    refused(lambda: study.remaining(other, 3, path), path, "reader 3", "another plan")


def hand() -> pd.DataFrame:
    """Three readers, four cases each: what each measure is can be counted by hand."""
    lines = [  # reader, arm, ai right, first, final (T truth, W wrong), trust, seconds
        (1, ALONE, 1, "T", "T", 2, 10),
        (1, ALONE, 0, "T", "T", 2, 20),
        (1, EXPLAINED, 1, "W", "T", 5, 10),
        (1, EXPLAINED, 0, "T", "W", 4, 10),
        (2, ALONE, 1, "W", "W", 3, 8),
        (2, ALONE, 0, "W", "W", 1, 8),
        (2, EXPLAINED, 1, "T", "T", 3, 2),
        (2, EXPLAINED, 0, "T", "T", 3, 2),
        (3, ALONE, 1, "T", "T", 4, 5),  # reader 3 stopped before any explanation
    ]
    names = ["participant", "arm", "ai_right", "first", "final", "trust", "seconds"]
    table = pd.DataFrame(lines, columns=names).astype({"ai_right": bool})
    table["label"], table["ai"] = "T", np.where(table.ai_right, "T", "W")
    table["image_id"] = [f"I{k}" for k in range(len(table))]
    table["position"], table["confidence"] = table.groupby("participant").cumcount(), 5
    return table.assign(seconds_first=1.0, readers="real")


def test_the_measures_are_those_counted_by_hand():
    table = study_scores.analyse(hand())
    arms = {
        "trust": (2, 3.75),  # (2 + 2) / 2 readers, (4.5 + 3) / 2
        "trust in wrong answers": (1.5, 3.5),
        "accuracy": (0.5, 0.75),
        "over-reliance": (0.5, 0.5),
        "under-reliance": (0.5, 0),
        "confidence": (5, 5),
        "seconds (median)": (11.5, 6),
        "accuracy before the AI (control)": (0.5, 0.75),
    }
    for name, (alone, explained) in arms.items():
        row = table.loc[name]
        assert (row.alone, row.explained) == pytest.approx((alone, explained)), name
        assert row.difference == pytest.approx(explained - alone)
        assert (row.participants, row.unpaired) == (2, 1), name
    logs = [np.log(10) - np.log(200) / 2, np.log(2 / 8)]
    assert table.difference["seconds (log)"] == pytest.approx(np.mean(logs))
    switch = table.loc["switched to a wrong answer"]  # reader 2 was wrong before
    assert (switch.alone, switch.explained, switch.difference) == (0, 1, 1)
    assert (switch.participants, switch.unpaired) == (1, 2)
    assert np.isnan(switch.low) and np.isnan(switch.high)  # one reader: no interval
    assert table.answers["trust"] == 9 and table.answers["over-reliance"] == 4
    assert table.missing.eq(0).all() and table.readers.eq("real").all()


def test_a_missing_answer_is_left_out_only_where_it_is_needed():
    full = study_scores.analyse(hand())
    records = hand()
    records.loc[2, "trust"], records.loc[3, "final"] = np.nan, None
    table = study_scores.analyse(records)
    missing = table.missing[table.missing > 0].to_dict()
    of_final = ["accuracy", "over-reliance", "switched to a wrong answer"]
    assert missing == {"trust": 1, **dict.fromkeys(of_final, 1)}
    assert table.explained["trust"] == pytest.approx((4 + 3) / 2)
    assert table.unpaired["over-reliance"] == 2  # reader 1 has no such answer left
    same = ["under-reliance", "confidence", "seconds (log)", "trust in wrong answers"]
    pd.testing.assert_frame_equal(table.loc[same], full.loc[same])


def simulated(cases, people=40, seed=0, **readers):
    rng = np.random.default_rng(seed)
    return study_power.simulate(people, cases, study_power.Readers(**readers), rng)


def test_the_interval_is_the_one_of_scipy(cases):
    records = simulated(cases, more_trust=1, more_follow_wrong=0.2)
    table = study_scores.analyse(records, draws=4000)
    means = study_scores.by_participant(records)
    for name, row in table.iterrows():
        pair = means[name].dropna()
        gap = (pair[EXPLAINED] - pair[ALONE]).to_numpy()
        assert row.difference == pytest.approx(gap.mean())
        boot = stats.bootstrap((gap,), np.mean, method="percentile", rng=1)
        expected = boot.confidence_interval
        wide = expected.high - expected.low
        assert abs(row.low - expected.low) < 0.1 * wide, name
        assert abs(row.high - expected.high) < 0.1 * wide, name
    shuffled = records.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(table, study_scores.analyse(shuffled, draws=4000))


def test_without_wrong_answers_over_reliance_cannot_be_measured():
    cases = study.plan(answered(), 20, 0)
    table = study_scores.analyse(simulated(cases, more_trust=2))
    unknown = ["trust in wrong answers", "over-reliance", "switched to a wrong answer"]
    assert table.loc[unknown, ["alone", "difference", "low"]].isna().all(axis=None)
    assert table.participants[unknown].eq(0).all() and table.low["trust"] > 0
    found = study_power.power(cases, study_power.Readers(more_trust=2), [23], studies=9)
    found = found.set_index("measure").power
    assert found["trust"] == 1 and np.isnan(found["over-reliance"])


def test_records_that_cannot_be_analysed_are_refused(cases):
    records = simulated(cases, people=2)
    refused(lambda: study_scores.analyse(records.query("participant == 1")), "two")
    mixed = records.assign(readers=["real"] + ["simulated"] * 39)
    refused(lambda: study_scores.analyse(mixed), "real and simulated", "mixed")
    refused(lambda: study_scores.analyse(records.drop(columns="ai")), "no column ai")


def test_simulated_readers_fill_a_true_file_of_records(cases, tmp_path, capsys):
    records, path = simulated(cases, people=6), tmp_path / "simulated.csv"
    records.to_csv(path, index=False)
    back = study.read(path)
    pd.testing.assert_frame_equal(back, records, check_dtype=False)
    assert "6 simulated readers" in capsys.readouterr().out
    for reader, mine in records.groupby("participant"):
        told = study.session(cases, reader)
        mine = mine.reset_index(drop=True)
        columns = ["image_id", "arm", "position", "label"]
        pd.testing.assert_frame_equal(mine[columns], told[columns], check_dtype=False)
        assert (mine.ai == told.answer).all() and (mine.ai_right == told.right).all()
    assert study_scores.analyse(records).readers.eq("simulated").all()


def test_simulated_readers_are_as_stated(cases):
    same = {"spread": 0, "varies": 0}
    perfect = simulated(cases, skill=1, follow_right=0, follow_wrong=0, **same)
    assert (perfect["first"] == perfect.label).all()
    records = simulated(
        cases, 400, skill=0.6, follow_right=0.5, follow_wrong=0.3, more_trust=1,
        more_follow_wrong=0.4, more_seconds=-0.35, trust=3, **same,
    )  # fmt: skip
    assert (records["first"] == records.label).mean() == pytest.approx(0.6, abs=0.02)
    asked = records[records["first"] != records.ai]
    assert (asked.final != asked["first"]).eq(asked.final == asked.ai).all()
    went = (asked.final == asked.ai).groupby([asked.ai_right, asked.arm]).mean()
    expected = {(True, ALONE): 0.5, (True, EXPLAINED): 0.5}
    expected |= {(False, ALONE): 0.3, (False, EXPLAINED): 0.7}
    assert went.to_dict() == pytest.approx(expected, abs=0.05)
    agreed = records[records["first"] == records.ai]
    assert (agreed.final == agreed["first"]).all()
    table = study_scores.analyse(records)
    assert table.difference["trust"] == pytest.approx(1, abs=0.06)
    log = table.difference["seconds (log)"]
    assert np.exp(log) == pytest.approx(0.65, abs=0.02)
    control = table.loc["accuracy before the AI (control)"]
    assert control.low < 0 < control.high
    refused(lambda: simulated(cases, 0), "at least one")
    refused(lambda: study_power.Readers(follow_wrong=1.2), "follow_wrong", "1.2")
    refused(lambda: study_power.Readers(more_seconds=-35), "above 0")


@given(
    st.integers(2, 12).flatmap(
        lambda n: st.lists(
            st.lists(
                st.sampled_from([-1, -0.5, 0, 0.25, 1, np.nan]), min_size=n, max_size=n
            ),
            min_size=1,
            max_size=4,
        )
    )
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_found_is_what_scipys_t_test_finds(gaps):
    for one, found in zip(gaps, study_power._found(np.array(gaps)), strict=True):
        known = np.array(one)[~np.isnan(one)]
        if len(known) < 2:
            assert not found
        elif known.std() == 0:
            assert found == (known[0] != 0)
        else:
            assert found == (stats.ttest_1samp(known, 0).pvalue < 0.05)


def test_power_is_the_one_of_the_t_test(cases):
    """Readers without bents: a reader's difference of rounded normal points is known."""
    gain, noise = 0.25, 1.0
    readers = study_power.Readers(trust=4, more_trust=gain, spread=0, varies=0)
    table = study_power.power(cases, readers, (6, 12, 23), ["trust"], studies=1500)
    sd = np.sqrt((noise**2 + 1 / 12) * 2 / 10)  # ten answers in each arm
    for row in table.itertuples():
        n = row.participants
        at = stats.t.ppf(0.975, n - 1)
        far = gain / sd * np.sqrt(n)
        expected = stats.nct.sf(at, n - 1, far) + stats.nct.cdf(-at, n - 1, far)
        assert row.power == pytest.approx(expected, abs=0.05)
        assert row.low < row.power < row.high and row.effect == pytest.approx(
            gain, abs=0.02
        )
        found = round(row.power * row.studies)
        ends = stats.binomtest(found, row.studies).proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx((ends.low, ends.high))


def test_where_nothing_is_to_find_one_study_in_twenty_finds_it(cases):
    names = ("trust", "over-reliance", "seconds (log)")
    none = study_power.power(cases, study_power.Readers(), [20], names, studies=1000)
    assert none.power.between(0.02, 0.08).all() and none.readers.eq("simulated").all()
    refused(lambda: study_power.power(cases, study_power.Readers(), [1]), "two readers")
    strange = ["bliss"]
    refused(
        lambda: study_power.power(cases, study_power.Readers(), [5], strange), "bliss"
    )


def test_power_does_not_depend_on_how_much_is_held_at_once(cases, monkeypatch):
    readers = study_power.Readers(more_trust=0.4)
    whole = study_power.power(cases, readers, [8], studies=400).set_index("measure")
    monkeypatch.setattr(study_power, "CHUNK", 8 * 20 * 7)
    parts = study_power.power(cases, readers, [8], studies=400).set_index("measure")
    assert (parts.studies == 400).all()
    assert (whole.low < parts.high).all() and (parts.low < whole.high).all()


@pytest.fixture
def style():
    plt.switch_backend("agg")
    with plt.rc_context():
        figures.style()
        yield
    plt.close("all")


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize("worlds", [1, 2, 3])
def test_differences_are_drawn_with_their_intervals(cases, worlds):
    gains = (0.25, -0.25, 0)[:worlds]
    tables = {
        f"readers {gain:+}": study_scores.analyse(
            simulated(cases, more_trust=2, more_follow_wrong=gain)
        )
        for gain in gains
    }
    figs = study_charts.differences(tables)
    for fig, names in zip(
        figs, (study_charts.POINTS, study_charts.SHARES, study_charts.TIME), strict=True
    ):
        ax = fig.axes[0]
        assert "simulated readers" in ax.get_xlabel()
        low, high = ax.get_xlim()
        assert low == -high
        for table, dots, lines in zip(
            tables.values(), ax.lines, ax.collections, strict=False
        ):
            assert list(dots.get_xdata()) == list(table.difference[names])
            ends = [(a[0], b[0]) for a, b in lines.get_segments()]
            assert ends == list(zip(table.low[names], table.high[names], strict=True))
        assert_legible(fig)
    told = study_charts.words(tables)
    assert told.count("simulated readers") == worlds and "over-reliance" in told


@pytest.mark.usefixtures("style")
def test_what_cannot_be_measured_is_said_in_the_chart():
    cases = study.plan(answered(), 20, 0)
    table = study_scores.analyse(simulated(cases))
    fig = study_charts.differences({"": table})[1]
    assert [t.get_text().strip() for t in fig.axes[0].texts] == [
        "cannot be measured"
    ] * 2
    assert "over-reliance cannot be measured" in study_charts.words({"": table})
    assert_legible(fig)
    none = study_power.power(
        cases, study_power.Readers(), [4], ["over-reliance"], studies=3
    )
    refused(lambda: study_charts.power(none), "nothing to draw")


@pytest.mark.usefixtures("style")
def test_a_power_curve_is_drawn_as_it_is_tabled(cases):
    readers = study_power.Readers(more_trust=0.5, more_follow_wrong=-0.2)
    table = study_power.power(cases, readers, (5, 10, 23, 40), studies=60)
    fig = study_charts.power(table, marks=(23,))
    ax = fig.axes[0]
    for line, (_, rows_) in zip(
        ax.lines, table.groupby("measure", sort=False), strict=False
    ):
        assert list(line.get_xdata()) == [5, 10, 23, 40]
        assert list(line.get_ydata()) == list(rows_.power)
    assert "simulated" in ax.get_xlabel() and [t.get_text() for t in ax.texts] == [
        " 23"
    ]
    assert "over-reliance" in study_charts.power_words(table)
    assert_legible(fig)


class Form:
    """A form without a browser: its widgets by what they are."""

    def __init__(self, cases, **how):
        rng = np.random.default_rng(0)
        pictures = {
            one: rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
            for one in cases.image_id
        }
        maps = {one: np.eye(7) for one in cases.image_id}
        how = {"pictures": pictures, "maps": maps, "classes": CLASSES} | how
        self.box = study_form.form(cases, **how)
        note, self.number, self.top, self.shown, self.first, *rest = self.box.children
        self.note, (self.after, self.alert, self.button) = note.value, rest
        self.final, self.trust, self.sure = self.after.children

    def pictures(self) -> list[str]:
        page = BeautifulSoup(self.shown.value, "html.parser")
        alts = [img["alt"] for img in page.find_all("img")]
        return [alt for alt in alts if "colour bar" not in alt]

    def answer(self, first="mel", final="nv", trust=5, sure=3):
        self.first.value = first
        self.button.click()
        self.final.value, self.trust.value, self.sure.value = final, trust, sure
        self.button.click()


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = {"at": 100.0}
    monkeypatch.setattr(study_form, "perf_counter", lambda: now["at"])
    return now


def test_the_form_asks_before_it_tells(cases, folders, clock):
    form = Form(cases)
    mine = rows(cases)
    assert "Not for diagnosis" in form.note and "no personal data" in form.note
    assert "Case 1 of 20" in form.top.value and len(form.pictures()) == 1
    assert "AI says" not in form.shown.value and form.after.layout.display == "none"
    form.button.click()
    assert "first" in form.alert.value and form.after.layout.display == "none"
    form.first.value = "mel"
    clock["at"] += 7
    form.button.click()
    assert form.first.disabled and form.after.layout.display is None
    assert "AI says" in form.shown.value and f"p = {mine[0].p:.2f}" in form.shown.value
    assert form.alert.value == ""
    clock["at"] += 2.5
    for question, said in ((form.final, "nv"), (form.trust, 6), (form.sure, 2)):
        assert question.value is None  # nothing is preset
        form.button.click()
        assert "alert" in form.alert.value and not study.place().exists()
        question.value = said
    form.button.click()
    assert "Case 2 of 20" in form.top.value and form.alert.value == ""
    assert form.first.value is None and not form.first.disabled
    said = {"first": "mel", "final": "nv", "trust": 6, "confidence": 2}
    expected = answer(mine[0], **said, seconds_first=7.0, seconds=2.5)
    assert study.read(study.place()).to_dict("records") == [vars(expected)]


def test_only_the_arm_with_explanation_shows_the_map(cases, folders):
    form = Form(cases)
    for case in rows(cases)[:6]:
        assert len(form.pictures()) == 1
        form.first.value = "nv"
        form.button.click()
        explained = case.arm == EXPLAINED
        assert len(form.pictures()) == 1 + explained
        assert ("evidence for" in form.shown.value) == explained
        assert case.image_id not in form.shown.value  # a name may tell the label
        form.final.value, form.trust.value, form.sure.value = "nv", 4, 4
        form.button.click()
    records = study.read(study.place())
    assert list(records.image_id) == [case.image_id for case in rows(cases)[:6]]
    assert set(records.arm) == set(study.ARMS)


def test_the_form_goes_on_where_it_was_left_and_ends(cases, folders):
    form = Form(cases)
    for _ in range(3):
        form.answer()
    form.first.value = "mel"
    form.button.click()  # the fourth case is left half answered
    form = Form(cases)
    assert "Case 4 of 20" in form.top.value and form.first.value is None
    form.number.value = 2
    assert "Case 1 of 20" in form.top.value
    form.answer()
    form.number.value = 1
    assert "Case 4 of 20" in form.top.value
    for _ in range(17):
        form.answer()
    assert "All 20" in form.top.value and form.button.layout.display == "none"
    records = study.read(study.place())
    assert records.participant.value_counts().to_dict() == {1: 20, 2: 1}
    assert "All 20" in Form(cases).top.value
    form.number.value = 2
    assert "Case 2 of 20" in form.top.value and form.button.layout.display is None


def test_the_form_tells_what_is_wrong(cases, folders):
    refused(lambda: Form(cases, pictures={}), "no picture of", cases.image_id[0])
    refused(lambda: Form(cases, maps={}), "no map of", "20 of 20")
    refused(lambda: Form(cases, classes=CLASSES[1:]), "bkl")
    form = Form(cases)
    form.answer()
    other = study.plan(answered(seed=5), 20, 0.3)
    refused(lambda: Form(other), "another plan", "reader 1")
    form = Form(other, participant=2)
    form.number.value = 1
    assert "another plan" in form.alert.value
    form.number.value = 3
    assert "Case 1 of 20" in form.top.value and form.alert.value == ""


def test_a_map_that_points_nowhere_is_said_in_words(cases):
    case = next(c for c in rows(cases) if c.arm == EXPLAINED)
    image = np.zeros((30, 40, 3), np.uint8)
    told = study_form.view(case, image, np.zeros((7, 7)), told=True)
    assert "no positive evidence" in told
