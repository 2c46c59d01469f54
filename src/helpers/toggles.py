"""A picture with switches for its heatmaps, without kernel or network (taught in 03).

The picture is sent once, as JPEG, and all maps in one grey PNG, one below the other;
toggle.js makes the switches and colours the maps. Where no script runs (in an untrusted
notebook), the picture and the overlay of the first map stand there with the caption.
"""

import json
import uuid
from importlib.resources import files

import cv2
import numpy as np
from IPython.display import HTML, display

from . import figures
from . import heatmaps as drawing
from .regions import LEVELS, checked, checked_picture
from .settings import CourseError

SIDE, MAP_SIDE = 512, 112  # pixels that are sent, at most: of the picture, of a map


def toggle(
    image: np.ndarray,
    heatmaps: dict[tuple, np.ndarray],
    axes: tuple[str, ...] = ("method", "layer", "class"),
    caption: str = "",
    alt: str = "the picture",
    valid: dict[tuple, bool] | None = None,
    backgrounds: dict[str, np.ndarray] | None = None,
) -> None:
    """Shows a picture (H×W×3 uint8) and its heatmaps (H×W in [0, 1]) by their keys.

    A key has a value for each axis, such as ("grad-cam", "deep", "mel"); what was not
    computed may be left out. The first is shown first. `alt` says what the picture shows;
    `valid` is False for the keys of maps that point nowhere, as zeros do anyway.
    `backgrounds` are further pictures of its size, by name, to lay the maps over.
    """
    data = content(image, heatmaps, axes, alt, valid, backgrounds)
    data["css"] = CSS
    words = " · ".join(("overlay", *data["keys"][0]))
    over = _small(drawing.overlay(image, next(iter(heatmaps.values()))), SIDE)
    cells = [
        drawing.panel(_small(image, SIDE), alt, "original"),
        drawing.panel(over, f"{alt}; {words}", words, data["full"][0]),
    ]
    html = figures.figure(still(cells), caption, marks=marks(data))
    display(HTML(f"{html}<script>({SCRIPT})({inline(data)})</script>"))


def content(
    image: np.ndarray,
    heatmaps: dict[tuple, np.ndarray],
    axes: tuple[str, ...],
    alt: str,
    valid: dict[tuple, bool] | None = None,
    backgrounds: dict[str, np.ndarray] | None = None,
    side: int = MAP_SIDE,
) -> dict:
    """What the script is given for `toggle`; maps have sides of `side` pixels at most."""
    if not heatmaps or {len(key) for key in heatmaps} != {len(axes)}:
        raise CourseError(
            f"every heatmap needs a key with a value for each of {', '.join(axes)}, and "
            "there must be one; give such keys, or other axes"
        )
    for heatmap in heatmaps.values():
        checked_picture(image, checked(heatmap).shape)
    for other in (backgrounds or {}).values():
        checked_picture(other, image.shape[:2])
    full = [bool((valid or {}).get(k, True) and m.any()) for k, m in heatmaps.items()]
    keys = [[str(value) for value in key] for key in heatmaps]
    values = [list(dict.fromkeys(column)) for column in zip(*keys, strict=True)]
    maps = [_small(np.uint8(np.rint(255 * m)), side) for m in heatmaps.values()]
    return {
        "id": f"heat-{uuid.uuid4().hex}",
        "alt": alt,
        "axes": [("view", drawing.PANELS), *zip(axes, values, strict=True)],
        "grounds": ["picture", *(backgrounds or {})],
        "sheets": [
            figures.picture(_small(other, SIDE))
            for other in (backgrounds or {}).values()
        ],
        "keys": keys,
        "full": full,
        "size": maps[0].shape[::-1],
        "maps": drawing.data_url(np.concatenate(maps)),
        "levels": LEVELS,
        "lines": "lines at " + ", ".join(f"{level:.0%}" for level in LEVELS),
        "ink": f"rgb{drawing.LINES}",
        "opacity": round(100 * drawing.OPACITY),
        "nothing": drawing.NOTHING,
    }


def still(cells: list[str]) -> str:
    """What stands there until the script has run: panels, and the colour bar."""
    return f'<div class="still">{drawing.grid(cells)}{drawing.colour_bar()}</div>'


def marks(data: dict) -> str:
    return f'class="course heat-toggle" id="{data["id"]}"'


def inline(data: dict) -> str:
    """Data as the source of a script, within a page."""
    return json.dumps(data).replace("<", r"\u003c")


def _small(image: np.ndarray, side: int) -> np.ndarray:
    """A picture, or one channel of it, with sides of `side` at most."""
    scale = min(side / max(image.shape[:2]), 1)
    size = [max(round(scale * length), 1) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


_HERE = files("helpers")
CSS = _HERE.joinpath("toggle.css").read_text("utf-8")
SCRIPT = _HERE.joinpath("toggle.js").read_text("utf-8").strip()
