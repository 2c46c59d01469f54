"""The live viewer without a browser: what its widgets do, with ipywidgets 7 and 8."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from errors import refused
from PIL import Image

from helpers import (
    cam,
    familiar,
    images,
    messages,
    models,
    trained,
    viewing,
    widgets,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the viewer needs of a trained model, untrained."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows = []
    for k, label in enumerate(("mel", "nv")):
        path = folder / f"P{k}.png"
        pixels = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        rows.append({"image_id": f"P{k}", "path": str(path), "label": label})
    mask = folder / "mask.png"
    Image.fromarray(np.uint8(255 * (np.hypot(*np.mgrid[-30:30, -40:40]) < 20))).save(
        mask
    )
    cases = pd.DataFrame(rows).assign(mask_path=[str(mask), np.nan], split="train")
    torch.manual_seed(0)
    model = models.build("mobilenet_v2", ("mel", "nv"), 64, start="random").eval()
    page = {"shift": [0.0, 0.5], "temperature": 2.0, "recipe": {"views": 2}}
    page |= {"sha256": "0" * 64}
    logits = models.logits(model, images.load(cases, 64), views=2)
    of = {"cases": cases, "logits": logits, "page": page, "folder": folder}
    return SimpleNamespace(model=model, classes=["mel", "nv"], **of)


def parts(box):
    """The widgets of a viewer by their description, and what is shown."""
    return {w.description: w for w in box.children[:-1]}, box.children[-1]


def picture(shown):
    return BeautifulSoup(shown.value, "html.parser").find("img")


def test_every_control_changes_what_is_shown(run):
    controls, shown = parts(widgets.viewer(run, [0, 1]))
    seen = [shown.value]
    assert "P0" in picture(shown)["alt"] and "layer deep" in picture(shown)["alt"]
    for name, value in (
        ("case", "P1: nv"),
        ("layer", "early"),
        ("method", "layercam"),
        ("opacity", 0.2),
        ("view", "outline"),
        ("view", "heatmap"),
        ("view", "original"),
    ):
        controls[name].value = value
        assert shown.value not in seen, name
        seen.append(shown.value)
    controls["class"].value = "nv"
    assert "target nv" in shown.value and "not a diagnosis" in shown.value


def test_the_picture_is_mapped_as_the_tables_are(run):
    shown = parts(widgets.viewer(run, [0]))[1]
    p = trained.probabilities(run.page, run.logits)[0]
    said = f"predicted {run.classes[p.argmax()]} ({p.max():.2f})"
    assert said in picture(shown)["alt"]


def png(pixels) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("version", [7, 8])
def test_an_upload_is_read_with_either_version(version):
    pixels = np.random.default_rng(1).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    data = png(pixels)
    seven = {"mine.png": {"metadata": {}, "content": data}}
    eight = ({"name": "mine.png", "content": memoryview(data)},)
    name, image = widgets.received(seven if version == 7 else eight)
    assert name == "mine.png" and (image == pixels).all()


def test_an_upload_that_is_no_picture_is_refused(monkeypatch):
    def upload(content, name="<b>.png"):
        return widgets.received(({"name": name, "content": content},))

    line = refused(
        lambda: upload(b"nothing"), "<b>.png: not a picture", "send it again"
    )
    assert "table" not in line  # of a data set
    cut = png(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))[:9000]
    refused(lambda: upload(cut), "<b>.png: truncated", "send it again")
    refused(lambda: widgets.received(()), "choose a file")
    monkeypatch.setattr(widgets, "MAX_BYTES", 10)
    refused(lambda: upload(png(np.zeros((9, 9, 3), np.uint8))), "<b>.png", "MB")
    error = widgets.CourseError("<b>.png: broken")
    assert "&lt;b&gt;.png" in widgets.told(error) and "alert" in widgets.told(error)


def send(upload, pixels, name):
    file = {"name": name, "content": png(pixels), "type": "image/png", "size": 1}
    day = pd.Timestamp("2026-01-01").to_pydatetime()
    upload.value = (file | {"last_modified": day},)


def test_an_uploaded_picture_becomes_a_case(run):
    controls, shown = parts(widgets.viewer(run, [0]))
    upload = next(w for name, w in controls.items() if "picture" in name)
    pixels = np.random.default_rng(2).integers(0, 255, (50, 40, 3), dtype=np.uint8)
    send(upload, pixels, "own.png")
    assert controls["case"].value == "own.png" and "own.png" in picture(shown)["alt"]
    assert messages.UNCHECKED in shown.value  # of two pictures there is no rule
    controls["case"].value = "P0: mel"
    assert "P0" in picture(shown)["alt"] and "alert" not in shown.value
    controls["case"].value = "own.png"
    assert "own.png" in picture(shown)["alt"] and messages.UNCHECKED in shown.value


def test_an_upload_unlike_the_training_gets_the_notice(run, monkeypatch):
    pixels = images.load(run.cases, 64)[[0] * familiar.NEAREST]
    seen = models.each(run.model, pixels, lambda x: familiar.pooled(run.model.map(x)))
    rule = familiar.Familiar(familiar.unit(seen), 1e-3)
    monkeypatch.setattr(familiar, "ensure", lambda _: rule)
    controls, shown = parts(widgets.viewer(run, [0]))
    upload = next(w for name, w in controls.items() if "picture" in name)
    send(upload, images.read(run.cases.path[0]), "seen.png")
    assert "seen.png" in picture(shown)["alt"] and "alert" not in shown.value
    send(upload, np.full((60, 80, 3), 9, np.uint8), "flat.png")
    assert "flat.png" in picture(shown)["alt"] and messages.UNFAMILIAR in shown.value
    controls["case"].value = "seen.png"
    assert "alert" not in shown.value


def test_a_case_is_ready_for_a_figure(run):
    found = cam.explain(run.model, models.tensor(images.load(run.cases, 64)), "cam")
    first, second = (viewing.shown(run, k, found, k) for k in (0, 1))
    assert first.image.shape == (270, 360, 3) and first.heatmap.shape == (270, 360)
    assert first.mask.shape == (270, 360) and second.mask is None
    assert first.mask.mean() == pytest.approx(0.26, abs=0.02)
    assert (first.true, second.true) == ("mel", "nv")
    assert first.target in run.classes and first.layer == "deep"
    p = trained.probabilities(run.page, run.logits)
    assert (first.p, second.p) == pytest.approx(p.max(1))
    named = cam.explain(
        run.model, models.tensor(images.load(run.cases, 64)), target=lambda z: z[:, 0]
    )
    assert viewing.shown(run, 0, named).target == "<lambda>"


def test_a_film_is_a_sheet_and_a_gif(run, folders, capsys):
    image = np.zeros((30, 40, 3), np.uint8)
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (viewing.heatmaps, viewing.figures):
            patch.setattr(module, "display", lambda html: shown.append(html.data))
        maps = {"one": np.eye(4), "two": np.ones((4, 4)) / 2}
        viewing.film(image, maps, "03_test", "a film")
    sheet, link = shown
    assert sheet.count("<img") == 2 and "A film" in sheet and "map two" in sheet
    assert 'download="03_test.gif"' in link
