"""The synthetic set: its layout, its truth, its imbalance, its traps."""

import errno
import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from errors import refused
from scipy import ndimage

from helpers import (
    artefacts,
    datasets,
    dermoscopy,
    duplicates,
    images,
    lesions,
    splits,
    synthetic,
)
from helpers.settings import CourseError
from helpers.synthetic import CHANCE, LESIONS, Recipe

SMALL = {"pictures": 120, "size": 64}  # what conftest.py draws


pytestmark = pytest.mark.usefixtures("folders")


@pytest.fixture(scope="session")
def truth(drawn):
    return synthetic.truth(drawn).set_index("image_id")


@pytest.fixture(scope="session")
def cases(drawn, truth):
    return datasets.ham10000(drawn).set_index("image_id").loc[truth.index]


class OneThread(ThreadPoolExecutor):
    """In place of the worker processes: one thread, from the last job to the first."""

    def __init__(self, *_):
        super().__init__(1)

    def map(self, work, jobs, chunksize):
        return list(super().map(work, reversed(list(jobs))))[::-1]


@pytest.fixture
def here(monkeypatch):
    """Draws in this process, so that a test may patch what draws."""
    monkeypatch.setattr(synthetic, "ProcessPoolExecutor", OneThread)


def hashes(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# ── Same seed, same bytes ───────────────────────────────────────────────────────────


def test_same_seed_same_bytes_whoever_draws_in_whatever_order(drawn, tmp_path, here):
    again = synthetic.write(Recipe(**SMALL), tmp_path / "again")
    assert hashes(again) == hashes(drawn)


def test_another_seed_gives_other_bytes(tmp_path, here):
    one, two = (
        hashes(synthetic.write(Recipe(50, 48, seed=s), tmp_path / str(s)))
        for s in (1, 2)
    )
    pictures = [name for name in set(one) & set(two) if name.endswith(".jpg")]
    assert pictures and all(one[name] != two[name] for name in pictures)


def test_it_is_drawn_once_and_again_for_another_recipe(monkeypatch, here):
    first = synthetic.ensure(pictures=50, size=48)
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write", None)  # nothing is drawn any more
        assert synthetic.ensure(pictures=50, size=48) == first
    assert synthetic.ensure(pictures=50, size=49) != first


# ── HAM10000's layout ───────────────────────────────────────────────────────────────


def test_it_is_read_as_ham10000(drawn, truth, capsys):
    table = datasets.ham10000(drawn)
    assert capsys.readouterr().out == ""  # no picture is missing
    assert set(table.image_id) == set(truth.index) and len(table) == len(truth)
    assert (
        table[["path", "mask_path", "group", "label", "dx_type"]].notna().all(axis=None)
    )
    assert set(table.label) == set(LESIONS)
    assert (table.set_index("image_id").label == truth.label).all()
    assert (table.set_index("image_id").group == truth.lesion_id).all()
    assert set(table.sex.dropna()) == {"female", "male"}
    assert table.age.dropna().between(5, 85).all()
    assert len(datasets.usable(table)) == len(table)


def test_load_synthetic_draws_it_with_the_seed(monkeypatch, drawn):
    asked = []
    monkeypatch.setattr(
        synthetic, "ensure", lambda *recipe: asked.append(recipe) or drawn
    )
    table = datasets.load("synthetic", profile="full", seed=5)
    assert asked == [("full", 5)]
    pd.testing.assert_frame_equal(table, datasets.ham10000(drawn))


def test_pictures_are_4_to_3_and_masks_fit_them(cases, truth):
    for path, mask in zip(cases.path, cases.mask_path, strict=True):
        assert images.shape(path) == images.shape(mask) == (64, 85)
    others = [
        *truth.evidence_path,
        *(p for d in truth.artefact_paths for p in d.values()),
    ]
    assert {images.shape(path) for path in others} == {(64, 85)}


# ── How many of each ────────────────────────────────────────────────────────────────


def test_balance_1_is_ham10000s_imbalance_and_repeats():
    table = synthetic.plan(Recipe(pictures=10_015))
    assert abs(len(table) / 10_015 - 1) < 0.02
    own = table[table.twin_of.isna()].groupby("dx")
    for label, (count, pictures) in LESIONS.items():
        assert own.lesion_id.nunique()[label] == pytest.approx(count, abs=1)
        assert own.size()[label] == pytest.approx(pictures, rel=0.1)


def test_balance_0_is_even():
    table = synthetic.plan(Recipe(pictures=2000, balance=0))
    share = table.dx.value_counts(normalize=True)
    assert len(share) == 7 and share.between(0.9 / 7, 1.1 / 7).all()


@pytest.mark.parametrize("recipe", [Recipe(50), Recipe(120), Recipe(600, balance=0.5)])
def test_five_lesions_a_class_and_one_to_four_pictures_a_lesion(recipe):
    table = synthetic.plan(recipe)
    assert table.image_id.is_unique
    assert table.groupby("dx").lesion_id.nunique().ge(5).all()
    assert table.lesion_id.value_counts().between(1, 4).all()
    assert table.groupby("lesion_id").dx.nunique().eq(1).all()
    assert table.twin_of.notna().sum() == recipe.duplicates


def test_names_do_not_tell_the_class():
    table = synthetic.plan(Recipe(2000)).sort_values("image_id")
    melanoma = np.flatnonzero(table.dx == "mel") / len(table)
    assert 0.45 < melanoma.mean() < 0.55 and melanoma.std() > 0.25


# ── The truth about each picture ────────────────────────────────────────────────────


def test_evidence_lies_inside_the_lesion_less_what_artefacts_hide(cases, truth):
    empty = 0
    for name, row in truth.iterrows():
        lesion = images.read_mask(cases.mask_path[name])
        evidence = images.read_mask(row.evidence_path)
        assert lesion.any() and not lesion.all()
        assert not (evidence & ~lesion).any()
        for path in row.artefact_paths.values():
            assert not (evidence & images.read_mask(path)).any()
        empty += not evidence.any()
    assert empty <= 0.02 * len(truth)


def test_masks_exist_exactly_for_the_listed_artefacts(drawn, truth):
    listed = [p for paths in truth.artefact_paths for p in paths.values()]
    there = [str(p) for p in (drawn / "truth").iterdir()]
    assert sorted(there) == sorted([*listed, *truth.evidence_path])
    for row in truth.itertuples():
        assert tuple(row.artefact_paths) == row.artefacts
        assert set(row.artefacts) <= set(CHANCE)
    assert set(truth.artefacts.explode().dropna()) == set(CHANCE)  # each is drawn


def test_the_caption_says_what_the_attributes_are(truth):
    for row in truth.itertuples():
        words = [*row.structures, *row.colours, *row.artefacts, row.skin_tone]
        assert all(word in row.caption for word in words), row.caption
        absent = set(CHANCE) - set(row.artefacts)
        told = row.caption.partition(";")[2]
        assert not any(name in told for name in absent), row.caption
        shown = row.caption.partition(" showing ")[2].partition(";")[0].rstrip(".")
        assert set(shown.replace(" and ", ", ").split(", ")) == set(row.structures)
        marks = lesions.RECIPES[row.label]["hallmarks"]
        assert row.hallmarks and set(row.hallmarks) <= set(marks) & set(row.structures)
        assert row.skin_tone in lesions.TONES


def test_the_pictures_of_one_lesion_differ_but_share_their_attributes(cases, truth):
    own = truth[truth.twin_of == ""]
    for _, rows in own.groupby("lesion_id"):
        assert rows[["structures", "colours", "skin_tone"]].nunique().eq(1).all()
        for a, b in pairwise(rows.index):
            one, two = images.read(cases.path[a]), images.read(cases.path[b])
            assert (one != two).any(axis=2).mean() > 0.5


def painted(seed: int, label: str, size: int = 64):
    a = lesions.describe(np.random.default_rng([seed, 1]), label)
    return a, dermoscopy.paint(np.random.default_rng(seed), size, a)


def silent(draw):
    """A structure that uses up its share of chance and leaves no trace."""

    def nothing(painter):
        kept = {k: v.copy() for k, v in painter.amount.items()}
        cover = {k: v.copy() for k, v in painter.cover.items()}
        lesion = painter.lesion.copy()
        where = draw(painter)
        painter.amount, painter.cover, painter.lesion = kept, cover, lesion
        return where

    return nothing


@pytest.mark.parametrize("name", dermoscopy.STRUCTURES)
def test_evidence_is_where_the_structure_changed_the_picture(monkeypatch, name):
    label = next(
        (k for k, v in lesions.RECIPES.items() if name in v["hallmarks"]), "mel"
    )
    for seed in range(6):
        a = lesions.describe(np.random.default_rng([seed, 1]), label)
        a |= {"structures": [name], "hallmarks": [name]}
        there = dermoscopy.paint(np.random.default_rng(seed), 64, a)
        with monkeypatch.context() as patch:
            draw = dermoscopy.STRUCTURES[name]
            patch.setitem(dermoscopy.STRUCTURES, name, silent(draw))
            gone = dermoscopy.paint(np.random.default_rng(seed), 64, a)
        change = np.abs(there.image - gone.image).mean(2)
        inside, outside = change[there.evidence], change[~there.evidence]
        assert inside.size and inside.mean() > 5 * outside.mean()
        assert inside.mean() > 0.01  # three of 255 levels: one can see it


def test_what_other_classes_have_too_is_no_evidence():
    for seed in range(6):
        a = lesions.describe(np.random.default_rng([seed, 1]), "nv")
        a |= {"structures": ["irregular dots"], "hallmarks": []}
        canvas = dermoscopy.paint(np.random.default_rng(seed), 64, a)
        assert canvas.lesion.any() and not canvas.evidence.any()


@pytest.mark.parametrize("name", CHANCE)
def test_an_artefact_changes_the_pixels_of_its_mask(monkeypatch, name):
    monkeypatch.setattr(artefacts, "develop", lambda rng, image: image)  # no grain
    for seed in range(8):
        _, canvas = painted(seed, "nv")
        bare, *_, none = artefacts.photograph(
            np.random.default_rng(seed), canvas, 64, []
        )
        image, lesion, evidence, masks = artefacts.photograph(
            np.random.default_rng(seed), canvas, 64, [name]
        )
        assert none == {} and list(masks) == [name]
        mask = masks[name]
        assert mask.shape == lesion.shape == evidence.shape == image.shape[:2]
        assert not (evidence & mask).any()
        change = np.abs(image - bare).max(2)
        if mask.any():  # a ruler's fine ticks have a margin of one pixel
            seen = change > 1 / 255
            assert seen[mask].mean() > (0.3 if name == "ruler" else 0.9)
            assert ndimage.binary_dilation(seen, np.ones((3, 3)))[mask].mean() > 0.95
        assert (change[~mask] > 0.35).mean() < 0.01  # faint edges may lie outside


def test_a_photograph_is_eight_bits_and_has_all_artefacts_asked_for():
    _, canvas = painted(0, "mel")
    image, _, _, masks = artefacts.photograph(
        np.random.default_rng(0), canvas, 64, list(CHANCE)
    )
    assert image.dtype == np.uint8 and image.shape == (64, 85, 3)
    assert set(masks) == set(CHANCE) and all(m.dtype == bool for m in masks.values())


# ── Near-duplicates ─────────────────────────────────────────────────────────────────


def test_twins_are_listed_and_lie_under_different_lesion_ids(drawn, truth):
    twins = truth[truth.twin_of != ""]
    assert len(twins) == Recipe().duplicates
    listed = {tuple(pair) for pair in duplicates.known(drawn)}
    assert listed == set(zip(twins.twin_of, twins.index, strict=True))
    for a, b in listed:
        assert truth.lesion_id[a] != truth.lesion_id[b]
        for column in ("label", "structures", "artefacts"):
            assert truth[column][a] == truth[column][b]


def test_twins_are_nearly_the_same_photograph(cases, truth):
    twins = truth[truth.twin_of != ""]
    pixels = {n: images.read(p).astype(float) for n, p in cases.path.items()}
    names = list(pixels)
    others = [np.abs(pixels[a] - pixels[b]).mean() for a, b in pairwise(names)]
    for b, a in twins.twin_of.items():
        away = np.abs(pixels[a] - pixels[b]).mean()
        assert 0 < away < 0.5 * np.median(others)
        assert np.corrcoef(pixels[a].ravel(), pixels[b].ravel())[0, 1] > 0.8


# ── The shortcut ────────────────────────────────────────────────────────────────────


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """The pictures of a large rigged set, as they would go to be drawn."""

    def planned(recipe) -> pd.DataFrame:
        seen = []

        def no_drawing(table, *_):
            seen.append(table)
            return table[["image_id"]]

        monkeypatch.setattr(synthetic, "_draw_all", no_drawing)
        synthetic.write(recipe, tmp_path / "rigged")
        return seen[0]

    return planned


@pytest.mark.parametrize("name, label, p", [("ruler", "mel", 0.9), ("ink", "bcc", 0.5)])
def test_a_shortcut_goes_with_its_class_in_train_alone(planned, name, label, p):
    table = planned(Recipe(8000, balance=0, shortcut=(name, label, p)))
    has = table.artefacts.map(lambda present: name in present)
    train, theirs = table.split == "train", table.dx == label
    assert abs(has[train & theirs].mean() - p) < 0.06
    assert not has[train & ~theirs].any()
    for rest in (~train & theirs, ~train & ~theirs):
        assert abs(has[rest].mean() - CHANCE[name]) < 0.05
    other = "hair"  # every other artefact keeps its usual chance everywhere
    present = table.artefacts.map(lambda present: other in present)
    for part in (train & theirs, train & ~theirs, ~train):
        assert abs(present[part].mean() - CHANCE[other]) < 0.06


def test_without_a_shortcut_no_class_has_more_of_an_artefact():
    table = synthetic.plan(Recipe(8000, balance=0))
    chosen = synthetic.choose_artefacts(Recipe(8000, balance=0), table)
    for name, chance in CHANCE.items():
        has = chosen.map(lambda present, name=name: name in present)
        assert has.groupby(table.dx).mean().sub(chance).abs().max() < 0.06


def test_the_split_of_a_rigged_set_never_shares_a_lesion_nor_a_twin(tmp_path, here):
    recipe = Recipe(50, 48, shortcut=("dark corners", "nv", 1.0))
    truth = synthetic.truth(synthetic.write(recipe, tmp_path / "rigged"))
    truth = truth.set_index("image_id")
    assert set(truth.split) == {"train", "calibration", "test"}
    assert truth.groupby("lesion_id").split.nunique().eq(1).all()
    for name, twin in truth.twin_of[truth.twin_of != ""].items():
        assert truth.split[name] == truth.split[twin]
    has = truth.artefacts.map(lambda present: "dark corners" in present)
    train = truth.split == "train"
    assert (has[train] == (truth.label[train] == "nv")).all()


# ── What is refused ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"pictures": 49}, "49"),
        ({"pictures": -1}, "-1"),
        ({"size": 47}, "47"),
        ({"size": 513}, "513"),
        ({"shortcut": ("rulers", "mel", 0.9)}, "rulers"),
        ({"shortcut": ("ruler", "melanoma", 0.9)}, "melanoma"),
        ({"shortcut": ("ruler", "mel", 1.1)}, "1.1"),
        ({"shortcut": ("ruler", "mel", -0.1)}, "-0.1"),
        ({"duplicates": -1}, "-1"),  # would draw nearly all pictures twice
        ({"pictures": 50, "duplicates": 500}, "500"),  # more than there are lesions
        ({"balance": -9}, "-9"),  # would draw without end
    ],
)
def test_a_recipe_that_cannot_be_drawn_is_refused_at_once(wrong, told):
    with pytest.raises(CourseError) as error:
        Recipe(**wrong)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_shortcut_is_told_what_exists():
    with pytest.raises(CourseError) as error:
        Recipe(shortcut=("tattoo", "mel", 0.9))
    assert all(name in str(error.value) for name in [*CHANCE, *LESIONS])


def test_nothing_is_left_of_a_set_that_the_disk_refused(tmp_path, monkeypatch, here):
    write, done = synthetic._write, []

    def full(path, pixels):
        if len(done) == 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(write(path, pixels))

    monkeypatch.setattr(synthetic, "_write", full)
    with pytest.raises(CourseError, match="disk is full") as error:
        synthetic.ensure(pictures=50, size=48)
    assert "\n" not in str(error.value) and len(done) == 30
    left = [path for path in tmp_path.rglob("*") if path.suffix != ".lock"]
    assert not any(path.is_file() for path in left)
    monkeypatch.setattr(synthetic, "_write", write)
    assert (synthetic.ensure(pictures=50, size=48) / "truth.csv").is_file()


@pytest.mark.parametrize("label", lesions.RECIPES)
def test_every_lesion_can_be_put_into_words(label):
    for seed in range(300):
        a = lesions.describe(np.random.default_rng(seed), label)
        assert a["colours"] and a["hallmarks"]
        assert set(a["colours"]) <= set(lesions.COLOURS)
        assert lesions.caption(a, []).endswith(".")


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from helpers import datasets\ndatasets.load('synthetic')\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode and "if __name__ == '__main__'" in done.stderr


def test_the_imbalance_is_that_of_the_published_counts():
    public = splits.published()
    ham = public[public.dataset == "ham10000"].groupby("label").group
    assert {k: (g.nunique(), len(g)) for k, g in ham} == LESIONS


@pytest.mark.parametrize("name", artefacts.ARTEFACTS)
def test_a_stamp_changes_pictures_where_it_says(name):
    rng = np.random.default_rng(0)
    pixels = np.full((3, 96, 96, 3), 180, np.uint8)
    marked, masks = artefacts.stamped(pixels, name, seed=1)
    again, _ = artefacts.stamped(pixels, name, seed=1)
    assert (marked == again).all() and (pixels == 180).all() and masks.any((1, 2)).all()
    changed = (np.abs(marked.astype(int) - 180) > 40).any(3)
    assert changed[masks].mean() > 0.03 and changed[~masks].mean() < 0.005
    assert not (marked[0] == marked[1]).all(), "each picture has its own"
    refused(lambda: artefacts.stamped(pixels, f"{name}s {rng.random()}"), "ruler")
