"""Splits by lesion, and the audit of what a split leaks."""

import errno
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from helpers import datasets, splits
from helpers.settings import CourseError

REAL = Path(__file__).resolve().parents[2] / "shared/data"
FEW = hypothesis_settings(max_examples=40, deadline=None)


pytestmark = pytest.mark.usefixtures("folders")


@st.composite
def tables(draw):
    """A table with lesions, patients (both may be missing), and pairs across them."""
    n = draw(st.integers(12, 60))
    name = st.one_of(st.none(), st.integers(0, n // 2))
    columns = st.lists(name, min_size=n, max_size=n)
    table = pd.DataFrame(
        {
            "image_id": [f"p{i}" for i in draw(st.permutations(range(n)))],
            "label": draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n)),
            "group": [None if v is None else f"L{v}" for v in draw(columns)],
            "patient": [None if v is None else f"P{v}" for v in draw(columns)],
        }
    )
    some = st.integers(0, n + 2).map(lambda i: f"p{i}")  # a few are not in the table
    return table, draw(st.lists(st.tuples(some, some), max_size=8))


def joined(table, pairs) -> list[frozenset]:
    """Brute force: merge what overlaps until nothing does."""
    parts = [{name} for name in table.image_id]
    for column in ("group", "patient"):
        parts += [set(rows.image_id) for _, rows in table.groupby(column)]
    parts += [set(p) for p in pairs if set(p) <= set(table.image_id)]
    done = False
    while not done:
        done = True
        for a, b in combinations(range(len(parts)), 2):
            if parts[a] & parts[b]:
                parts[a] |= parts.pop(b)
                done = False
                break
    return {frozenset(p) for p in parts}


@given(tables())
@FEW
def test_groups_are_those_of_brute_force(given):
    table, pairs = given
    group = splits.groups(table, pairs)
    found = table.image_id.groupby(group).agg(frozenset)
    assert set(found) == joined(table, pairs)
    assert all(name == min(members) for name, members in found.items())


def test_chains_join_and_the_unknown_stand_alone():
    table = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "group": ["1", "1", None, None, None, None],
            "patient": [None, "x", "x", None, None, None],
        }
    )
    assert "".join(splits.groups(table, [("c", "d")])) == "aaaaef"
    assert "".join(splits.groups(table[["image_id", "group"]])) == "aacdef"


def split_or_none(table, **options):
    try:
        return splits.make(table, **options)
    except CourseError:
        return None


@given(tables(), st.integers(0, 99))
@FEW
def test_nothing_that_belongs_together_is_parted(given, seed):
    table, pairs = given
    split = split_or_none(table, seed=seed, pairs=pairs)
    assume(split is not None)
    assert set(split) == set(splits.PARTS) and split.notna().all()
    part = dict(zip(table.image_id, split, strict=True))
    for members in joined(table, pairs):
        assert len({part[name] for name in members}) == 1


@given(tables(), st.integers(0, 99), st.randoms(use_true_random=False))
@FEW
def test_a_split_depends_on_the_seed_not_on_the_order(given, seed, random):
    table, pairs = given
    split = split_or_none(table, seed=seed, pairs=pairs)
    assume(split is not None)
    order = list(range(len(table)))
    random.shuffle(order)
    again = splits.make(table.iloc[order], seed, [pair[::-1] for pair in pairs[::-1]])
    pd.testing.assert_series_equal(again.sort_index(), split)


def many(seed: int, lesions: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(lesions), rng.integers(1, 5, lesions))
    label = np.array(list("aaaaab"))[rng.integers(0, 6, lesions)][group]
    names = [f"p{i}" for i in range(len(group))]
    return pd.DataFrame({"image_id": names, "label": label, "group": group.astype(str)})


@pytest.mark.parametrize("parts", [splits.PARTS, {"train": 0.8, "test": 0.2}])
@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_shared_out_as_asked(seed, parts):
    table = many(seed)
    split = splits.make(table, seed, parts=parts)
    for _, rows in split.groupby(table.label):
        share = rows.value_counts(normalize=True)
        assert all(abs(share[part] - want) < 0.03 for part, want in parts.items())


def test_another_seed_gives_another_split():
    table = many(0)
    assert (splits.make(table, 1) != splits.make(table, 2)).mean() > 0.2


def test_large_and_small_lesions_are_spread_alike():
    table = splits.published().query("dataset == 'ham10000'")
    size = table.groupby("group").image_id.transform("size")
    split = splits.make(table)
    spread = pd.crosstab(size, split, normalize="columns")
    assert (spread.train - spread.test).abs().max() < 0.03
    assert (spread.train - spread.calibration).abs().max() < 0.03


@pytest.mark.parametrize("groups", [["1"] * 9, ["1", "2"] * 4])
def test_a_class_with_fewer_lesions_than_parts_is_refused(groups):
    names = [f"p{i}" for i in range(len(groups))]
    table = pd.DataFrame({"image_id": names, "label": "rare", "group": groups})
    with pytest.raises(CourseError, match="'rare'") as error:
        splits.make(table)
    assert "add pictures" in str(error.value) and "\n" not in str(error.value)


def test_labels_may_be_tuples_of_findings():
    names = [f"p{i}" for i in range(12)]
    labels = [("mass", "nodule"), ()] * 6
    table = pd.DataFrame({"image_id": names, "label": labels, "patient": names})
    assert splits.make(table).groupby(table.label.str.len()).nunique().eq(3).all()


# ── Leaks ───────────────────────────────────────────────────────────────────────────

CASES = pd.DataFrame(
    {
        "image_id": list("abcdefg"),
        "label": list("xxxxyyy"),
        "group": ["1", "1", "2", "2", "3", None, None],
    }
)
PART = pd.Series("train test test calibration test test train".split())


def test_leaks_by_hand():
    assert splits.leaks(CASES.group, PART).tolist() == [False, True] + [False] * 5


def test_leakage_by_hand():
    found = splits.leakage(CASES, PART)
    assert found.loc["x"].tolist() == [3, 1, 1 / 3]
    assert found.loc["y"].tolist() == [2, 0, 0]
    assert found.loc["all"].tolist() == [5, 1, 1 / 5]
    other = splits.leakage(CASES, PART, group=pd.Series(list("1111111")))
    assert other.share.eq(1).all()


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.floats(0.2, 0.7))
@FEW
def test_the_expected_leak_is_the_mean_over_all_splits(sizes, share):
    group = np.repeat(np.arange(len(sizes)), sizes)
    n, t = len(group), round(len(group) * share)
    assume(1 <= t < n <= 12)
    shares = []
    for held in combinations(range(n), t):
        trained = set(np.delete(group, held))
        shares.append(np.mean([group[i] in trained for i in held]))
    table = pd.DataFrame({"label": "a", "group": group, "image_id": range(n)})
    assert splits.expected_leak(table, share)["a"] == pytest.approx(np.mean(shares))


def test_the_expected_leak_is_that_of_many_random_splits():
    table = many(3, lesions=80)
    runs = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        held = pd.Series(False, table.index)
        for _, rows in table.groupby("label"):
            held[rng.choice(rows.index, round(0.2 * len(rows)), replace=False)] = True
        split = held.map({True: "test", False: "train"})
        runs.append(splits.leakage(table, split).share)
    runs, exact = pd.DataFrame(runs), splits.expected_leak(table)
    error = runs.std() / np.sqrt(len(runs))
    assert ((runs.mean() - exact[runs.columns]).abs() < 4 * error + 0.002).all()


def test_lesions_with_one_picture_never_leak():
    table = CASES.assign(group=None)
    assert splits.expected_leak(table).eq(0).all()
    assert splits.expected_leak(table.assign(group=table.image_id)).eq(0).all()


PUBLISHED = [("ham10000", "all", 0.389), ("ham10000", "mel", 0.692)]
PUBLISHED += [("isic2019", "all", 0.604)]


@pytest.mark.parametrize("name, label, leak", PUBLISHED)
def test_the_leak_of_the_public_sets(name, label, leak):
    table = splits.published().query("dataset == @name")
    assert abs(splits.expected_leak(table)[label] - leak) < 0.01


@pytest.fixture
def real():
    def real(name):
        if not (REAL / name).is_dir():
            pytest.skip(f"no real data in {REAL / name}")
        return datasets.load(name, REAL / name, need_images=False)

    return real


@pytest.mark.parametrize("name", ["ham10000", "isic2019"])
def test_the_shipped_counts_are_those_of_the_real_tables(real, name):
    table = real(name)
    shipped = splits.published().query("dataset == @name")
    columns = ["label"] + ["dx_type"] * int(shipped.dx_type.notna().all())

    def counted(table):
        own = table.group.fillna(table.image_id)
        size = own.groupby(own).transform("size").rename("pictures")
        return table.groupby([*columns, size]).size().to_dict()

    assert counted(table) == counted(shipped)


@pytest.mark.parametrize("name", ["ham10000", "isic2019"])
def test_the_leak_of_twenty_splits_of_the_real_tables(real, name):
    table = real(name)
    runs = []
    for seed in range(20):
        train, _ = train_test_split(
            table.index, train_size=0.8, stratify=table.label, random_state=seed
        )
        split = pd.Series("test", table.index)
        split[train] = "train"
        runs.append(splits.leakage(table, split).share)
    mean = pd.DataFrame(runs).mean()
    for _, label, leak in [row for row in PUBLISHED if row[0] == name]:
        assert abs(mean[label] - leak) < 0.01
    assert abs(mean["all"] - splits.expected_leak(table)["all"]) < 0.005


# ── Writing ─────────────────────────────────────────────────────────────────────────


def test_a_saved_split_is_read_again(tmp_path):
    table = CASES.assign(split=PART)
    mark = splits.save(table[::-1], tmp_path / "deep/split.csv")
    read = pd.read_csv(tmp_path / "deep/split.csv", dtype=str)
    assert list(read) == ["image_id", "group", "split"]
    assert read.image_id.tolist() == list("abcdefg")
    assert (read.split == PART).all() and splits.fingerprint(read) == mark


def test_a_split_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "split.csv"
    splits.save(CASES.assign(split=PART), path)
    before = path.read_bytes()

    def full(self, to, **_):
        Path(to).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(CourseError, match="disk is full"):
        splits.save(CASES.assign(split="train"), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_fingerprint_is_of_the_split_not_of_the_order():
    table = CASES.assign(split=PART)
    mark = splits.fingerprint(table)
    assert splits.fingerprint(table.sample(frac=1, random_state=0)) == mark
    assert splits.fingerprint(table.assign(split=np.roll(PART, 1))) != mark


def test_pictures_without_a_label_are_refused():
    table = pd.DataFrame({"image_id": list("abc"), "label": None, "group": None})
    with pytest.raises(CourseError, match="3 of 3 pictures have no label"):
        splits.make(table)
