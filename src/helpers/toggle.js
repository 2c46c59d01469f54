data => {
const [w, h] = data.size, [VIEW, ...AXES] = data.axes;
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
const switches = ([name, values], usual) => {
  const wanted = values.indexOf(data.start?.[name]), first = wanted < 0 ? usual : wanted;
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
    { type: "range", step: 5, value: data.start?.opacity ?? data.opacity, autocomplete: "off" });
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
    const state = { view: what, background: ground.value(), opacity: slider.value };
    AXES.forEach(([name], n) => { state[name] = chosen[n] });
    root.dispatchEvent(new CustomEvent("heat", { bubbles: true, detail: { row, state } }));
  };
  const controls = make("div", { className: "controls", oninput: draw },
    ...[view, ground, ...choices].filter(one => one.several).map(one => one.node),
    make("label", { className: "slide" }, "overlay opacity ", number, slider));
  controls.setAttribute("data-lm-suppress-shortcuts", "true");  // of JupyterLab
  slider.setAttribute("aria-label", "overlay opacity");
  pen.canvas.setAttribute("role", "img");
  told.setAttribute("aria-live", "polite");
  root.querySelector(".still").replaceWith(make("div", { className: "stage" },
    make("style", {}, data.css ?? ""),
    make("div", { className: "seen" }, pen.canvas, told, scale), controls));
  draw();
};
for (const root of document.querySelectorAll("#" + data.id)) {  // a view may be doubled
  const images = [...root.querySelectorAll(".still img")];
  if (!images.length || root.dataset.on) continue;
  root.dataset.on = true;
  const more = [data.maps, ...data.sheets].map(src => make("img", { src }));
  const all = [images[0], images.at(-1), ...more];
  Promise.all(all.map(image => image.decode())).then(() => start(root, ...all));
}
}
