"""Charts, sheets and tables as they appear in the page."""

import base64
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from scipy import ndimage

from helpers import charts, figures

plt.switch_backend("agg")
SOURCES = Path(figures.__file__).parents[1]
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
NASTY = 'A < b & "c" <script>'


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("XAI_DERM_DATA", str(tmp_path / "data"))
    with plt.rc_context():
        figures.style()
        yield
    plt.close("all")


@pytest.fixture
def page(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda html: shown.append(html.data))

    def page() -> BeautifulSoup:
        assert len(shown) == 1
        return BeautifulSoup(shown.pop(), "html.parser")

    return page


def line():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="a")
    ax.axvline(0.5)
    ax.imshow(np.eye(3))
    ax.legend()
    return fig


def ids(svg) -> list[str]:
    return [tag["id"] for tag in svg.find_all(id=True)]


def test_a_chart_is_one_svg_with_its_words(page, tmp_path):
    figures.show(line(), "01_line", alt=NASTY, caption=NASTY)
    html = page()
    [svg] = html.find_all("svg")
    assert svg["role"] == "img" and svg["aria-label"] == NASTY
    assert html.figcaption.get_text() == NASTY and html.script is None
    with Image.open(tmp_path / "out/results/figures/01_line.png") as png:
        png.load()
        assert png.format == "PNG" and png.width > 500
    assert not plt.get_fignums()  # closed: hundreds of them would fill the memory


def test_every_reference_stays_in_its_own_svg_and_no_id_is_met_twice(page):
    seen = set()
    for _ in range(2):
        figures.show([line(), line()], "01_line", alt="two lines")
        for svg in page().find_all("svg"):
            own = ids(svg)
            assert own and len(set(own)) == len(own) and not seen & set(own)
            seen |= set(own)
            text = str(svg)
            used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
            assert used and {a or b for a, b in used} <= set(own)
            assert "xlink" not in re.sub(r'xmlns:xlink="[^"]*"', "", text)


def test_a_list_gives_as_many_svgs_and_files(page, tmp_path):
    figures.show([line(), line(), line()], "01_many", alt="a line", caption="three")
    svgs = page().find_all("svg")
    assert len(svgs) == 3 and len({svg["aria-label"] for svg in svgs}) == 3
    names = [p.name for p in (tmp_path / "out/results/figures").iterdir()]
    assert sorted(names) == ["01_many_1.png", "01_many_2.png", "01_many_3.png"]


def examples():
    index = ["nv", "mel"]
    frame = pd.DataFrame({"low": [0.1, 0.2], "score": [0.3, 0.3], "high": [0.4, 0.5]})
    tones = pd.DataFrame({"ita": [1.0, 2, 3, 40], "tone": pd.Categorical(list("aabb"))})
    counts = pd.DataFrame({"pictures": [9, 3], "lesions": [7, 2]}, index)
    shares = pd.DataFrame({"a": [0.3, 0.6], "b": [0.7, 0.4]}, index)
    leak = pd.Series({"nv": 0.3, "mel": 0.6, "all": 0.4})
    return [
        charts.class_counts(counts),
        charts.shares(shares, "share"),
        charts.columns(pd.Series([0.2, 0.8], index), "x", "y"),
        charts.leak("a set", leak),
        charts.intervals(frame.set_axis(index), "score", 0.25),
        charts.heat(np.eye(4), "share"),
        charts.by_group(tones, "ita", "tone", "ITA"),
    ]


def test_the_ink_of_every_chart_is_the_pages_own(page):
    figures.show(examples(), "01_all", alt="all charts")
    for svg in page().find_all("svg"):
        text = str(svg).lower()
        assert "currentcolor" in text
        for ink in (figures.INK, "#000000", "black", "#262626"):
            assert not re.search(rf"(fill|stroke): ?{ink}", text)


def test_a_chart_lets_the_page_show_through(page):
    figures.show(line(), "01_line", alt="a line")
    ground = page().find(id=re.compile("patch_1$"))
    assert "opacity: 0" in str(ground) or "fill: none" in str(ground)


def test_a_sheet_gives_each_picture_its_words(page):
    alts, labels = [NASTY, "second"], ["one", NASTY]
    figures.sheet([PICTURE, PICTURE], alts, labels, caption=NASTY)
    html = page()
    assert [img["alt"] for img in html.find_all("img")] == alts
    assert all(
        i["src"].startswith("data:image/jpeg;base64,") for i in html.find_all("img")
    )
    assert NASTY in html.get_text() and html.script is None
    assert html.figcaption.get_text() == NASTY
    with pytest.raises(ValueError):
        figures.sheet([PICTURE, PICTURE], ["only one"])


@pytest.mark.parametrize(("across", "share"), [(2, "45%"), (3, "30%")])
def test_a_sheet_keeps_so_many_in_a_row_on_a_phone(page, across, share):
    figures.sheet([PICTURE] * 3, list("abc"), width=200, across=across)
    assert f"minmax(min(200px,{share}),1fr)" in str(page())


def test_a_flow_shows_its_steps_in_order(page):
    steps = [("one", PICTURE, NASTY), ("two", [PICTURE] * 2, ["a", "b"]), ("3", NASTY)]
    figures.flow(steps, caption="the way")
    html = page()
    assert [img["alt"] for img in html.find_all("img")] == [NASTY, "a", "b"]
    assert html.script is None and html.figcaption.get_text() == "The way"
    text = html.get_text()
    assert text.index("one") < text.index("two") < text.index(NASTY)
    arrows = html.find_all(string="→")
    assert [a.parent["aria-hidden"] for a in arrows] == ["true"] * 2


def test_a_picture_survives_as_data():
    head, _, data = figures.picture(np.full((8, 9, 3), 90, np.uint8)).partition(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (9, 8) and head == "data:image/jpeg;base64"
        assert np.abs(np.asarray(image).astype(int) - 90).max() <= 2


def test_a_table_has_its_caption_dashes_and_room_to_scroll(page):
    frame = pd.DataFrame(
        {
            "float": [1.23456, np.nan],
            "share": [np.nan, 0.5],
            "words": ["x < y", None],
            "any": pd.Series([(1, 2), None], ["one", "two"], dtype=object),
            "whole": pd.array([1, None], dtype="Int64"),
        },
        index=["one", "two"],
    )
    figures.table(frame, NASTY, {"share": "{:.1%}"})
    html = page()
    rows = [
        [td.get_text() for td in tr.find_all("td")] for tr in html.select("tbody tr")
    ]
    assert rows == [
        ["1.235", "–", "x < y", "(1, 2)", "1"],
        ["–", "50.0%", "–", "–", "–"],
    ]
    assert html.find(["caption", "figcaption"]).get_text() == NASTY
    assert [th.get_text() for th in html.select("tbody th")] == ["one", "two"]
    assert "overflow-x:auto" in html.table.find_parent("div")["style"].replace(" ", "")
    figures.table(frame, index=False)
    html = page()
    assert html.find(["caption", "figcaption"]) is None
    assert not html.select("tbody th")


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_an_outline_changes_pixels_near_the_edge_alone(dtype):
    image = np.full((60, 80, 3), 120, np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:45, 15:50] = True
    drawn = figures.outlined(image, mask.astype(dtype), (80, 255, 120))
    changed = (drawn != image).any(2)
    near = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_erosion(
        mask, iterations=4
    )
    edge = mask & ~ndimage.binary_erosion(mask)
    assert changed[edge].all() and not changed[~near].any()
    assert (image == 120).all()  # a copy is drawn on
    assert (figures.outlined(image, mask & False) == image).all()


def test_no_colour_map_named_jet():
    for path in SOURCES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named = r"""["']jet(_r)?["']|cm\.jet|COLORMAP_JET|plt\.jet"""
        assert not re.search(named, text), path
    assert (
        figures.LIGHT_MAP in plt.colormaps() and figures.SIGNED_MAP in plt.colormaps()
    )
