"""Pictures of heatmaps: colours, overlays, rows with their words, a GIF (taught in 03).

A heatmap is H×W floats in [0, 1], of its picture's size (H×W×3 uint8). The panels of a
figure share their limits; a map that points nowhere is a box with words, never black.
"""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from IPython.display import HTML, display
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from . import figures, regions
from .files import atomic
from .settings import CourseError

OPACITY = 0.55
MAP = "magma"
LINES, LESION = (96, 232, 255), (255, 255, 255)  # cyan: no skin has it, nor the map
SIDE = 448  # pixels: lines are drawn on a picture of this size at least
PANELS = ("original", "heatmap", "overlay", "outline")
NAMES = ("melanoma", "nevus")
NOTHING = "no positive evidence"
SMALL = "font-size:.82em;line-height:1.3"
ROW = "display:flex;align-items:center"
EMPTY = f"{ROW};justify-content:center;text-align:center;border:1px dashed currentColor"


@dataclass(frozen=True, eq=False)
class Shown:
    """One map over its picture, and the words that belong to it."""

    image: np.ndarray  # H×W×3 uint8
    heatmap: np.ndarray  # H×W in [0, 1]
    image_id: str
    true: str | None  # None where nobody knows
    predicted: str
    p: float  # the probability of what is predicted
    target: str  # the class that the map is about
    layer: str
    method: str
    mask: np.ndarray | None = None  # H×W bool: the lesion
    valid: bool = True  # False where nothing is positive

    @property
    def full(self) -> bool:
        return bool(self.valid and np.any(self.heatmap))

    @property
    def words(self) -> str:
        return (
            f"{self.image_id} · true {self.true or 'unknown'} · predicted "
            f"{self.predicted} ({self.p:.2f}) · target {self.target} · layer "
            f"{self.layer} · {self.method}"
        )


def coloured(heatmap: np.ndarray, signed=False, limit=None) -> np.ndarray:
    """A heatmap in colours (H×W×3 uint8), from dark to light.

    A signed map goes from blue at −limit over white at 0 to red; without a limit, its
    largest absolute value is taken.
    """
    if not signed:
        return matplotlib.colormaps[MAP](regions.checked(heatmap), bytes=True)[..., :3]
    raw = np.asarray(heatmap, float)
    if raw.ndim != 2 or not raw.size or not np.isfinite(raw).all():
        raise CourseError(
            f"the signed map has shape {raw.shape}, or values missing or infinite; "
            "give the raw map of one picture (h, w)"
        )
    shade = 0.5 + raw / (2 * (limit or np.abs(raw).max() or 1))
    return matplotlib.colormaps[figures.SIGNED_MAP](shade, bytes=True)[..., :3]


def overlay(image: np.ndarray, heatmap: np.ndarray, opacity=OPACITY) -> np.ndarray:
    """A picture with its heatmap over it: the hotter a place, the more it is covered.

    So the skin stays visible, and a map of zeros leaves the picture as it is.
    """
    colours = coloured(heatmap)
    regions.checked_picture(image, colours.shape[:2])
    return _blend(image, colours, opacity * np.clip(heatmap, 0, 1))


def outline(image: np.ndarray, heatmap: np.ndarray, mask=None) -> np.ndarray:
    """A picture, enlarged if small, with its heatmap's levels as lines, and the lesion.

    The higher a level, the wider its line; the outline of the lesion (mask) is white.
    """
    heatmap = regions.checked(heatmap)
    regions.checked_picture(image, heatmap.shape)
    scale = max(SIDE / max(heatmap.shape), 1)
    size = tuple(round(scale * side) for side in heatmap.shape[::-1])
    drawn = [(LINES, heatmap, regions.LEVELS)]
    if mask is not None:
        regions.checked_picture(image, regions.checked_mask(mask).shape, "mask")
        drawn.insert(0, (LESION, mask.astype(float), (0.5,)))
    image = cv2.resize(image, size)
    for ink, field, levels in drawn:
        found = regions.outlines(cv2.resize(field, size), levels)
        for wide, lines in enumerate(found, start=2):
            cv2.polylines(image, lines, True, regions.DARK, wide + 2, cv2.LINE_AA)
            cv2.polylines(image, lines, True, ink, wide, cv2.LINE_AA)
    return image


def row(image: np.ndarray, heatmap: np.ndarray, caption="", **words) -> None:
    """One map as a row: original, heatmap, overlay, outline; `words` as in `Shown`."""
    shown = Shown(image, heatmap, **words)
    caption = ". ".join(filter(None, (shown.words, caption)))
    display(HTML(figures.figure(grid(_panels(shown)) + _legend([shown]), caption)))


def rows(shown: list[Shown], caption="") -> None:
    """The same for several maps: one grid, heads over the columns, words under a row."""
    cells = []
    for one in shown:
        cells += _panels(one)
        place = f"grid-column:1/-1;margin:-2px 0 10px;{SMALL}"
        cells.append(f'<div style="{place}">{escape(one.words)}</div>')
    display(HTML(figures.figure(grid(cells) + _legend(shown), caption)))


def signed_row(
    image: np.ndarray, raw: np.ndarray, names=NAMES, caption="", limit=None, **words
) -> None:
    """A signed map (h×w, enlarged): red speaks for the first name, blue for the second.

    `words` as in `Shown`; without a target, it is the first name against the second.
    """
    coloured(raw, signed=True)  # refuses what is no map
    raw = cv2.resize(np.asarray(raw, float), image.shape[1::-1])
    limit = limit or np.abs(raw).max() or 1
    colours = coloured(raw, signed=True, limit=limit)
    over = _blend(image, colours, 0.8 * np.clip(np.abs(raw) / limit, 0, 1))
    shown = Shown(image, raw, **{"target": " against ".join(names)} | words)
    span = f"from {names[1]} (−{limit:.2g}) over 0 to {names[0]} (+{limit:.2g})"
    ends = (
        f"←\N{NO-BREAK SPACE}evidence for {names[1]} (−{limit:.2g})",
        "0",
        f"evidence for {names[0]} (+{limit:.2g})\N{NO-BREAK SPACE}→",
    )
    cells = [
        panel(image, f"original: {shown.words}", "original"),
        panel(colours, f"{span}: {shown.words}", "evidence", shown.full),
        panel(over, f"overlay: {shown.words}", "overlay"),
    ]
    marks = "".join(
        f'<span style="text-align:{side}">{escape(end)}</span>'
        for side, end in zip(("left", "center", "right"), ends, strict=True)
    )
    bar = _bar(figures.SIGNED_MAP, span, 448)
    columns = "display:grid;grid-template-columns:1fr auto 1fr;gap:8px"
    bar += f'<div style="{columns}">{marks}</div>'
    look = f"{SMALL};width:448px;max-width:100%;margin-top:8px"
    body = f'{grid(cells, "repeat(3,1fr)")}<div style="{look}">{bar}</div>'
    display(HTML(figures.figure(body, ". ".join(filter(None, (shown.words, caption))))))


def gif(frames, path: str | Path, labels, duration_ms: int = 700) -> Path:
    """Writes frames (H×W×3 uint8, all of one size), each over its label, as a GIF."""
    frames, labels = list(frames), [str(label) for label in labels]
    if len(frames) != len(labels) or len({np.shape(frame) for frame in frames}) != 1:
        told = f"{len(frames)} frames and {len(labels)} labels"
        raise CourseError(f"{told}: give frames of one size, and each its label")
    regions.checked_picture(frames[0], np.shape(frames[0])[:2])
    height, width = frames[0].shape[:2]
    size = max(min(width // 16, int(1.5 * width / max(map(len, labels)))), 8)
    font, drawn = ImageFont.truetype(findfont("DejaVu Sans"), size), []
    for frame, label in zip(frames, labels, strict=True):
        drawn.append(Image.new("RGB", (width, height + 2 * size), figures.INK))
        drawn[-1].paste(Image.fromarray(frame))
        pen, place = ImageDraw.Draw(drawn[-1]), (size // 2, height + size)
        pen.text(place, label, "white", font, anchor="lm")
    with atomic(path) as part:
        more = {"append_images": drawn[1:], "loop": 0, "duration": duration_ms}
        drawn[0].save(part, "GIF", save_all=True, **more)
    return Path(path)


def download(path: Path, words: str) -> None:
    """A link that hands out a file which was made here, in any page, with no network."""
    data = base64.b64encode(path.read_bytes()).decode()
    kind = f"image/{path.suffix[1:]}"
    link = f'<a download="{path.name}" href="data:{kind};base64,{data}">'
    display(HTML(f"<p>{link}{escape(words)}</a> ({len(data) * 0.75e-6:.1f} MB)</p>"))


def grid(cells, columns="repeat(auto-fit,minmax(max(9rem,22%),1fr))") -> str:
    """Cells side by side; where the page is narrow, two and two."""
    style = f"display:grid;grid-template-columns:{columns};gap:8px;align-items:end"
    return f'<div style="{style}">{"".join(cells)}</div>'


def panel(image: np.ndarray, alt: str, head: str = "", full: bool = True) -> str:
    """A picture under its head; for a map that points nowhere, the words instead."""
    head = (
        f'<div style="{SMALL};margin-bottom:3px">{escape(head)}</div>' if head else ""
    )
    look = f"border-radius:4px;box-sizing:border-box;{SMALL};"
    if full:
        look += "display:block;width:100%"
        body = f'src="{figures.picture(image)}" alt="{escape(alt)}" style="{look}"'
        return f"<div>{head}<img {body}></div>"
    look += f"{EMPTY};aspect-ratio:{image.shape[1]}/{image.shape[0]}"
    return f'<div>{head}<div style="{look}">{NOTHING}</div></div>'


def colour_bar() -> str:
    bar = _bar(MAP, "evidence from low to high")
    return f'<span style="{ROW};gap:6px">low 0 {bar} 1 high evidence</span>'


def data_url(pixels: np.ndarray) -> str:
    """Grey or RGB pixels (uint8) as the data of a PNG."""
    best = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels, best)
    return "data:image/png;base64," + base64.b64encode(data[1]).decode()


def _bar(name: str, alt: str, width: int = 128) -> str:
    colours = matplotlib.colormaps[name](np.arange(256), bytes=True)[None, :, :3]
    size = f'width="{width}" height="12" style="display:block;max-width:100%"'
    src = data_url(colours.repeat(12, axis=0))
    return f'<img src="{src}" alt="colour bar: {escape(alt)}" {size}>'


def _panels(shown: Shown) -> list[str]:
    """The cells of one row; an empty map has neither colours nor lines."""
    image, heatmap = shown.image, shown.heatmap * shown.full
    lines = outline(image, heatmap, shown.mask)
    parts = (image, coloured(heatmap), overlay(image, heatmap), lines)
    full = (True, shown.full, True, True)
    told = [f"{name}: {shown.words}" for name in PANELS]
    return list(map(panel, parts, told, PANELS, full))


def _legend(shown: list[Shown]) -> str:
    """What the colours and the lines mean, the same for every panel."""
    lines = "cyan lines: " + ", ".join(f"{level:.0%}" for level in regions.LEVELS)
    lines += "; white: the lesion" * any(one.mask is not None for one in shown)
    style = f"{ROW};{SMALL};flex-wrap:wrap;gap:2px 20px;margin-top:8px"
    return f'<div style="{style}">{colour_bar()}<span>{lines}</span></div>'


def _blend(image: np.ndarray, colours: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share[..., None]
    return np.uint8(np.round((1 - share) * image + share * colours))
