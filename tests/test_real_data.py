"""The loaders on real pictures, where a folder of them lies beside the clone."""

from pathlib import Path

import numpy as np
import pytest

from helpers import datasets, images

REAL = Path(__file__).resolve().parents[2] / "shared/data"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("XAI_DERM_DATA", str(REAL))


@pytest.fixture
def load():
    def load(name: str, **options):
        if not (REAL / name).is_dir():
            pytest.skip(f"no real data in {REAL / name}")
        table = datasets.load(name, **options)
        assert tuple(table)[: len(datasets.COLUMNS)] == datasets.COLUMNS
        return table

    return load


def test_ham10000(load, capsys):
    table = load("ham10000", need_images=False)
    assert len(table) == 10_015 and table["group"].nunique() == 7_470
    assert not table.groupby("group")["label"].nunique().gt(1).any()
    counts = table["label"].value_counts()
    assert counts[["nv", "mel", "bkl", "bcc"]].tolist() == [6705, 1113, 1099, 514]
    assert (table["dx_type"] == "histo").sum() == 5340
    assert table["age"].isna().sum() == table["sex"].isna().sum() == 57
    assert table["site"].isna().sum() == 234
    assert capsys.readouterr().out == ""
    assert len(load("ham10000")) == 463
    assert capsys.readouterr().out == "ham10000: 463 of 10,015 images found\n"


def test_isic2019(load):
    table = load("isic2019", need_images=False)
    assert len(table) == 25_331 and table["group"].nunique() == 11_847
    sources = table["source"].value_counts(dropna=False)
    assert sources[["BCN", "HAM", "MSK"]].tolist() == [12_413, 10_015, 819]
    assert table["source"].isna().sum() == table["group"].isna().sum() == 2_084
    counts = table["label"].value_counts()
    assert counts[["nv", "mel", "bcc", "scc"]].tolist() == [12_875, 4_522, 3_323, 628]
    found = load("isic2019")
    assert len(found) == 429 and found["mask_path"].notna().sum() == 415


def test_ph2(load):
    table = load("ph2", need_images=False)
    assert len(table) == 200
    diagnoses = table["diagnosis"].value_counts()
    assert diagnoses.to_dict() == dict.fromkeys(
        ["common nevus", "atypical nevus"], 80
    ) | {"melanoma": 40}
    assert table["label"].value_counts().to_dict() == {"nv": 160, "mel": 40}
    assert table["colours"].map(len).between(1, 6).all()
    found = load("ph2")
    assert len(found) == 87 and found["mask_path"].notna().all()


def test_dermamnist_is_ham10000_again(load):
    ham = load("ham10000", need_images=False).set_index("image_id")
    table = load("dermamnist").set_index("image_id")
    assert len(table) == 10_015 and table["group"].nunique() == 7_470
    assert (table["label"] == ham["label"].reindex(table.index)).all()
    splits = table["split"].value_counts()
    assert splits[["train", "calibration", "test"]].tolist() == [7_007, 1_003, 2_005]
    lesions = table.groupby("split")["group"].unique().map(set)
    assert lesions["train"] & lesions["test"]  # the leak that notebook 01 shows


def test_chestxray14_boxes_lie_inside_their_pictures(load):
    table = load("chestxray14")
    assert len(table) == 625 and table["boxes"].notna().all()
    for row in table.itertuples():
        high, wide = images.shape(row.path)
        assert {finding for finding, *_ in row.boxes} == set(row.label)
        for _, x, y, w, h in row.boxes:
            assert 0 <= x < x + w <= wide and 0 <= y < y + h <= high


@pytest.mark.parametrize("name", ["ham10000", "isic2019", "ph2", "chestxray14"])
def test_real_pictures_are_usable_and_cached(load, name):
    table = load(name)
    assert len(datasets.usable(table)) == len(table)
    some = table.head(40)
    pictures = images.load(some, 64)
    assert pictures.shape == (40, 64, 64, 3)
    means = [images.read(path).mean() for path in some["path"]]
    assert np.abs(pictures.mean(axis=(1, 2, 3)) - means).max() < 1


@pytest.mark.parametrize("name", ["isic2019", "ph2"])
def test_real_masks_match_their_pictures(load, name):
    table = load(name).dropna(subset="mask_path")
    masks = images.load_masks(table, 64)
    assert masks.shape == (len(table), 64, 64)
    assert masks.any(axis=(1, 2)).all() and 0.05 < masks.mean() < 0.6
