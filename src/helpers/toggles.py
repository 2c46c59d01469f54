"""A picture with switches for its heatmaps, without kernel or network (taught in 03).

The picture is sent once, as JPEG, and all maps in one grey PNG, one below the other; the
script makes the switches and colours the maps. Where no script runs (in an untrusted
notebook), the picture and the overlay of the first map stand there with the caption.
"""

import json
import uuid

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
    maps = [_small(np.uint8(np.rint(255 * m)), MAP_SIDE) for m in heatmaps.values()]
    data = {
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
        "css": CSS,
    }
    words = " · ".join(("overlay", *keys[0]))
    over = _small(drawing.overlay(image, next(iter(heatmaps.values()))), SIDE)
    cells = [
        drawing.panel(_small(image, SIDE), alt, "original"),
        drawing.panel(over, f"{alt}; {words}", words, full[0]),
    ]
    body = f'<div class="still">{drawing.grid(cells)}{drawing.colour_bar()}</div>'
    marks = f'class="course heat-toggle" id="{data["id"]}"'
    html = figures.figure(body, caption, marks=marks)
    script = SCRIPT.replace("DATA", json.dumps(data).replace("<", r"\u003c"), 1)
    display(HTML(f"{html}<script>{script}</script>"))


def _small(image: np.ndarray, side: int) -> np.ndarray:
    """A picture, or one channel of it, with sides of `side` at most."""
    scale = min(side / max(image.shape[:2]), 1)
    size = [max(round(scale * length), 1) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


CSS = """
.heat-toggle .stage { display: flex; flex-wrap: wrap; gap: 14px 28px }
.heat-toggle .seen { flex: 1 1 17rem; min-width: 0; max-width: 26rem }
.heat-toggle .controls { flex: 1 1 15rem; min-width: 0 }
.heat-toggle canvas { display: block; width: 100%; border-radius: 4px }
.heat-toggle .seen { font-size: .88em; line-height: 1.3 }
.heat-toggle [aria-live] { margin: 6px 0 4px }
.heat-toggle fieldset { margin: 0 0 12px; padding: 0; border: 0; min-width: 0 }
.heat-toggle legend { float: none; width: auto; margin: 0 0 4px; padding: 0 }
.heat-toggle :is(legend, .slide) { font-size: .82em; line-height: 1.3; color: inherit }
.heat-toggle fieldset div { display: flex; flex-wrap: wrap; gap: 6px }
.heat-toggle fieldset label { position: relative; margin: 0 }
.heat-toggle [type=radio] { position: absolute; inset: 0; width: 100%; height: 100%;
  margin: 0; opacity: 0; cursor: pointer }
.heat-toggle label span { display: block; padding: 4px 12px; border-radius: 6px;
  border: 1px solid color-mix(in srgb, currentColor 55%, transparent);
  font-size: .88em; line-height: 1.4; overflow-wrap: anywhere }
.heat-toggle :checked + span { border-color: currentColor;
  background: color-mix(in srgb, currentColor 16%, transparent);
  box-shadow: inset 0 0 0 1px currentColor }
.heat-toggle :focus-visible + span, .heat-toggle [type=range]:focus-visible {
  outline: 3px solid #3f83c4; outline-offset: 2px }
.heat-toggle [type=range] { display: block; width: 100%; max-width: 16rem;
  height: 28px; margin: 0; accent-color: #3f83c4 }
.heat-toggle .slide { display: block }
.heat-toggle .slide:has(:disabled) { opacity: .6 }
@media (forced-colors: active) { .heat-toggle [type=radio] {
  position: static; width: auto; height: auto; opacity: 1 } }
@media print { .heat-toggle .controls { display: none } }
"""

SCRIPT = r"""(() => {
const data = DATA, [w, h] = data.size, [VIEW, ...AXES] = data.axes;
const make = (tag, set, ...inside) => {
  const node = Object.assign(document.createElement(tag), set);
  node.append(...inside);
  return node;
};
const drawn = (image, top, width, height, W, H) => {
  const canvas = make("canvas", { width: W, height: H });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, top, width, height, 0, 0, W, H);
  return pen;
};
const pixels = pen => pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height);
const switches = ([name, values], first) => {
  const group = "heat" + Math.random(), inputs = values.map((_, n) => make("input",
    { type: "radio", name: group, checked: n === first, autocomplete: "off" }));
  const labels = values.map((value, n) =>
    make("label", {}, inputs[n], make("span", {}, value)));
  const node = make("fieldset", {},
    make("legend", {}, name), make("div", {}, ...labels));
  const value = () => values[inputs.findIndex(input => input.checked)];
  return { node, value, several: values.length > 1 };
};
const lines = (heat, level, W, H) => {  // where the map crosses a level, cell by cell
  const path = new Path2D(), over = ([x, y]) => heat[4 * (y * w + x)] - 255 * level;
  for (let y = 0; y < h - 1; y++) for (let x = 0; x < w - 1; x++) {
    const ring = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]], ends = [];
    for (let n = 0; n < 4; n++) {
      const p = ring[n], q = ring[n + 1], a = over(p), b = over(q), t = a / (a - b);
      if (a < 0 !== b < 0) ends.push([(p[0] + t * (q[0] - p[0]) + 0.5) * W / w,
        (p[1] + t * (q[1] - p[1]) + 0.5) * H / h]);
    }
    while (ends.length) { path.moveTo(...ends.pop()); path.lineTo(...ends.pop()) }
  }
  return path;
};
const start = (root, photo, bar, maps, ...sheets) => {
  const W = 640, H = Math.round(W * photo.naturalHeight / photo.naturalWidth);
  const fitted = one => drawn(one, 0, one.naturalWidth, one.naturalHeight, W, H);
  const pen = fitted(photo), bare = [pen, ...sheets.map(fitted)].map(pixels);
  const table = pixels(drawn(bar, 0, 256, 1, 256, 1)).data;
  const colour = (map, share) => {
    const heat = pixels(drawn(map, 0, w, h, W, H)).data, seen = pixels(pen);
    seen.data.forEach((old, i) => {
      const value = heat[i - i % 4], part = share(value / 255);
      seen.data[i] = (1 - part) * old + part * table[4 * value + i % 4];
    });
    pen.putImageData(seen, 0, 0);
  };
  const outline = map => data.levels.forEach((level, n) => {
    const path = lines(pixels(map.getContext("2d")).data, level, W, H);
    for (const [ink, wide] of [["#141414", 6], [data.ink, 3]]) {
      Object.assign(pen, { strokeStyle: ink, lineWidth: wide + 2 * n, lineCap: "round" });
      pen.stroke(path);
    }
  });
  const say = words => {
    Object.assign(pen, { font: "36px sans-serif", textAlign: "center" });
    pen.fillStyle = "#1b1b1fc0";
    pen.fillRect(0, H / 2 - 45, W, 78);
    pen.fillStyle = "white";
    pen.fillText(words, W / 2, H / 2 + 6, W);
  };
  const ground = switches(["background", data.grounds], 0);
  const view = switches(VIEW, 2), choices = AXES.map(axis => switches(axis, 0));
  const slider = make("input",
    { type: "range", step: 5, value: data.opacity, autocomplete: "off" });
  const number = make("output"), told = make("p");
  const scale = bar.parentNode.cloneNode(true);
  const draw = () => {
    const what = view.value(), chosen = choices.map(one => one.value());
    const row = data.keys.findIndex(key => key.every((value, n) => value === chosen[n]));
    const problem = row < 0 ? "not computed" : data.full[row] ? "" : data.nothing;
    const map = drawn(maps, row * h, w, h, w, h).canvas, opacity = slider.value / 100;
    let words = what;
    pen.putImageData(bare[data.grounds.indexOf(ground.value())], 0, 0);
    if (what !== "original") {
      words = [what, ...chosen].join(" · ") + (problem && `: ${problem}`);
      if (problem) say(problem);
      else if (what === "heatmap") colour(map, () => 1);
      else if (what === "overlay") colour(map, heat => opacity * heat);
      else words += `; ${data.lines}`, outline(map);
    }
    scale.style.visibility = /^(heatmap|overlay)/.test(what) && !problem ? "" : "hidden";
    if (ground.value() !== data.grounds[0]) words += ` · ${ground.value()}`;
    slider.disabled = what !== "overlay";
    number.value = `${slider.value}%`;
    if (told.textContent !== words) told.textContent = words;
    pen.canvas.setAttribute("aria-label", `${data.alt}; ${words}`);
  };
  const controls = make("div", { className: "controls", oninput: draw },
    ...[view, ground, ...choices].filter(one => one.several).map(one => one.node),
    make("label", { className: "slide" }, "overlay opacity ", number, slider));
  controls.setAttribute("data-lm-suppress-shortcuts", "true");  // of JupyterLab
  slider.setAttribute("aria-label", "overlay opacity");
  pen.canvas.setAttribute("role", "img");
  told.setAttribute("aria-live", "polite");
  draw();
  root.querySelector(".still").replaceWith(make("div", { className: "stage" },
    make("style", {}, data.css),
    make("div", { className: "seen" }, pen.canvas, told, scale), controls));
};
for (const root of document.querySelectorAll("#" + data.id)) {  // a view may be doubled
  const images = [...root.querySelectorAll(".still img")];
  if (!images.length || root.dataset.on) continue;
  root.dataset.on = true;
  const more = [data.maps, ...data.sheets].map(src => make("img", { src }));
  const all = [images[0], images.at(-1), ...more];
  Promise.all(all.map(image => image.decode())).then(() => start(root, ...all));
}
})()"""
