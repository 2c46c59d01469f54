"""Regions of heatmaps, and how they are shown on a picture."""

import cv2
import numpy as np
import pytest
from errors import refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers import regions

FEW = hypothesis_settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
CORNERS = np.ones((3, 3))


def bumpy(seed: int, shape=(24, 31)) -> np.ndarray:
    """A heatmap with several hills, from 0 to 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return (noise - noise.min()) / np.ptp(noise)


def two_bars(left: float, right: float) -> np.ndarray:
    heatmap = np.zeros((20, 30))
    heatmap[5:10, 3:7], heatmap[5:10, 20:24] = left, right
    return heatmap


def skin(level: int, shape=(100, 120)) -> np.ndarray:
    return np.full((*shape, 3), level, np.uint8)


def test_a_region_by_hand():
    found = regions.region(two_bars(0.9, 0.4))
    assert found.box == (5, 3, 10, 7) and found.mask.sum() == 20
    assert found.share == 20 / 600 and not found.touches_edge and not found.empty
    assert regions.region(two_bars(0.9, 0.95)).box == (5, 20, 10, 24)  # the hotter one
    assert regions.region(two_bars(0.9, 0.4), 0.3).box == (5, 3, 10, 7)
    assert regions.region(two_bars(0.9, 0.9)).mask.sum() == 20  # never both
    larger = two_bars(0.6, 1)
    larger[10, 3] = 0.5  # at the threshold is inside
    assert regions.region(larger).box == (5, 3, 11, 7)


def test_pixels_that_meet_at_a_corner_are_one_region():
    assert regions.region(np.eye(5)).mask.sum() == 5


@pytest.mark.parametrize("row, col", [(0, 5), (9, 5), (5, 0), (5, 11)])
def test_every_edge_of_the_picture_is_told(row, col):
    heatmap = np.zeros((10, 12))
    heatmap[row, col] = 1
    assert regions.region(heatmap).touches_edge
    assert not regions.region(np.pad(heatmap, 1)).touches_edge


@given(SEEDS, st.floats(0.05, 0.95))
@FEW
def test_a_region_is_the_largest_part_and_its_box_is_tight(seed, threshold):
    heatmap = bumpy(seed)
    found = regions.region(heatmap, threshold)
    parts, count = ndimage.label(heatmap >= threshold, CORNERS)
    sizes = ndimage.sum_labels(parts > 0, parts, range(1, count + 1))
    inside = np.unique(parts[found.mask])
    assert len(inside) == 1 and inside[0] > 0  # connected, and above the threshold
    assert found.mask.sum() == sizes.max() == sizes[inside[0] - 1]
    top, left, bottom, right = found.box
    assert found.mask.sum() == found.mask[top:bottom, left:right].sum()
    held = found.mask[top:bottom, left:right]
    assert all(edge.any() for edge in (held[0], held[-1], held[:, 0], held[:, -1]))
    assert found.share == pytest.approx(found.mask.mean())


@given(SEEDS, st.integers(0, 20), st.integers(0, 20))
@FEW
def test_what_moves_and_mirrors_takes_its_box_along(seed, down, right):
    heatmap = np.pad(bumpy(seed), 1)
    before = regions.region(np.pad(heatmap, ((0, 20), (0, 20))))
    after = regions.region(np.pad(heatmap, ((down, 20 - down), (right, 20 - right))))
    assert np.subtract(after.box, before.box).tolist() == [down, right, down, right]
    assert after.mask.sum() == before.mask.sum()
    top, left, bottom, end = regions.region(heatmap).box
    mirrored = regions.region(heatmap[:, ::-1])
    width = heatmap.shape[1]
    assert mirrored.box == (top, width - end, bottom, width - left)


@pytest.mark.parametrize(
    "heatmap", [np.zeros((8, 9)), np.full((8, 9), 0.7), two_bars(0.4, 0.3)]
)
def test_a_map_that_points_nowhere(heatmap):
    found = regions.region(heatmap)
    assert found.empty and found.box is None and found.share == 0
    assert not found.mask.any() and not found.touches_edge
    image = skin(200, heatmap.shape)
    height, width = heatmap.shape
    assert regions.box_with_margin(found.box, heatmap.shape) == (0, 0, height, width)
    assert np.array_equal(regions.crop(image, found.box), image)
    assert (regions.dimmed(image, found.mask) == 70).all()
    if np.ptp(heatmap) == 0:
        assert regions.outlines(heatmap) == [[], [], []]
        assert np.array_equal(regions.drawn(image, heatmap), image)


def test_margins_and_crops():
    shape = (100, 120)
    assert regions.box_with_margin((20, 40, 40, 90), shape) == (18, 35, 42, 95)
    assert regions.box_with_margin((20, 40, 40, 90), shape, 0) == (20, 40, 40, 90)
    assert regions.box_with_margin((1, 2, 99, 118), shape, 0.5) == (0, 0, 100, 120)
    image = np.arange(100 * 120 * 3).reshape(100, 120, 3).astype(np.uint8)
    part = regions.crop(image, (18, 35, 42, 95))
    assert np.array_equal(part, image[18:42, 35:95])
    part[:] = 0
    assert image[18:42, 35:95].any()  # the picture itself is as it was


def test_dimming_leaves_the_region_and_darkens_the_rest_softly():
    mask = np.zeros((100, 120), bool)
    mask[40:60, 40:80] = True
    image = skin(200)
    shown = regions.dimmed(image, mask)
    assert (shown[mask] == 200).all()
    row = shown[50, 80:, 0].astype(int)
    assert (np.diff(row) <= 0).all() and 70 < row[0] < 200  # no hard edge
    assert (row[5:] == 70).all()  # 200 less 65 %
    assert np.array_equal(regions.dimmed(image, mask, 0), image)
    assert (regions.dimmed(image, mask, 1)[0] == 0).all()
    assert (image == 200).all()


@given(SEEDS)
@FEW
def test_outlines_hold_their_level_sets_and_higher_ones_lie_inside_lower_ones(seed):
    heatmap, held = bumpy(seed), []
    for level, lines in zip((0.25, 0.5, 0.75), regions.outlines(heatmap), strict=True):
        filled = np.zeros(heatmap.shape, np.uint8)
        cv2.drawContours(filled, lines, -1, 1, cv2.FILLED)
        assert np.array_equal(filled > 0, heatmap >= level)
        held.append(filled > 0)
    low, middle, high = held
    assert (low | middle == low).all() and (middle | high == middle).all()


def test_levels_are_sorted_and_none_is_needed():
    heatmap = bumpy(0)
    lengths = [len(x) for x in regions.outlines(heatmap, (0.75, 0.25))]
    assert lengths == [len(x) for x in regions.outlines(heatmap, (0.25, 0.75))]
    image = skin(90, heatmap.shape)
    assert np.array_equal(regions.drawn(image, heatmap, ()), image)


@pytest.mark.parametrize("level", [15, 60, 130, 200, 240])
def test_lines_show_on_any_skin_and_tell_their_level_without_hue(level):
    y, x = np.mgrid[:100, :120]
    heatmap = np.clip(1 - np.hypot(y - 50, x - 60) / 45, 0, 1)
    image = skin(level)
    shown = regions.drawn(image, heatmap).astype(int)
    assert (image == level).all()
    assert (shown == shown[..., :1]).all()  # grey: no hue to be missed
    wide, bright = [], []
    for low, high in ((0.15, 0.375), (0.375, 0.625), (0.625, 0.9)):
        line = shown[(heatmap >= low) & (heatmap < high)][:, 0]
        assert abs(line - level).max() >= 80  # against the skin
        assert np.ptp(line) >= 120  # light on its own dark edge
        wide.append((line > level + 20).sum() / (1 - (low + high) / 2))
        bright.append(line.max())
    assert bright[2] == 255
    if level < 100:  # where light lines alone stand out
        assert wide[0] < wide[1] < wide[2] and bright[0] < bright[1] < bright[2]


IMAGE = skin(100, (8, 9))
FLAT = np.zeros((8, 9))
BOX = (2, 2, 5, 5)


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: regions.region(np.zeros((1, 8, 9))), "(1, 8, 9), not (H, W)"),
        (lambda: regions.region(np.zeros((0, 9))), "(0, 9)"),
        (lambda: regions.region(np.where(np.eye(3), np.nan, 0)), "3 of 9 values"),
        (lambda: regions.region(np.full((3, 3), np.inf)), "missing or infinite"),
        (lambda: regions.region(np.eye(3) * 7), "from 0 to 7, not within 0 and 1"),
        (lambda: regions.region(np.eye(3) - 0.5), "cut it off below 0"),
        (lambda: regions.region(FLAT, 0), "threshold must lie between 0 and 1"),
        (lambda: regions.region(FLAT, 1.5), "not at 1.5"),
        (lambda: regions.region(FLAT, np.nan), "not at nan"),
        (lambda: regions.outlines(FLAT, (0.5, 1)), "level must lie between"),
        (lambda: regions.drawn(IMAGE, FLAT.T), "8×9 pixels and the heatmap 9×8"),
        (lambda: regions.drawn(IMAGE / 255, FLAT), "float64, not (H, W, 3) of uint8"),
        (lambda: regions.drawn(IMAGE[..., 0], FLAT), "images.read"),
        (lambda: regions.dimmed(IMAGE, FLAT), "float64, not (H, W) of bool"),
        (lambda: regions.dimmed(IMAGE, FLAT.T > 0), "the mask 9×8 (H×W)"),
        (lambda: regions.dimmed(IMAGE, FLAT > 0, 2), "strength must be between"),
        (lambda: regions.crop(IMAGE, (2, 2, 5, 99)), "(2, 2, 5, 99) is not inside"),
        (lambda: regions.crop(IMAGE, (5, 2, 5, 4)), "picture of 8×9"),
        (lambda: regions.box_with_margin(BOX, (8, 9), -1), "margin must be 0 or more"),
        (lambda: regions.box_with_margin(BOX, (8, 9), np.nan), "not nan"),
    ],
)
def test_what_cannot_be_a_region_is_refused_in_one_line(call, told):
    refused(call, told)
