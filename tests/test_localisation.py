"""How much of a map's heat lies where it should, and what a map scores that never looks."""

import numpy as np
import pytest
from errors import refused
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from helpers import localisation, metrics

MASK = np.zeros((1, 8, 8), bool)
MASK[0, 2:6, 2:6] = True


def test_energy_of_known_maps():
    inside, outside = MASK.astype(float), 1.0 * ~MASK
    even, half = np.ones((1, 8, 8)), inside + (~MASK) * 16 / 48
    maps = np.concatenate([inside, outside, even, half, 0 * even])
    found = localisation.energy(maps, np.repeat(MASK, 5, 0))
    assert found == pytest.approx([1, 0, 1 / 4, 1 / 2, 0])


@given(st.floats(1e-3, 1e3), st.integers(0, 9))
def test_energy_knows_no_scale(scale, seed):
    maps = np.random.default_rng(seed).random((1, 8, 8))
    both = (localisation.energy(scale * maps, m)[0] for m in (MASK, ~MASK))
    one, rest = both
    assert one + rest == pytest.approx(1)
    assert one == pytest.approx(localisation.energy(maps, MASK)[0])


def test_the_blind_maps_do_what_they_are_called():
    pixels = np.zeros((2, 20, 30, 3), np.uint8)
    pixels[1, :, 15:] = 200
    blind = localisation.blind(pixels)
    assert {m.shape for m in blind.values()} == {(2, 20, 30)}
    assert (blind["the same everywhere"] == 1).all()
    centre = blind["centred Gaussian"][0]
    assert centre == pytest.approx(centre[::-1, ::-1]) and centre.argmax() // 30 in (
        9,
        10,
    )
    edges = blind["edges (Sobel)"]
    assert not edges[0].any() and set(np.nonzero(edges[1])[1]) == {14, 15}
    assert (blind["darkness"][1, :, 15:] == 55).all()
    assert all((m >= 0).all() for m in blind.values())


@given(st.integers(0, 9))
def test_ranking_is_the_area_under_the_curve(seed):
    rng = np.random.default_rng(seed)
    maps, masks = rng.integers(0, 9, (3, 5, 6)) / 8, rng.random((3, 5, 6)) < 0.4
    masks[:, 0, :2] = True, False
    found = localisation.ranking(maps, masks)
    for one, mask, score in zip(maps, masks, found, strict=True):
        assert score == pytest.approx(roc_auc_score(mask.ravel(), one.ravel()))
    assert localisation.ranking(maps**3 * 7, masks) == pytest.approx(found)


def test_ranking_of_nothing_and_everything():
    flat = np.ones((1, 8, 8))
    assert localisation.ranking(flat, MASK) == pytest.approx(0.5)
    assert np.isnan(localisation.ranking(flat, MASK | True)).all()


def test_a_table_has_a_row_a_map():
    maps = {"good": np.repeat(MASK, 4, 0).astype(float), "even": np.ones((4, 8, 8))}
    masks = np.repeat(MASK, 4, 0)
    table = localisation.table(maps, masks, list("aabc"))
    assert table.score.to_dict() == pytest.approx({"good": 1, "even": 0.5})
    table = localisation.table(maps, masks, list("aabc"), localisation.energy)
    assert table.score.to_dict() == pytest.approx({"good": 1, "even": 0.25})
    assert table.n.tolist() == [4, 4] and table.lesions.tolist() == [3, 3]
    row = metrics.means({"x": np.array([0, 1.0, 1, 0])}, list("aabc")).loc["x"]
    assert (row.score, row.low, row.high) == metrics.mean_interval(
        [0, 1, 1, 0], list("aabc")
    )


def test_what_does_not_fit_is_refused():
    refused(lambda: localisation.energy(np.ones((2, 8, 8)), MASK), "N×H×W")
    refused(lambda: localisation.energy(np.ones((8, 8)), MASK[0]), "N×H×W")
