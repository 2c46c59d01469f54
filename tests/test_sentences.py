"""Sentences about evidence and lesions: every word on shapes with known answers."""

import re

import cv2
import numpy as np
import pytest
from errors import refused
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import figures, sentences

FEW = hypothesis_settings(max_examples=30, deadline=None)
SIDE = 120
MIDDLE = (60, 60)


def ellipse(centre=MIDDLE, long=20.0, wide=20.0, degrees=0.0, side=SIDE) -> np.ndarray:
    """A mask (H×W bool), its long axis turned from the horizontal."""
    y, x = np.mgrid[:side, :side] + 0.5
    y, x, turn = y - centre[0], x - centre[1], np.radians(degrees)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn)
    return (along / long) ** 2 + ((across - x * np.sin(turn)) / wide) ** 2 <= 1


def star(dent: float, side: int = 200) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    rim = 1 + dent * np.cos(7 * np.arctan2(y, x))
    return np.hypot(y, x) <= 0.35 * side * rim


def picture(mask, under=(150, 100, 90), rest=(150, 100, 90)) -> np.ndarray:
    return np.where(mask[..., None], under, rest).astype(np.uint8)


def told(heatmap, image=None, label="mel", probability=0.8, threshold=0.5):
    """The sentence of a heatmap, on plain skin unless a picture is given."""
    heatmap = np.asarray(heatmap, float)
    image = picture(heatmap > 1) if image is None else image
    return sentences.of_evidence(image, heatmap, label, probability, threshold)


def lesion(mask, colour=(112, 62, 44)):
    return sentences.of_lesion(picture(mask, colour), mask)


@pytest.mark.parametrize(
    "radius, word", [(5, "small"), (14, "small"), (17, "medium"), (31, "large")]
)
def test_size(radius, word):
    found = told(ellipse(long=radius, wide=radius))
    assert found.size == word
    assert found.share == pytest.approx(np.pi * (radius / SIDE) ** 2, rel=0.05)


FIELDS = [
    ["upper left", "upper", "upper right"],
    ["left", "centre", "right"],
    ["lower left", "lower", "lower right"],
]


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("col", range(3))
def test_location_and_its_mirrors(row, col):
    mask = ellipse((20 + 40 * row, 20 + 40 * col), 12, 12)
    found = told(mask)
    assert found.location == FIELDS[row][col]
    assert found.centre == pytest.approx(((1 + 2 * row) / 6, (1 + 2 * col) / 6))
    assert told(mask[:, ::-1]).location == FIELDS[row][2 - col]
    assert told(mask[::-1]).location == FIELDS[2 - row][col]
    assert told(np.rot90(mask)).location == FIELDS[2 - col][row]
    assert f"in the {FIELDS[row][col]}" in found.text


def test_location_follows_both_sides_of_an_oblong_picture():
    heatmap = np.zeros((60, 180))
    heatmap[25:35, 100:110] = 1
    assert told(heatmap).location == "centre"
    assert told(heatmap.T).location == "centre"


@given(st.floats(1, 3), st.floats(0, 180))
@FEW
def test_shape_is_the_ratio_of_axes_however_turned(ratio, degrees):
    found = told(ellipse(long=14 * ratio, wide=14, degrees=degrees))
    assert found.elongation == pytest.approx(ratio, rel=0.03)
    if abs(ratio - 1.5) > 0.05:
        assert found.shape == ("elongated" if ratio > 1.5 else "round")


def test_a_single_pixel_is_round_and_a_line_is_long():
    dot, line = np.zeros((2, 20, 20))
    dot[3, 4] = line[3, 4:14] = 1
    assert told(dot).elongation == pytest.approx(1)
    assert told(line).elongation == pytest.approx(10)


@pytest.mark.parametrize(
    "level, word",
    [(60, "darker"), (120, "similar"), (124, "similar"), (190, "lighter")],
)
def test_intensity_is_that_of_the_picture(level, word):
    mask = ellipse()
    found = told(mask, picture(mask, (level,) * 3, (120,) * 3))
    assert found.intensity == word
    assert np.sign(found.contrast) == np.sign(level - 120)
    assert f"under it is {word}" in found.text
    swapped = told(mask, picture(mask, (120,) * 3, (level,) * 3))
    assert swapped.contrast == pytest.approx(-found.contrast)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    "blur, word", [(0, "sharp"), (0.08, "sharp"), (0.3, "gradual"), (0.6, "gradual")]
)
def test_boundary_by_how_far_the_heat_falls_whatever_the_size(size, blur, word):
    heatmap = (
        ellipse((30 * size, 30 * size), 12 * size, 12 * size, side=60 * size) * 1.0
    )
    if blur:
        heatmap = cv2.GaussianBlur(heatmap, (0, 0), blur * 12 * size)
    found = told(heatmap / heatmap.max())
    assert found.boundary == word and f"{word} at its boundary" in found.text


def test_a_cone_falls_by_half_over_its_radius():
    y, x = np.mgrid[:200, :200] - 99.5
    found = told(np.clip(1 - np.hypot(y, x) / 80, 0, 1))
    assert found.steepness == pytest.approx(0.5, rel=0.3)  # pixels lie on a grid
    assert found.boundary == "gradual"


@pytest.mark.parametrize(
    "probability, word, number",
    [
        (0.004, "low", "under 1%"),
        (0.31, "low", "31%"),
        (0.5, "moderate", "50%"),
        (0.7, "high", "70%"),
        (0.9, "very high", "90%"),
        (0.998, "very high", "over 99%"),
    ],
)
def test_confidence_in_words_and_number(probability, word, number):
    found = told(ellipse(), probability=probability)
    assert found.confidence == word and found.probability == probability
    assert f"probability of {number}: {word} confidence" in found.text


@given(
    st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)),
    st.floats(3, 50),
    st.floats(3, 50),
    st.floats(0, 180),
    st.sampled_from([*figures.NAMES, "pneumonia"]),
    st.floats(0, 1),
)
@FEW
def test_the_text_holds_every_word_and_never_speaks_of_the_lesion(
    centre, long, wide, degrees, label, probability
):
    found = told(ellipse(centre, long, wide, degrees), None, label, probability)
    assert found.label == label
    words = [
        getattr(found, name) for name in ("size", "location", "shape", "intensity")
    ]
    words += [found.boundary, figures.NAMES.get(label, label), found.confidence]
    assert all(word in found.text for word in words)
    assert "none" not in words
    assert "is not a diagnosis" in found.text and "evidence" in found.text
    assert "the lesion is" not in found.text.replace("not what the lesion is like", "")
    assert "\n" not in found.text and "  " not in found.text
    assert not re.search(r"\bnan\b|np\.", found.text)


@pytest.mark.parametrize(
    "heatmap, why",
    [
        (np.zeros((9, 9)), "There is no positive evidence to point at"),
        (np.full((9, 9), 0.8), "the same everywhere"),
        (np.eye(9) * 0.4, "nowhere reaches 0.5"),
    ],
)
def test_no_region_is_said_and_nothing_else(heatmap, why):
    found = told(heatmap)
    assert why in found.text and "not a diagnosis" in found.text
    words = found.size, found.location, found.shape, found.intensity, found.boundary
    assert words == ("none",) * 5 and found.share == 0
    assert "melanoma" in found.text and "80%" in found.text


def test_a_region_without_a_rest_and_one_at_the_edge():
    whole = told(0.6 + 0.4 * ellipse())
    assert whole.intensity == whole.boundary == "none"
    assert "it fills the picture" in whole.text and "none" not in whole.text
    assert "reaching the picture's edge" in told(ellipse((0, 60))).text
    assert "reaching the picture's edge" not in told(ellipse()).text


@pytest.mark.parametrize("radius", [5, 8, 15, 40, 58])
def test_a_disc_is_symmetric_and_regular_at_every_size(radius):
    found = lesion(ellipse((60.3, 59.8), radius, radius))
    assert (found.form, found.border) == ("symmetric", "regular")
    assert found.asymmetry < 0.04
    assert found.irregularity == pytest.approx(1, abs=0.003)


@given(st.floats(1.2, 2.5), st.floats(0, 180))
@FEW
def test_an_ellipse_is_symmetric_and_regular_however_turned(ratio, degrees):
    found = lesion(ellipse(long=20 * ratio, wide=20, degrees=degrees))
    assert found.asymmetry < 0.03 and found.irregularity < 1.003


def test_half_a_disc_is_whole_on_one_axis_only():
    half = ellipse(long=40, wide=40)
    half[:60] = False
    found = lesion(half)
    assert found.form == "asymmetric" and found.asymmetry == pytest.approx(
        0.09, abs=0.01
    )
    hooked = half.copy()
    hooked[20:60, 20:40] = True
    assert lesion(hooked).asymmetry > 0.2


def test_dents_make_a_border_irregular_the_deeper_the_more():
    rough = [lesion(star(dent)).irregularity for dent in (0, 0.08, 0.15, 0.25)]
    assert rough[0] == pytest.approx(1, abs=0.003) and np.all(np.diff(rough) > 0.01)
    assert lesion(star(0.15)).border == "irregular"
    assert rough[2] == pytest.approx(lesion(star(0.15, 400)).irregularity, abs=0.01)


@pytest.mark.parametrize("turn", range(4))
def test_a_turned_or_mirrored_lesion_measures_the_same(turn):
    mask = ellipse((50, 60), 35, 20, 30)
    mask[50:70, 60:75] = False
    first, again = lesion(mask), lesion(np.rot90(mask[:, ::-1], turn))
    assert again.asymmetry == pytest.approx(first.asymmetry, abs=0.005)
    assert again.irregularity == pytest.approx(first.irregularity, abs=0.005)


@pytest.mark.parametrize("name", sentences.COLOURS)
def test_each_reference_colour_is_named_in_other_light_too(name):
    for light in (0.95, 1, 1.05):
        colour = np.clip(np.multiply(sentences.COLOURS[name], light), 0, 255)
        found = lesion(ellipse(), colour)
        assert found.colours == (name,) and f"1 colour: {name}" in found.text


def test_colours_count_from_a_twentieth_of_the_lesion():
    mask = np.zeros((50, 50), bool)
    mask[10:30, 10:30] = True  # 400 pixels
    image = picture(mask, sentences.COLOURS["dark brown"], sentences.COLOURS["red"])
    image[10, 10:29] = sentences.COLOURS["black"]  # 19
    image[11, 10:30] = sentences.COLOURS["white"]  # 20
    found = sentences.of_lesion(image, mask)
    assert found.colours == ("white", "dark brown")
    assert found.shares["black"] == 19 / 400 and found.shares["red"] == 0
    assert sum(found.shares.values()) == pytest.approx(1)
    assert "2 colours: white, dark brown" in found.text


def test_the_text_of_a_lesion_is_about_it_alone():
    text = lesion(star(0.15)).text
    assert text.startswith("The lesion is") and "not a diagnosis" in text
    assert "border irregular" in text and "evidence" not in text
    assert "reaches the edge" not in text
    assert "reaches the edge" in lesion(ellipse((10, 60))).text


DOTS = np.kron(np.ones((9, 9)), [[1, 0], [0, 0]]) > 0  # 81 pixels, none beside another


@pytest.mark.parametrize(
    "call, said",
    [
        (
            lambda: told(ellipse(), probability=80),
            "probability must be between 0 and 1",
        ),
        (lambda: told(ellipse(), probability=np.nan), "not nan"),
        (lambda: told(ellipse(), threshold=1), "threshold must lie"),
        (lambda: told(ellipse(), np.zeros((9, 9, 3), np.uint8)), "picture is 9×9"),
        (lambda: told(np.zeros((2, 9, 9)), 0), "(2, 9, 9), not (H, W)"),
        (lambda: told(ellipse() * 3), "from 0 to 3"),
        (lambda: lesion(ellipse() * 1), "int64, not (H, W) of bool"),
        (lambda: lesion(ellipse() & False), "has 0 pixels"),
        (lambda: lesion(ellipse(long=3, wide=3)), "a form needs 64"),
        (lambda: lesion(DOTS), "largest part has 1 pixels"),
        (
            lambda: sentences.of_lesion(picture(ellipse())[1:], ellipse()),
            "119×120 pixels and the mask 120×120",
        ),
    ],
)
def test_what_cannot_be_put_into_words_is_refused_in_one_line(call, said):
    refused(call, said)
