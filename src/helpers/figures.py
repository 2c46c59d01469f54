"""Charts, picture sheets and tables as they appear in the page: every static figure.

All are HTML that needs no script and no network: a chart is an inline SVG whose ink
follows the page (light or dark), a picture an <img>, and each carries words for those
who cannot see it. Charts are also kept as PNG, ready for a slide.
"""

import base64
import io
import re
import uuid
from html import escape

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from PIL import Image

from . import images
from .files import atomic, below_out

INK = "#1b1b1f"  # becomes the page's own text colour in the SVG
BLUE, ORANGE, GREEN, PINK, GREY = "#3f83c4", "#d9700a", "#1f9e76", "#c46fa3", "#8b9099"
COLOURS = (BLUE, GREY, GREEN, ORANGE, PINK)
LIGHT_MAP, SIGNED_MAP = "cividis", "RdBu_r"  # fit for colour-blind readers; never jet

NAMES = {  # what the labels stand for
    "akiec": "actinic keratosis / Bowen's disease",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
    "ak": "actinic keratosis",
    "scc": "squamous cell carcinoma",
}


def style() -> None:
    """The course's look for charts: quiet axes, legible on a phone."""
    ink = dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.edgecolor",
            "xtick.color",
            "ytick.color",
        ),
        INK,
    )
    plt.rcParams.update(
        ink
        | {
            "figure.figsize": (4.8, 3.0),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#8b909940",
            "legend.frameon": False,
            "svg.fonttype": "path",
            "axes.prop_cycle": plt.cycler(color=COLOURS),
        }
    )


def show(figs, name: str, alt: str | list[str], caption: str = "") -> None:
    """Shows a chart, or several side by side where there is room, each with its words.

    Each is kept as a PNG under results/figures: name.png, or name_1.png and so on.
    """
    figs = figs if isinstance(figs, list) else [figs]
    drawn, one = [], len(figs) == 1
    for number, fig in enumerate(figs, start=1):
        png = f"{name}.png" if one else f"{name}_{number}.png"
        with atomic(below_out("results", "figures", png)) as part:
            fig.savefig(part, format="png", dpi=200, facecolor="white")
        if isinstance(alt, list):
            words = alt[number - 1]
        else:
            words = alt if one else f"{alt} (part {number} of {len(figs)})"
        drawn.append(_svg(fig, words))
        plt.close(fig)
    row = "display:flex;flex-wrap:wrap;align-items:start;gap:8px"
    body = drawn[0] if one else f'<div style="{row}">{"".join(drawn)}</div>'
    display(HTML(figure(body, _sentence(caption))))


def _svg(fig, alt: str) -> str:
    """A chart as inline SVG: sized for the page, in its ink, with ids of its own."""
    text, mark = io.StringIO(), uuid.uuid4().hex[:8]
    fig.savefig(text, format="svg", transparent=True)
    width = fig.get_figwidth() * 96
    size = f"width:100%;max-width:{width:.0f}px;height:auto"
    head = f'<svg role="img" aria-label="{escape(alt, quote=True)}" style="{size}"'
    box = re.search(r'viewBox="[^"]*"', text.getvalue())[0]
    svg = re.sub(r"^.*?<svg[^>]*>", f"{head} {box}>", text.getvalue(), flags=re.S)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{mark}-", svg)
    svg = svg.replace("xlink:href", "href")
    return svg.replace(INK, "currentColor")


def figure(body: str, caption: str, above=False, marks='class="course"') -> str:
    """A figure with its caption below, or above as a table's is; `marks` are its own."""
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    inside = words + body if above else body + words
    return f'<figure {marks} style="margin:1em 0">{inside}</figure>'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def picture(image: np.ndarray) -> str:
    """A picture (H×W×3 uint8) as data for an <img>."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def sheet(
    images, alts, labels=None, caption: str = "", width: int = 160, across: int = 2
) -> None:
    """Pictures side by side, as many in a row as the page has room for.

    Each is `width` pixels wide or more, but on a phone so much smaller that `across` of
    them stand in a row.
    """
    labels = labels if labels is not None else [""] * len(images)
    cells = []
    for image, alt, label in zip(images, alts, labels, strict=True):
        img = (
            f'<img src="{picture(image)}" alt="{escape(alt, quote=True)}" '
            'class="dark-light" style="width:100%;border-radius:4px">'
        )
        words = f'<div style="font-size:.82em;line-height:1.3">{escape(label)}</div>'
        cells.append(f"<div>{img}{words if label else ''}</div>")
    grid = (
        "display:grid;gap:8px;grid-template-columns:"
        f"repeat(auto-fill,minmax(min({width}px,{90 // across}%),1fr))"
    )
    body = f'<div style="{grid}">{"".join(cells)}</div>'
    display(HTML(figure(body, _sentence(caption))))


def flow(steps: list[tuple], caption: str = "") -> None:
    """What becomes of what: (label, picture, alt) or (label, text), with arrows between.

    Several pictures of one step are a list, with a list of alts.
    """
    parts = []
    for label, content, *alt in steps:
        if isinstance(content, str):
            body = (
                '<div style="border:1px solid #8b9099;border-radius:4px;padding:.5em;'
                f'max-width:17em;font-size:.85em;line-height:1.35">{escape(content)}</div>'
            )
        else:
            several = isinstance(content, list)
            pairs = zip(content, alt[0], strict=True) if several else [(content, *alt)]
            body = "".join(
                f'<img src="{picture(image)}" alt="{escape(words, quote=True)}" class='
                f'"dark-light" style="width:{96 if several else 150}px;display:block;'
                'border-radius:4px;margin-bottom:4px">'
                for image, words in pairs
            )
        head = f'<div style="font-size:.82em;font-weight:600">{escape(label)}</div>'
        parts.append(f"<div>{head}{body}</div>")
    arrow = '<div aria-hidden="true" style="font-size:1.4em">→</div>'
    row = "display:flex;flex-wrap:wrap;align-items:center;gap:6px 10px"
    body = f'<div style="{row}">{arrow.join(parts)}</div>'
    display(HTML(figure(body, _sentence(caption))))


def table(
    frame: pd.DataFrame, caption: str = "", formats=None, index=True, name: str = ""
) -> None:
    """A table under its caption; it scrolls by itself where the page is narrow.

    With a name it is also kept, unrounded, as results/tables/name.csv.
    """
    if name:
        with atomic(below_out("results", "tables", f"{name}.csv")) as part:
            frame.to_csv(part)
    shown = frame.astype(object).rename_axis(columns=None)
    shown.index.names = [None] * shown.index.nlevels
    for key, column in frame.items():
        kind = "{:,}" if pd.api.types.is_integer_dtype(column) else "{}"
        kind = "{:.3f}" if pd.api.types.is_float_dtype(column) else kind
        kind = (formats or {}).get(key, kind)
        shown[key] = [_cell(value, kind) for value in column]
    caption = _sentence(caption)
    scroll = f'tabindex="0" role="group" aria-label="{escape(caption)}" '
    scroll += 'style="overflow-x:auto"'
    body = f'<div class="scroll" {scroll}>{shown.to_html(border=0, index=index)}</div>'
    display(HTML(figure(body, caption, above=True)))


def _cell(value, kind: str) -> str:
    """One value of a table as text: a dash for what is missing, a true minus."""
    if np.ndim(value) == 0 and pd.isna(value):
        return "–"
    text = kind.format(value)
    return text.replace("-", "−", 1) if text.startswith("-") else text


def thumbnail(path: str, width: int) -> np.ndarray:
    """A picture file in its own proportions, `width` pixels wide."""
    return narrow(images.read(path), width)


def narrow(image: np.ndarray, width: int) -> np.ndarray:
    """A picture in its own proportions, `width` pixels wide."""
    size = width, max(1, round(width * image.shape[0] / image.shape[1]))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def with_truth(case, evidence_path: str, width: int = 320) -> np.ndarray:
    """A case with the outlines of its lesion (white) and its evidence (green, tinted)."""
    image = thumbnail(case.path, width)
    marks = ((evidence_path, (80, 255, 120), 0.3), (case.mask_path, (255,) * 3, 0))
    for path, colour, tint in marks:
        mask = images.read_mask(path).astype(np.uint8)
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        tinted = np.uint8((1 - tint) * image + tint * np.array(colour))
        image = np.where(mask[..., None] > 0, tinted, image)
        image = outlined(image, mask, colour)
    return image


def outlined(image: np.ndarray, mask: np.ndarray, colour=(255, 255, 255)) -> np.ndarray:
    """A copy of a picture with the outline of a mask, dark-edged to show on any skin."""
    image = np.ascontiguousarray(image).copy()
    lines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, lines, -1, (20, 20, 20), 2, cv2.LINE_AA)
    cv2.drawContours(image, lines, -1, colour, 1, cv2.LINE_AA)
    return image
