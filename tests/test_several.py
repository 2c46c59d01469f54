"""Pictures with several lesions: as many as asked for, each with its masks."""

import numpy as np
import pytest
from errors import refused
from scipy import ndimage

from helpers import several


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("label", ["nv", "mel"])
def test_each_lesion_has_its_masks_and_stands_apart(label, count):
    image, lesions, evidence = several.picture(label, count, 0, size=96)
    assert image.shape == (96, 128, 3) and image.dtype == np.uint8
    assert lesions.shape == evidence.shape == (count, 96, 128)
    assert lesions.any((1, 2)).all() and not (evidence & ~lesions).any()
    centres = [ndimage.center_of_mass(mask) for mask in lesions]
    for one in range(count):
        for other in range(one):
            assert np.hypot(*np.subtract(centres[one], centres[other])) > 25


def test_a_number_is_a_picture():
    first, again, other = (several.picture("bkl", 2, n, 64)[0] for n in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert (several.picture("bkl", 2, 0, 64, seed=1)[0] != first).any()


def test_the_lesions_are_in_the_picture():
    image, lesions, _ = several.picture("mel", 2, 3, size=96)
    grey = image.mean(2)
    skin = ~ndimage.binary_dilation(lesions.any(0), iterations=3)
    for mask in lesions:
        assert grey[mask].mean() < grey[skin].mean() - 10


def test_what_cannot_be_drawn_is_refused():
    refused(lambda: several.picture("nv", 4, 0), "4", "1 to 3")
    refused(lambda: several.picture("scc", 1, 0), "scc", "mel")
