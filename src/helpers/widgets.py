"""The live viewer: a case or a picture of your own, mapped as you switch (taught in 03).

Core widgets only, as ipywidgets 7.7 (Colab) and 8 both have them. It needs a running
kernel; what it shows is made by `picture`, which needs none.
"""

import tempfile
from html import escape
from pathlib import Path

import ipywidgets
import numpy as np

from . import (
    cam,
    familiar,
    figures,
    heatmaps,
    images,
    messages,
    models,
    sentences,
    trained,
    viewing,
)
from .settings import CourseError

WIDTH = 420  # pixels across
MAX_BYTES = 20_000_000  # of a picture from outside


def viewer(run: trained.Trained, places) -> ipywidgets.VBox:
    """A viewer for the cases at these places of `run.cases`, and for uploads."""
    cases = run.cases.loc[list(places)]
    names = {f"{c.image_id}: {c.label}": c.path for c in cases.itertuples()}
    choices = {
        "case": ipywidgets.Dropdown(options=list(names), description="case"),
        "target": ipywidgets.Dropdown(
            options=["predicted", *run.classes], description="class"
        ),
        "method": ipywidgets.Dropdown(
            options=[(cam.TITLES[m], m) for m in cam.FORMULAS], description="method"
        ),
        "layer": ipywidgets.ToggleButtons(
            options=["early", "middle", "deep"], value="deep", description="layer"
        ),
        "view": ipywidgets.ToggleButtons(
            options=list(heatmaps.PANELS), value="overlay", description="view"
        ),
        "opacity": ipywidgets.FloatSlider(
            heatmaps.OPACITY, min=0, max=1, step=0.05, description="opacity"
        ),
    }
    upload = ipywidgets.FileUpload(accept="image/*", description="your own picture")
    shown, own = ipywidgets.HTML(), {}

    def draw(*_):
        chosen = {name: widget.value for name, widget in choices.items()}
        case = chosen.pop("case")
        try:
            image, notice = own.get(case) or (images.read(names[case]), "")
            shown.value = notice + picture(run, image, case, **chosen)
        except CourseError as error:
            shown.value = told(error)

    def take(*_):
        try:
            name, own_picture = received(upload.value)
        except CourseError as error:
            shown.value = told(error)
            return
        own[name] = own_picture, unlike(run, own_picture)
        case = choices["case"]
        case.unobserve(draw, "value")  # else the new list would show its first case
        case.options = [*dict.fromkeys([*case.options, name])]
        case.value = name
        case.observe(draw, "value")
        draw()

    for widget in choices.values():
        widget.observe(draw, "value")
    upload.observe(take, "value")
    draw()
    return ipywidgets.VBox([*choices.values(), upload, shown])


def picture(
    run,
    image: np.ndarray,
    name: str,
    target="predicted",
    method="grad-cam",
    layer="deep",
    view="overlay",
    opacity=heatmaps.OPACITY,
) -> str:
    """What the viewer shows: a picture (H×W×3 uint8) in one view, and its sentence."""
    pixels = images.squashed(image, run.model.size)[None]
    views = run.page["recipe"]["views"]
    probs = trained.probabilities(run.page, models.logits(run.model, pixels, views))[0]
    best = int(probs.argmax())
    aim = best if target == "predicted" else run.classes.index(target)
    found = cam.explain(run.model, models.tensor(pixels), method, layer, aim)
    image = figures.narrow(image, WIDTH)
    heatmap = viewing.fit(found.heatmap[0], image)
    draw = {
        "original": lambda: image,
        "heatmap": lambda: heatmaps.coloured(heatmap),
        "overlay": lambda: heatmaps.overlay(image, heatmap, opacity),
        "outline": lambda: heatmaps.outline(image, heatmap),
    }[view]
    words = (
        f"{name} · predicted {run.classes[best]} ({probs[best]:.2f}) · target "
        f"{run.classes[aim]} ({probs[aim]:.2f}) · layer {layer} · {cam.TITLES[method]}"
    )
    says = sentences.of_evidence(image, heatmap, run.classes[aim], float(probs[aim]))
    full = view != "heatmap" or bool(found.valid[0])
    panel = heatmaps.panel(draw(), f"{view}: {words}", words, full)
    return f'<div style="max-width:34rem">{panel}<p>{escape(says.text)}</p></div>'


def unlike(run, image: np.ndarray) -> str:
    """A notice if a picture is unlike those of the training (the rule of 08), or ""."""
    try:
        rule = familiar.ensure(run)  # the first upload makes it
    except CourseError:  # too few pictures for one
        return told(messages.UNCHECKED)
    pixels = images.squashed(image, run.model.size)[None]
    last = models.each(run.model, pixels, lambda x: familiar.pooled(run.model.map(x)))
    known = rule.strangeness(last)[0] <= rule.cutoff
    return "" if known else told(messages.UNFAMILIAR)


def received(value) -> tuple[str, np.ndarray]:
    """Name and picture of an upload: a dict in ipywidgets 7, a tuple of dicts in 8."""
    if not value:
        raise CourseError("no picture came: choose a file again")
    if isinstance(value, dict):
        name, file = next(iter(value.items()))
    else:
        name, file = value[-1]["name"], value[-1]
    data = bytes(file["content"])
    if len(data) > MAX_BYTES:
        raise CourseError(
            f"{name}: {len(data) / 1e6:.0f} MB, and {MAX_BYTES / 1e6:.0f} MB is the most; "
            "take a smaller picture"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        path.write_bytes(data)
        if fault := images.fault(path):
            raise CourseError(f"{name}: {fault}; take or send it again")
        return name, images.read(path)


def told(error: CourseError | str) -> str:
    return f'<p role="alert"><b>{escape(str(error))}</b></p>'
