"""The synthetic chest films: their layout, their truth, and what their reader refuses."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from errors import refused
from PIL import Image

from helpers import chest, films, images, radiograph, reading, settings
from helpers.pathologies import FINDINGS

SMALL = {"films": 40, "size": 96}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty small films, drawn once for all tests."""
    return films.write(films.Recipe(**SMALL), tmp_path_factory.mktemp("films") / "set")


@pytest.fixture(scope="module")
def table(folder):
    return chest.chestxray14(folder)


def test_the_fourteen_findings_are_those_of_the_loader():
    assert tuple(FINDINGS) == chest.CHESTXRAY14


def test_they_are_read_by_the_real_sets_loader_with_all_that_is_known(table, capsys):
    assert len(table) == SMALL["films"] and capsys.readouterr().out == ""
    assert table.patient.nunique() < len(table)
    assert {f for label in table.label for f in label} <= set(FINDINGS)
    assert (table.label.map(len) > 1).any() and (table.label.map(len) == 0).any()
    assert set(table.sex) == {"male", "female"} and table.age.between(5, 95).all()
    assert set(table["view"]) == {"PA", "AP"}


def test_patients_are_called_alike_in_the_table_and_in_the_file_names():
    plan = films.plan(films.Recipe(**SMALL))
    named = plan["Image Index"].str.split("_").str[0].astype(int)
    assert (named == plan["Patient ID"]).all() and plan["Image Index"].is_unique


def test_each_label_has_a_mask_and_boxes_that_hold_it(folder, table):
    truth = films.truth(folder).set_index("image_id")
    for case in table.itertuples():
        known = truth.loc[case.image_id]
        assert set(known.findings) == set(case.label)
        assert images.read_mask(known.lungs_path).mean() > 0.1
        for finding, path in known.mask_paths.items():
            mask, union = images.read_mask(path), np.zeros((96, 96), bool)
            for name, *box in case.boxes:
                if name == finding:
                    x, y, w, h = map(round, box)
                    assert w > 0 and h > 0
                    union[y : y + h, x : x + w] = True
            assert mask.any() and not (mask & ~union).any(), finding


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
    }


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(folder, tmp_path):
    again = films.write(films.Recipe(**SMALL), tmp_path / "again")
    assert digest(again) == digest(folder)
    other = films.write(films.Recipe(**SMALL, seed=1), tmp_path / "other")
    assert not set(digest(other).values()) & set(
        v for k, v in digest(folder).items() if k.startswith("images")
    )


def painted(finding=None, size=128, seed=0):
    """A film and the mask of what is on it; without a finding, the same chest."""
    body, rng = (np.random.default_rng([seed, k]) for k in (1, 2))
    one = radiograph.Chest(rng, body, size)
    if finding == "Cardiomegaly":
        one.heart_width *= 1.5
    if finding == "Emphysema":
        one.stretch()
    one.anatomy()
    before = one.density + 0.11 * one.vessels
    if finding:
        FINDINGS[finding](one)
    after = one.density + 0.11 * one.vessels
    masks = one.masks.get(finding, [np.zeros((size, size), bool)])
    return np.abs(after - before), np.any(masks, axis=0), one


@pytest.mark.parametrize("finding", [f for f in FINDINGS if f != "Cardiomegaly"])
@pytest.mark.parametrize("seed", range(3))
def test_a_finding_changes_the_film_where_its_mask_says(finding, seed):
    change, mask, _ = painted(finding, seed=seed)
    assert mask.any() and change[mask].mean() > 5 * change[~mask].mean()


def test_a_large_heart_is_wide_and_a_thorax_with_air_is_dark():
    normal, large = (painted(f)[2].heart.any(0).sum() for f in (None, "Cardiomegaly"))
    assert large > 1.3 * normal
    _, gap, chest_with = painted("Pneumothorax")
    _, _, bare = painted()
    assert chest_with.density[gap].mean() < bare.density[gap].mean()


def test_a_nodule_is_small_and_a_mass_is_larger():
    small, large = (
        np.mean([painted(f, seed=s)[1].mean() for s in range(6)])
        for f in ("Nodule", "Mass")
    )
    assert 0 < small < large / 2


def test_the_heart_lies_to_the_right_of_the_film():
    _, _, one = painted()
    assert one.x[one.heart].mean() > one.spine


def test_drawn_once_and_then_found(folders):
    first = films.ensure(**SMALL)
    stamp = (first / "truth.csv").stat().st_mtime_ns
    assert films.ensure(**SMALL) == first
    assert (first / "truth.csv").stat().st_mtime_ns == stamp
    assert films.ensure(seed=1, **SMALL) != first


def test_what_cannot_be_drawn_is_refused(folders):
    refused(lambda: films.Recipe(films=3), "3 films", "at least 20")
    refused(lambda: films.Recipe(size=9), "9 px")
    refused(lambda: films.Recipe(seed=-1), "seed")
    refused(lambda: films.ensure("slow"), "unknown profile 'slow'")


def cfg(name):
    return settings.load(dataset=name)


def test_with_skin_pictures_the_synthetic_films_are_read_and_it_says_so(capsys):
    for name in ("synthetic", "chestxray14", "chexpert"):
        assert reading.about(cfg(name)).dataset == name
    assert capsys.readouterr().out == ""
    assert reading.about(cfg("ham10000")).dataset == "synthetic"
    assert capsys.readouterr().out.count("\n") == 1


def test_load_draws_and_reads_the_synthetic_films(folders, monkeypatch):
    monkeypatch.setitem(films.PROFILES, "quick", films.Recipe(**SMALL))
    one = cfg("synthetic")
    table = reading.load(one)
    assert len(table) == SMALL["films"]
    lungs = reading.lungs(table, one, 32)
    assert lungs.shape == (len(table), 32, 32) and 0.1 < lungs.mean() < 0.6
    assert reading.lungs(table, replace(one, dataset="chestxray14"), 32) is None


def test_negatives_are_turned_and_named(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path))
    plain = reading.read(table, 64)
    assert capsys.readouterr().out == ""
    paths = []
    for number, path in enumerate(table.path):
        film = images.read(path)
        film = 255 - film if number in (3, 8) else film
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(film).save(paths[-1])
    turned = reading.read(table.assign(path=paths), 64)
    out = capsys.readouterr().out
    assert "2 films are negatives" in out and table.image_id[3] in out
    assert np.abs(turned.astype(int) - plain).max() <= 2


def test_a_sticker_is_where_its_mask_says_and_nowhere_else():
    pixels = np.full((2, 128, 128, 3), 40, np.uint8)
    changed = (reading.stickered(pixels) != pixels).any(3)
    mask = reading.sticker_mask(128)
    assert changed.any((1, 2)).all() and not changed[:, ~mask].any()
    assert mask.mean() < 0.05 and (pixels == 40).all()
    assert mask.sum() == pd.Series(cv2.boundingRect(mask.astype(np.uint8)))[2:].prod()


def test_the_bone_structure_mode_draws_edges_out(table):
    film = images.read(table.path[0])
    sharp = reading.bones(film)
    assert sharp.shape == film.shape and sharp.dtype == np.uint8
    calm = (cv2.GaussianBlur(one[..., 0], (0, 0), 1.5) for one in (film, sharp))
    edges = [
        np.hypot(cv2.Sobel(c, 6, 1, 0), cv2.Sobel(c, 6, 0, 1)).mean() for c in calm
    ]
    assert edges[1] > 1.3 * edges[0]
