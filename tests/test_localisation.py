"""How much of a map's heat lies where it should, and what a map scores that never looks."""

from itertools import product

import numpy as np
import pytest
from errors import refused
from hypothesis import given
from hypothesis import strategies as st
from peers import quantus
from sklearn.metrics import average_precision_score, roc_auc_score

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


MEASURES = {
    "energy": localisation.energy,
    "ranking": localisation.ranking,
    "precision": localisation.precision,
    "pointing": localisation.pointing,
    "IoU": lambda h, m: localisation.overlap(h, m, [0.5])[:, 0],
    "as large": localisation.as_large,
}


def drawn(seed: int, n: int = 3, levels: int = 9, size=(5, 6)):
    """Maps with many places equally hot, and masks that are neither empty nor full."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, levels, (n, *size)) / (levels - 1)
    masks = rng.random((n, *size)) < 0.4
    masks[:, 0, :2] = True, False
    return maps, masks


@pytest.mark.parametrize("name", MEASURES)
def test_a_perfect_map_a_wrong_one_and_an_empty_mask(name):
    measure = MEASURES[name]
    right = np.concatenate([MASK.astype(float)] * 2)
    found = measure(right, np.concatenate([MASK, MASK & False]))
    assert found[0] == 1 and np.isnan(found[1])
    far = np.zeros((1, 8, 8))
    far[0, 0, 0] = 1
    wrong = measure(far, MASK)[0]
    told = {"ranking": (47 / 2) / 48, "precision": 16 / 64, "as large": 15 / 63 * 16}
    told["as large"] /= 32 - told["as large"]  # one place outside, 15 by lot
    assert wrong == pytest.approx(told.get(name, 0))


@pytest.mark.parametrize("name", MEASURES)
def test_a_map_of_zeros_has_a_score_that_is_told(name):
    share = 16 / 64
    told = {"ranking": 0.5, "precision": share, "as large": share / (2 - share)}
    told["pointing"] = share  # 15 of 224 is less than a pixel of 8
    found = MEASURES[name](np.zeros((1, 8, 8)), MASK)
    assert found == pytest.approx([told.get(name, 0)])


@given(st.integers(0, 99))
def test_precision_is_that_of_scikit_learn(seed):
    maps, masks = drawn(seed)
    found = localisation.precision(maps, masks)
    for one, mask, score in zip(maps, masks, found, strict=True):
        assert score == pytest.approx(
            average_precision_score(mask.ravel(), one.ravel())
        )


@given(st.integers(0, 99), st.sampled_from([1.0, 0.3, 3.0]))
def test_what_asks_for_the_order_alone_knows_no_scale(seed, power):
    maps, masks = drawn(seed)
    for name in ("ranking", "precision", "pointing", "as large"):
        plain, bent = (
            MEASURES[name](maps, masks),
            MEASURES[name](4 * maps**power, masks),
        )
        assert bent == pytest.approx(plain), name


def test_pointing_allows_for_a_few_pixels():
    maps, mask = np.zeros((4, 40, 40)), np.zeros((4, 40, 40), bool)
    mask[:, 10:20, 10:20] = True
    for one, (y, x) in zip(maps, [(12, 12), (21, 15), (23, 15), (22, 22)], strict=True):
        one[y, x] = 1
    found = localisation.pointing(maps, mask, tolerance=3 / 40)
    assert found.tolist() == [1, 1, 0, 0]  # the last is 3 beside and 3 below: too far
    assert localisation.pointing(maps, mask, 0).tolist() == [1, 0, 0, 0]
    maps[0, 30, 30] = 1
    assert localisation.pointing(maps, mask, 0)[0] == 0.5
    near = mask.copy()
    near[1] = False  # the mask of another picture is no mask of this one
    assert np.isnan(localisation.pointing(maps, near, 1)[1])


def test_overlap_of_known_maps():
    maps, masks = np.zeros((2, 4, 4)), np.zeros((2, 4, 4), bool)
    masks[:, :2] = True
    maps[:, 0], maps[:, 1, :2], maps[:, 2] = 1, 0.6, 0.3
    found = localisation.overlap(maps, masks, [0.9, 0.6, 0.0, np.array([0.9, 0.3])])
    assert found[0] == pytest.approx([4 / 8, 6 / 8, 6 / 12, 4 / 8])
    assert found[1, 3] == pytest.approx(6 / 12)
    assert localisation.dice(found[0, 1]) == pytest.approx(2 * 6 / (6 + 8))
    assert localisation.tuned(maps, masks) in np.linspace(0.05, 0.95, 19)
    assert localisation.tuned(maps, masks, [0.2, 0.5, 0.9]) == 0.5


@given(st.floats(0, 1))
def test_dice_is_the_larger(iou):
    assert iou <= localisation.dice(iou) <= 1


def test_as_large_keeps_as_many_as_the_mask_has():
    maps = np.arange(16.0).reshape(1, 4, 4)
    mask = (maps == 15) | (maps == 14) | (maps == 0) | (maps == 1)
    assert localisation.as_large(maps, mask) == pytest.approx([2 / 6])
    tied = np.where(maps >= 12, 1.0, 0)  # two of the four kept are of the mask
    assert localisation.as_large(tied, mask) == pytest.approx([2 / 6])
    few = mask & (maps > 1)  # two of four equal places are kept: one of the mask
    assert localisation.as_large(tied, few) == pytest.approx([1 / 3])


@given(st.integers(0, 99))
def test_as_large_turns_round_where_both_are_as_large(seed):
    rng = np.random.default_rng(seed)
    one, two = (rng.permutation(30).reshape(1, 5, 6) < 11 for _ in range(2))
    there = localisation.as_large(one.astype(float), two)
    assert there == pytest.approx(localisation.as_large(two.astype(float), one))
    assert there == pytest.approx((one & two).sum() / (one | two).sum())


@given(st.integers(0, 99))
def test_the_threshold_of_otsu_is_that_of_scikit_image(seed):
    filters = pytest.importorskip("skimage.filters")
    rng = np.random.default_rng(seed)
    maps = np.concatenate([rng.normal(0.3, 0.1, 300), rng.normal(0.7, 0.05, 100)])
    maps = np.clip(maps, 0, 1).reshape(1, 20, 20)
    theirs = filters.threshold_otsu(maps[0], 256)  # the middle of the bin below
    bin_width = np.ptp(maps) / 256
    assert localisation.otsu(maps)[0] == pytest.approx(theirs + bin_width / 2)


def test_otsu_of_two_heats_and_of_one():
    two = np.where(MASK, 0.8, 0.2)
    level = localisation.otsu(np.concatenate([two, 0 * two + 0.4]))
    assert 0.2 < level[0] <= 0.8 and level[1] > 0.4
    assert localisation.overlap(two, MASK, [level[:1]])[0, 0] == 1


@given(st.integers(0, 50))
def test_nothing_made_of_whole_cells_is_better_than_the_oracle(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((1, 6, 7)) < rng.uniform(0.1, 0.9)
    mask[0, 0, 0] = True
    which = 3 * (np.arange(6)[:, None] * 3 // 6) + np.array([0, 0, 1, 1, 1, 2, 2])
    tried = [np.isin(which, np.flatnonzero(c)) for c in product([0, 1], repeat=9)]
    best = max((t & mask[0]).sum() / (t | mask[0]).sum() for t in tried)
    assert localisation.reachable(mask, 3) == pytest.approx([best])


def test_what_a_grid_can_reach():
    assert localisation.reachable(MASK, 4) == 1  # its border lies on that of the cells
    assert localisation.reachable(MASK, 1) == pytest.approx(16 / 64)
    assert localisation.reachable(MASK, 8) == 1
    assert np.isnan(localisation.reachable(MASK & False, 4))
    for cells in (0, 9):
        refused(lambda cells=cells: localisation.reachable(MASK, cells), "1 to 8")


def test_unlike_skin_is_hot_where_the_colour_is_another():
    pixels = np.full((2, 20, 20, 3), 180, np.uint8)
    pixels[0, 8:12, 8:12] = (180, 140, 150)
    heat = localisation.unlike_skin(pixels)
    assert heat.shape == (2, 20, 20) and not heat[1].any()
    assert heat[0, 9, 9] == pytest.approx(50)  # 3-4-5
    assert (heat[0] > 0).sum() == 16


def ask(metric, maps, masks):
    """A metric of Quantus that needs no model."""
    x = np.zeros((len(maps), 1, *maps.shape[1:]))
    given = {"a_batch": maps[:, None], "s_batch": masks[:, None]}
    return metric(model=None, x_batch=x, y_batch=np.zeros(len(x), int), **given)


def test_energy_pointing_and_rank_are_those_of_quantus():
    peer = quantus()
    rng = np.random.default_rng(0)
    maps = rng.permuted(np.arange(1.0, 401).reshape(1, -1).repeat(8, 0), axis=1)
    maps = maps.reshape(8, 20, 20) / 400  # no two places equally hot
    masks = rng.random((8, 20, 20)) < 0.3
    quiet = {"disable_warnings": True}
    mass = ask(peer.RelevanceMassAccuracy(**quiet), maps, masks)
    assert localisation.energy(maps, masks) == pytest.approx(mass)
    hits = ask(peer.PointingGame(**quiet), maps, masks)
    assert localisation.pointing(maps, masks, 0).tolist() == hits
    rank = np.array(ask(peer.RelevanceRankAccuracy(**quiet), maps, masks))
    assert localisation.as_large(maps, masks) == pytest.approx(rank / (2 - rank))
    same = masks.copy()
    for mask in same:  # of one size, which is what TopKIntersection wants
        mask[:] = rng.permutation(400).reshape(20, 20) < 90
    top = np.array(ask(peer.TopKIntersection(k=90, **quiet), maps, same))
    assert localisation.as_large(maps, same) == pytest.approx(top / (2 - top))


def test_pictures_without_a_mask_are_left_out_and_counted():
    masks = np.concatenate([MASK, MASK & False, MASK])
    table = localisation.table({"right": masks * 1.0}, masks, list("abc"))
    row = table.loc["right"]
    assert (row.score, row.n, row.lesions) == (1, 2, 2)
    row = localisation.table({"right": masks * 1.0}, masks, list("aba")).loc["right"]
    assert (row.score, row.n, row.lesions) == (1, 2, 1)
    assert np.isnan([row.low, row.high]).all()  # one lesion has no interval


def test_what_does_not_fit_is_refused():
    refused(lambda: localisation.energy(np.ones((2, 8, 8)), MASK), "N×H×W")
    refused(lambda: localisation.energy(np.ones((8, 8)), MASK[0]), "N×H×W")
    refused(lambda: localisation.energy(np.ones((1, 8, 8)), MASK * 255), "bool")
    bad = np.ones((3, 8, 8))
    bad[1, 2, 3] = np.nan
    for measure in MEASURES.values():
        line = refused(lambda m=measure: m(bad, np.repeat(MASK, 3, 0)), "finite")
        assert "number 1" in line
        refused(lambda m=measure: m(-bad[:1], MASK), "not negative")
    refused(lambda: localisation.tuned(bad[:1], MASK & False), "tuned")


def test_more_maps_that_ask_no_model():
    pixels = np.full((2, 20, 24, 3), 200, np.uint8)
    pixels[:, 8:12, 8:14] = (90, 40, 30)
    usual = np.linspace(0, 1, 480, dtype=np.float32).reshape(20, 24)
    maps = localisation.dumb(pixels, usual, seed=3)
    assert all(m.shape == (2, 20, 24) for m in maps.values()) and "darkness" not in maps
    assert (maps["mean training lesion"] == usual).all()
    unlike = maps["colour unlike skin"]
    assert (unlike[:, 8:12, 8:14] > 0.9).all() and (unlike[:, :8] == 0).all()
    again = localisation.dumb(pixels, usual, seed=3)["random"]
    assert (maps["random"] == again).all() and np.ptp(again) > 0.9
    assert all(
        m.min() >= 0 and np.isclose(m.max((1, 2)), 1).all() for m in maps.values()
    )
