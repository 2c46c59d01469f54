"""The ceiling: a network that was told where lesions are."""

import numpy as np
import pytest
import tiny
import torch
from errors import refused

from helpers import localisation, unet

pytestmark = pytest.mark.usefixtures("one_thread", "folders")


@pytest.fixture
def case(monkeypatch):
    """Discs on noise, not all in the middle, and where they are; half are to learn from."""
    monkeypatch.setattr(unet, "SIDE", 16)
    monkeypatch.setattr(unet, "WIDTHS", (8, 8))
    monkeypatch.setattr(unet.UNet.__init__, "__defaults__", ((8, 8),))
    pixels, _ = tiny.discs(48)
    at = np.arange(32) - 16
    mask = at[:, None] ** 2 + at**2 < (32 / 3) ** 2
    pixels[:, mask] = 230
    rng = np.random.default_rng(1)
    moved = [rng.integers(-5, 6, 2) for _ in pixels]
    pixels = np.stack(
        [np.roll(p, m, (0, 1)) for p, m in zip(pixels, moved, strict=True)]
    )
    masks = np.stack([np.roll(mask, m, (0, 1)) for m in moved])
    return pixels, masks, np.arange(48) < 36


def test_it_finds_what_it_was_shown(case):
    pixels, masks, train = case
    state = torch.get_rng_state()
    found = unet.heatmaps(pixels, masks, train, steps=60)
    assert found.shape == masks.shape and found.min() >= 0 and found.max() <= 1
    assert torch.equal(torch.get_rng_state(), state)
    held = ~train
    ours = localisation.ranking(found[held], masks[held]).mean()
    centre = localisation.blind(pixels)["centred Gaussian"]
    assert ours > max(0.95, localisation.ranking(centre[held], masks[held]).mean())


def test_it_learns_once_and_from_the_training_masks_alone(case, monkeypatch):
    pixels, masks, train = case
    first = unet.heatmaps(pixels, masks, train, steps=3)
    (kept,) = (unet.below_out("cache")).glob("unet_*.npy")
    learnt = unet._learnt
    monkeypatch.setattr(unet, "_learnt", lambda *a: pytest.fail("it learnt again"))
    other = masks.copy()
    other[~train] = False  # the masks of the others are never read
    assert (unet.heatmaps(pixels, other, train, steps=3) == first).all()
    monkeypatch.setattr(unet, "_learnt", learnt)
    kept.write_bytes(kept.read_bytes()[:200])  # a broken file is made anew
    assert (unet.heatmaps(pixels, masks, train, steps=3) == first).all()
    assert (unet.heatmaps(pixels, masks, train, steps=3, seed=1) != first).any()


@pytest.mark.parametrize("size", [(64, 64), (17, 30)])
def test_the_logits_are_as_large_as_the_picture(size):
    with torch.inference_mode():
        assert unet.UNet()(torch.rand(2, 3, *size)).shape == (2, *size)


def test_what_does_not_fit_is_refused(case):
    pixels, masks, train = case
    refused(lambda: unet.heatmaps(pixels, masks[:, :9], train), "N×H×W×3")
    refused(lambda: unet.heatmaps(pixels, masks, train[:5]), "N×H×W×3")
    refused(lambda: unet.heatmaps(pixels, masks, train & False), "one picture to learn")
