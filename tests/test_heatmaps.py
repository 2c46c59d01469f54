"""Pictures of heatmaps: colours, overlays, rows with their words, the GIF."""

import matplotlib
import numpy as np
import pytest
from bs4 import BeautifulSoup
from errors import refused
from PIL import Image

from helpers import heatmaps

NASTY = 'A < b & "c" <script>'
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
Y, X = np.mgrid[:48, :64]
HEAT = np.exp(-((X - 40) ** 2 + (Y - 20) ** 2) / 100)
MASK = (X - 30) ** 2 + (Y - 24) ** 2 < 200
WORDS = {
    "image_id": "isic_7", "true": "mel", "predicted": "nv", "p": 0.714,
    "target": "mel", "layer": "deep", "method": "grad-cam",
}  # fmt: skip
CAPTION = "isic_7 · true mel · predicted nv (0.71) · target mel · layer deep · grad-cam"


@pytest.fixture
def page(monkeypatch):
    shown = []
    monkeypatch.setattr(heatmaps, "display", lambda html: shown.append(html.data))

    def page() -> BeautifulSoup:
        assert len(shown) == 1
        return BeautifulSoup(shown.pop(), "html.parser")

    return page


def alts(html) -> list[str]:
    return [img["alt"] for img in html.find_all("img")]


def test_magma_from_dark_to_light():
    colours = heatmaps.coloured(np.array([[0, 0.5, 1]]))
    assert colours.shape == (1, 3, 3) and colours.dtype == np.uint8
    assert (np.diff(colours.astype(int).sum(2)) > 200).all()
    table = matplotlib.colormaps["magma"]([0, 0.5, 1.0], bytes=True)[:, :3]
    assert (colours[0] == table).all()


def test_a_signed_map_is_even_about_zero():
    blue, white, red = heatmaps.coloured(np.array([[-2.0, 0, 2]]), signed=True)[0]
    assert white.min() > 240 and blue[2] > blue[0] and red[0] > red[2]
    [[paler]] = heatmaps.coloured(np.array([[2.0]]), signed=True, limit=8)
    assert paler.min() > red.min() + 100
    over = heatmaps.coloured(np.array([[9.0]]), signed=True, limit=2)
    assert (over == red).all()
    assert heatmaps.coloured(np.zeros((2, 2)), signed=True).min() > 240


def test_an_overlay_covers_as_much_as_the_map_is_hot():
    assert (heatmaps.overlay(PICTURE, 0 * HEAT) == PICTURE).all()
    over = heatmaps.overlay(PICTURE, HEAT, opacity=1)
    assert (over[20, 40] == heatmaps.coloured(HEAT)[20, 40]).all()
    near, far = (np.abs(over.astype(int) - PICTURE)[s].mean() for s in (HEAT > 0.5, 0))
    assert near > 10 * far
    half = heatmaps.overlay(PICTURE, HEAT)[20, 40]
    mixed = 0.45 * PICTURE[20, 40] + 0.55 * over[20, 40]
    assert np.abs(half - mixed).max() <= 1


def test_outlines_of_map_and_lesion():
    none = heatmaps.outline(PICTURE, 0 * HEAT)
    assert max(none.shape[:2]) >= heatmaps.SIDE
    lines = (heatmaps.outline(PICTURE, HEAT) != none).any(2)
    lesion = (heatmaps.outline(PICTURE, 0 * HEAT, MASK) != none).any(2)
    assert 0.005 < lines.mean() < 0.2 and 0.005 < lesion.mean() < 0.2
    drawn = heatmaps.outline(PICTURE, 0 * HEAT, MASK)[lesion]
    assert (drawn == 255).all(1).mean() > 0.2
    drawn = heatmaps.outline(PICTURE, HEAT)[lines]
    assert (drawn == heatmaps.LINES).all(1).mean() > 0.2


def test_a_row_says_what_was_asked(page):
    heatmaps.row(PICTURE, HEAT, mask=MASK, **WORDS)
    html = page()
    assert html.figcaption.get_text() == CAPTION and html.script is None
    *panels, bar = alts(html)
    assert panels == [f"{name}: {CAPTION}" for name in heatmaps.PANELS]
    assert "colour bar" in bar and heatmaps.NOTHING not in html.get_text()
    assert "25%, 50%, 75%; white: the lesion" in html.get_text()
    heatmaps.row(PICTURE, HEAT, "The median", **WORDS | {"true": None})
    text = page().get_text()
    assert "true unknown" in text and "The median" in text and "lesion" not in text


@pytest.mark.parametrize(
    "heatmap, valid", [(0 * HEAT, True), (HEAT, False), (0 * HEAT, False)]
)
def test_an_empty_map_is_words_and_no_black_panel(page, heatmap, valid):
    heatmaps.row(PICTURE, heatmap, valid=valid, **WORDS)
    html = page()
    assert heatmaps.NOTHING in html.get_text()
    assert not [alt for alt in alts(html) if alt.startswith("heatmap")]
    pictures = [img["src"] for img in html.find_all("img")][:2]
    assert pictures[0] == pictures[1]  # the overlay is the bare picture


def test_every_row_has_its_heads(page):
    shown = [
        heatmaps.Shown(PICTURE, heat, **WORDS | {"image_id": name})
        for heat, name in ((HEAT, "one"), (0 * HEAT, "two"), (HEAT, NASTY))
    ]
    heatmaps.rows(shown, "chosen by a rule")
    html = page()
    text = html.get_text()
    assert all(text.count(head) == 3 for head in heatmaps.PANELS)
    assert text.count(heatmaps.NOTHING) == 1 and all(one.words in text for one in shown)
    assert len(alts(html)) == 4 + 3 + 4 + 1 and html.script is None
    assert f"overlay: {shown[2].words}" in alts(html)
    assert html.figcaption.get_text() == "chosen by a rule"


def test_a_signed_row_enlarges_its_map(page):
    words = {name: text for name, text in WORDS.items() if name != "target"}
    heatmaps.signed_row(PICTURE, np.array([[1.0, -2], [0, 1]]), **words)
    html = page()
    assert "evidence for nevus (−2)0evidence for melanoma (+2)" in html.get_text()
    assert "target melanoma against nevus" in html.figcaption.get_text()
    assert len(alts(html)) == 4
    heatmaps.signed_row(PICTURE, np.zeros((2, 2)), (NASTY, "b"), **words)
    html = page()
    assert html.script is None and f"evidence for {NASTY}" in html.get_text()


def test_a_gif_has_every_frame_over_its_label(tmp_path):
    frames = [PICTURE, PICTURE[::-1], heatmaps.overlay(PICTURE, HEAT)]
    path = heatmaps.gif(frames, tmp_path / "new" / "a.gif", "abc", duration_ms=300)
    assert [file.name for file in path.parent.iterdir()] == ["a.gif"]
    with Image.open(path) as image:
        assert image.n_frames == 3 and image.info["duration"] == 300
        assert image.width == 64 and image.height > 48
        bands = []
        for number in range(3):
            image.seek(number)
            bands.append(np.asarray(image.convert("RGB"))[48:].copy())
    assert all(band.max() > 150 for band in bands)
    assert (bands[0] != bands[1]).any() and (bands[1] != bands[2]).any()


@pytest.mark.parametrize("draw", [heatmaps.overlay, heatmaps.outline])
def test_what_is_no_heatmap_is_refused(draw):
    broken = HEAT.copy()
    broken[3, 4] = np.nan
    refused(lambda: draw(PICTURE, broken), "heatmap")
    refused(lambda: draw(PICTURE, 2 * HEAT), "2", "0 and 1")
    refused(lambda: draw(PICTURE, HEAT - 0.5), "-0.5", "0 and 1")
    refused(lambda: draw(PICTURE, HEAT[:, :32]), "48×64", "48×32")
    refused(lambda: draw(PICTURE[..., 0], HEAT), "(H, W, 3)")


def test_other_mistakes_are_refused(tmp_path):
    refused(lambda: heatmaps.coloured(np.array([[np.inf]]), signed=True), "infinite")
    refused(lambda: heatmaps.signed_row(PICTURE, np.zeros(3), **WORDS), "(3,)")
    refused(lambda: heatmaps.outline(PICTURE, HEAT, MASK[:9]), "mask", "9×64")
    for frames, labels in ([[], []], [[PICTURE], "ab"], [[PICTURE, PICTURE[:9]], "ab"]):
        refused(lambda f=frames, n=labels: heatmaps.gif(f, tmp_path / "a", n), "label")
    assert not list(tmp_path.iterdir())
