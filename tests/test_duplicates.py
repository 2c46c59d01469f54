"""Near-duplicates, found from the pixels alone."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import datasets, duplicates, images, synthetic

REAL = Path(__file__).resolve().parents[2] / "shared/data"


pytestmark = pytest.mark.usefixtures("folders")


@pytest.fixture(scope="session")
def small(drawn, tmp_path_factory):
    """The small synthetic set: its truth and its pixels."""
    table = datasets.ham10000(drawn)
    truth = synthetic.truth(drawn).set_index("image_id").loc[table.image_id]
    return truth.reset_index(), images.load(table, 128, tmp_path_factory.mktemp("px"))


@pytest.fixture
def singles(small):
    """One picture of each lesion, without the planted twins."""
    truth, pixels = small
    return pixels[(truth.twin_of == "") & ~truth.lesion_id.duplicated()]


def found(pictures, **options) -> set[tuple[int, int]]:
    table = duplicates.find(np.asarray(pictures), **options)
    assert list(table) == ["first", "second", "similarity"]
    return set(zip(table["first"], table["second"], strict=True))


CHANGES = {
    "copied": lambda x: x,
    "darker": lambda x: (x * 0.85).astype(np.uint8),
    "lighter": lambda x: np.clip(x * 1.1, 0, 255).astype(np.uint8),
    "shifted": lambda x: np.roll(x, 1, axis=1),
    "turned by 90°": lambda x: np.rot90(x),
    "turned by 180°": lambda x: np.rot90(x, 2),
    "mirrored": lambda x: x[:, ::-1],
    "upside down": lambda x: x[::-1],
    "turned and mirrored": lambda x: np.rot90(x)[:, ::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_photograph_is_found(singles, change):
    originals = singles[:40]
    again = [np.ascontiguousarray(CHANGES[change](x)) for x in originals]
    pairs = found([*originals, *again])
    hits = {(i, i + 40) for i in range(40)} & pairs
    assert len(hits) >= (40 if change != "shifted" else 36)
    assert len(pairs - hits) == 0


def test_unrelated_pictures_are_not_alike(singles):
    assert len(singles) > 80 and found(singles) == set()


def test_planted_twins_are_found(small):
    truth, pixels = small
    row = {name: i for i, name in enumerate(truth.image_id)}
    twins = truth[truth.twin_of != ""]
    planted = {
        tuple(sorted((row[a], row[b])))
        for a, b in zip(twins.twin_of, twins.image_id, strict=True)
    }
    pairs = found(pixels)
    assert len(pairs & planted) > 0.5 * len(planted)
    for a, b in pairs - planted:  # two photographs of one lesion may be alike as well
        assert truth.lesion_id[a] == truth.lesion_id[b]


def test_flat_pictures_match_nothing(singles):
    flat = [np.full((128, 128, 3), v, np.uint8) for v in (0, 7, 128, 200, 255)]
    tinted = [np.full((128, 128, 3), c, np.uint8) for c in ((200, 150, 131), (3, 5, 7))]
    assert found([*flat, *tinted, *singles[:20]]) == set()


@pytest.mark.parametrize("count", [0, 1])
def test_none_or_one_picture_has_no_pairs(singles, count):
    assert found(singles[:count]) == set()


def test_it_is_the_answer_of_brute_force_whatever_the_chunk(small):
    pixels = small[1][:60]
    for a, k, flip in ((3, 1, 1), (10, 2, -1), (20, 3, -1)):  # and a few that match
        changed = np.rot90(pixels[a], k)[:, ::flip]
        pixels = np.concatenate([pixels, changed[None]])
    expected = {}
    for i, j in combinations(range(len(pixels)), 2):
        grid = duplicates.thumbprints(pixels[[j]]).reshape(12, 12, 3)
        ways = [np.rot90(g, k) for g in (grid, grid[:, ::-1]) for k in range(4)]
        one = duplicates.thumbprints(pixels[[i]]).ravel()
        best = max(float(one @ way.ravel()) for way in ways)
        if best > 0.9:
            expected[i, j] = best
    assert len(expected) > 3
    tables = [duplicates.find(pixels, 0.9, chunk) for chunk in (1, 7, 63, 1024)]
    for table in tables:
        pairs = list(zip(table["first"], table["second"], strict=True))
        assert pairs == sorted(expected)
        assert np.allclose(table.similarity, [expected[p] for p in pairs], atol=1e-5)


def test_known_pairs_are_read_without_their_ending(tmp_path):
    assert duplicates.known(tmp_path).shape == (0, 2)
    lines = "from_img,to_img\na.jpg,b.jpg\nc.jpg,d\n"
    (tmp_path / "newly_discovered_duplicates.csv").write_text(lines)
    assert duplicates.known(tmp_path).tolist() == [["a", "b"], ["c", "d"]]


def test_what_is_found_in_dermamnist_is_one_lesion_or_known(small):
    folder = REAL / "dermamnist"
    if not (folder / "dermamnist.npz").is_file() or not (REAL / "ham10000").is_dir():
        pytest.skip(f"no real data in {folder}")
    with np.load(folder / "dermamnist.npz") as arrays:
        parts = ("train", "val", "test")
        pixels = np.concatenate([arrays[f"{part}_images"] for part in parts])
    info = pd.read_csv(folder / "dermamnist_split_info.csv", dtype=str)
    places = dict(
        zip(zip(info.split, info["index"], strict=True), info.image_id, strict=True)
    )
    sizes = info.split.value_counts()
    ids = [places[part, str(i)] for part in parts for i in range(sizes[part])]
    ham = datasets.load("ham10000", REAL / "ham10000", need_images=False)
    lesion = ham.set_index("image_id").group
    known = {frozenset(pair) for pair in duplicates.known(REAL / "ham10000")}
    pairs = [(ids[i], ids[j]) for i, j in found(pixels)]
    right = [lesion[a] == lesion[b] or frozenset((a, b)) in known for a, b in pairs]
    assert len(pixels) == 10_015 and len(pairs) > 50 and np.mean(right) >= 0.95
