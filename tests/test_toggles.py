"""The figure with switches, as text: what is sent, and what stands without a script."""

import base64
import io
import json
import re

import cv2
import numpy as np
import pytest
from bs4 import BeautifulSoup
from errors import refused
from PIL import Image

from helpers import heatmaps, toggles

NASTY = "A < b & \"c\" </script><script>alert('1')</script><!--"
PICTURE = np.full((48, 64, 3), (200, 150, 120), np.uint8)
Y, X = np.mgrid[:48, :64]
HEAT = np.exp(-((X - 40) ** 2 + (Y - 20) ** 2) / 100)
MAPS = {("cam", "deep", "mel"): HEAT, ("cam", "deep", "nv"): HEAT[::-1]}


@pytest.fixture
def shown(monkeypatch):
    texts = []
    monkeypatch.setattr(toggles, "display", lambda html: texts.append(html.data))
    return texts


def parts(text: str):
    """The markup, and what its script is given."""
    html = BeautifulSoup(text, "html.parser")
    [script] = html.find_all("script")
    found = re.search(r"\n}\)\((\{.*\})\)$", script.extract().string)
    return html, json.loads(found[1])


def pixels(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def test_without_a_script_picture_and_overlay_stand_there(shown):
    toggles.toggle(PICTURE, MAPS, caption="isic_7 · true mel", alt="isic_7")
    html, _ = parts(shown[0])
    alts = [img["alt"] for img in html.find_all("img")]
    assert alts[:2] == ["isic_7", "isic_7; overlay · cam · deep · mel"]
    assert len(alts) == 3 and "colour bar" in alts[2]
    assert "overlay · cam · deep · mel" in html.select_one(".still").get_text()
    assert html.figcaption.get_text() == "isic_7 · true mel"
    assert not html.find_all(["style", "input", "fieldset"])  # none that is dead
    still, over = (pixels(img["src"]) for img in html.find_all("img")[:2])
    changed = np.abs(still.astype(int) - over).mean(2)
    assert changed[HEAT > 0.8].mean() > 5 * changed[HEAT < 0.01].mean()


def test_the_maps_are_sent_once_and_by_their_names(shown):
    maps = MAPS | {("grad-cam", 3, "mel"): 0 * HEAT, ("grad-cam", 3, "nv"): HEAT}
    toggles.toggle(PICTURE, maps, valid={("grad-cam", 3, "nv"): False})
    html, data = parts(shown[0])
    assert data["keys"] == [list(map(str, key)) for key in maps]
    assert data["full"] == [True, True, False, False]
    assert data["axes"][1:] == [
        ["method", ["cam", "grad-cam"]],
        ["layer", ["deep", "3"]],
        ["class", ["mel", "nv"]],
    ]
    w, h = data["size"]
    sent = pixels(data["maps"]).reshape(4, h, w) / 255
    assert (w, h) == (64, 48) and np.abs(sent[:2] - [HEAT, HEAT[::-1]]).max() < 1 / 255
    assert not sent[2].any()
    assert shown[0].count(html.img["src"]) == 1


def test_large_pictures_are_sent_small(shown):
    large = cv2.resize(PICTURE, (1600, 1200))
    toggles.toggle(large, {("cam",): cv2.resize(HEAT, (1600, 1200))}, ("method",))
    html, data = parts(shown[0])
    assert data["size"] == [toggles.MAP_SIDE, toggles.MAP_SIDE * 3 // 4]
    assert max(pixels(html.img["src"]).shape) == toggles.SIDE


def test_a_full_grid_of_rough_maps_is_below_400_kb(shown):
    rng, maps = np.random.default_rng(0), {}
    for layer, side in (("deep", 7), ("middle", 14), ("early", 28)):
        for method in range(6):
            for label in ("mel", "nv"):
                rough = rng.random((side, side))
                maps[method, layer, label] = cv2.resize(rough, (224, 224))
    rough = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
    toggles.toggle(cv2.resize(rough, (224, 224)), maps)
    assert len(shown[0].encode()) < 400_000


def test_text_from_data_is_text(shown):
    toggles.toggle(PICTURE, {(NASTY,): HEAT}, (NASTY,), caption=NASTY, alt=NASTY)
    html, data = parts(shown[0])  # one script only
    assert html.figcaption.get_text() == NASTY and html.img["alt"] == NASTY
    assert data["axes"][1] == [NASTY, [NASTY]] and data["alt"] == NASTY
    assert shown[0].count("<script") == 1 and "<!--" not in shown[0]


def test_nothing_is_fetched_and_ids_are_met_once(shown):
    for _ in range(2):
        toggles.toggle(PICTURE, MAPS)
    html = BeautifulSoup("".join(shown), "html.parser")
    ids = [tag["id"] for tag in html.find_all(id=True)]
    assert len(ids) == len(set(ids)) == 2
    assert parts(shown[0])[1]["id"] == ids[0]
    assert not re.search(r"https?:|@import|url\(|\beval\b|innerHTML", "".join(shown))


def test_a_first_map_that_points_nowhere(shown):
    toggles.toggle(PICTURE, {("cam",): 0 * HEAT, ("b",): HEAT}, ("method",))
    html, _ = parts(shown[0])
    assert heatmaps.NOTHING in html.select_one(".still").get_text()
    assert len(html.find_all("img")) == 2


def test_mistakes_are_refused():
    refused(lambda: toggles.toggle(PICTURE, {}), "method, layer, class")
    refused(lambda: toggles.toggle(PICTURE, {("cam",): HEAT}), "method, layer, class")
    for broken in (2 * HEAT, HEAT * np.nan, HEAT[:9]):
        maps = MAPS | {("b", "deep", "mel"): broken}
        refused(lambda maps=maps: toggles.toggle(PICTURE, maps), "heatmap")


def test_backgrounds_are_sent_by_name_and_refused_if_of_another_size(shown):
    toggles.toggle(PICTURE, MAPS)
    assert parts(shown[-1])[1]["grounds"] == ["picture"]
    toggles.toggle(PICTURE, MAPS, backgrounds={"bone structure": 255 - PICTURE})
    _, data = parts(shown[-1])
    assert data["grounds"] == ["picture", "bone structure"]
    [sheet] = data["sheets"]
    assert np.abs(pixels(sheet).astype(int) - (255 - PICTURE)).mean() < 3
    refused(
        lambda: toggles.toggle(PICTURE, MAPS, backgrounds={"b": PICTURE[1:]}), "48×64"
    )
