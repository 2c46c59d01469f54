// The page "Case explorer": a list with filters, and one case with its switches. Every case
// is a script of its own (explorer/NN.js, made in notebook 08), which calls explorer.take.
const explorer = (() => {
  const { names, cases } = window.explorerIndex;
  const root = document.querySelector(".explorer");
  const make = (tag, set, ...inside) => {
    const node = Object.assign(document.createElement(tag), set);
    node.append(...inside);
    return node;
  };
  const percent = p => p >= 0.995 ? "over 99%" : p < 0.005 ? "under 1%" : `${Math.round(100 * p)}%`;
  const full = label => names[label] === label ? label : `${names[label]} (${label})`;
  const RIGHT = { right: "right", wrong: "wrong" };
  const SURE = {
    low: ["below 50%", one => one.p < 0.5],
    middle: ["50% to 90%", one => one.p >= 0.5 && one.p < 0.9],
    high: ["90% and more", one => one.p >= 0.9],
  };
  const right = one => one.truth === one.predicted;
  const said = one => `${right(one) ? "✔" : "✘"} ${one.truth}` +
    (right(one) ? "" : ` → ${one.predicted}`);

  const select = (name, options) => {
    const menu = make("select", { name, autocomplete: "off" }, make("option", { value: "" }, "all"),
      ...Object.entries(options).map(([value, text]) => make("option", { value }, text)));
    return make("label", {}, `${name} `, menu);
  };
  const count = make("output");
  const form = make("form", { className: "explorer-filter" },
    select("true class", Object.fromEntries([...new Set(cases.map(one => one.truth))]
      .map(label => [label, full(label)]))),
    select("answer", RIGHT),
    select("confidence", Object.fromEntries(
      Object.entries(SURE).map(([key, [text]]) => [key, text]))), count);
  form.setAttribute("aria-label", "Filter the cases");
  count.setAttribute("aria-live", "polite");

  const cards = cases.map((one, n) => {
    const input = make("input", { type: "radio", name: "case", value: n, autocomplete: "off" });
    input.setAttribute("aria-label", `${said(one).slice(2)}, ${right(one) ? "right" : "wrong"}, ` +
      `${percent(one.p)} sure, ${one.id}`);
    const picture = make("img", { src: one.thumb, alt: one.id, loading: "lazy" });
    const words = make("span", {}, said(one), make("small", {}, percent(one.p)));
    return make("label", { className: "explorer-card" }, input, picture, words);
  });
  const list = make("div", { className: "explorer-cards" }, ...cards);
  list.setAttribute("role", "radiogroup");
  list.setAttribute("aria-label", "Cases");
  const shown = make("div", { className: "explorer-case" });
  root.replaceChildren(form, list, shown);

  const visible = () => cards.map((_, n) => n).filter(n => !cards[n].hidden);
  const filter = () => {
    const [label, answer, sure] = [...form.querySelectorAll("select")].map(menu => menu.value);
    cases.forEach((one, n) => {
      cards[n].hidden = (label && one.truth !== label) ||
        (answer && (answer === "right") !== right(one)) || (sure && !SURE[sure][1](one));
    });
    const some = visible().length;
    count.value = some ? `${some} of ${cases.length} cases` : "no case fits";
    shown.hidden = !some;
    if (some && cards[now]?.hidden) open(visible()[0], keep);
  };

  let now = -1, wanted = {}, taken = {};
  const open = (n, state = {}) => {
    now = n;
    wanted = state;
    cards[n].querySelector("input").checked = true;
    if (taken[n]) show(taken[n]);
    else document.head.append(make("script", { src: `${root.dataset.from}/${cases[n].file}` }));
  };
  const step = by => {
    const all = visible(), at = all.indexOf(now) + by;
    if (all.length) open(all[(at + all.length) % all.length], keep);
  };

  const here = make("a", {}, "link to this view");
  let keep = {};  // view, method, layer and opacity stay from case to case, the class does not
  const remember = state => {
    const { class: label, background, ...rest } = state;
    keep = rest;
    here.href = `#${new URLSearchParams({ case: cases[now].id, ...state })}`;
    history.replaceState(null, "", here.href);
  };

  const bars = classes => make("table", { className: "explorer-classes" },
    make("caption", {}, "What the model says: calibrated probabilities; ● in the conformal set" +
      (classes.some(one => one.always) ? ", (●) in every set, as too few were known to judge by" : "")),
    make("thead", {}, make("tr", {}, ...["class", "probability", "set"].map(text =>
      make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...classes.map(({ label, p, in_set, always }) => {
      const bar = make("span", { className: "bar" });
      bar.style.width = `${100 * p}%`;
      return make("tr", {}, make("th", { scope: "row" }, full(label)),
        make("td", {}, bar, make("span", {}, percent(p))), make("td", {}, always ? "(●)" : in_set ? "●" : "–"));
    })));
  const number = value => value === null || value === undefined ? "–" : value.toFixed(2);
  const scored = (scores, row) => make("table", { className: "explorer-scores" },
    make("caption", {}, "Where the map points, beside a spot in the middle that asks no model"),
    make("thead", {}, make("tr", {}, ...["", "this map", "the spot"].map(text =>
      make(text ? "th" : "td", text ? { scope: "col" } : {}, text)))),
    make("tbody", {}, ...Object.entries(scores).flatMap(([truth, rulers]) =>
      Object.entries(rulers).map(([ruler, values]) => make("tr", {},
        make("th", { scope: "row" }, `${truth}: ${ruler}`),
        make("td", {}, number(row < 0 ? null : values[row])),
        make("td", {}, number(values.at(-1))))))));

  const show = one => {
    const { p } = cases[now];
    const seen = make("div"), told = make("p"), points = make("div");
    seen.innerHTML = one.html;  // the course's own figure, made in notebook 08
    const title = make("h2", {}, one.id);
    const verdict = make("p", {}, `Truth: ${full(one.truth)}. The model says ` +
      `${full(one.predicted)}, ${percent(p)}: ${right(one) ? "right" : "wrong"}.` +
      (one.classes[0].in_set ? "" : " Its answer is not in its own set: do not rely on it."));
    const turn = (text, by) => make("button", { type: "button", onclick: () => step(by) }, text);
    const nav = make("div", { className: "explorer-turn" }, turn("‹ previous", -1),
      turn("next ›", 1), here);
    const words = Object.entries(one.captions).flatMap(([name, text]) =>
      [make("dt", {}, name), make("dd", {}, text)]);
    const more = words.length ? [make("h3", {}, "Captions"), make("dl", {}, ...words)] : [];
    seen.addEventListener("heat", ({ detail: { row, state } }) => {
      remember(state);
      told.textContent = row < 0 ? "This map was not computed: CAM exists at the deep layer alone." : one.says[row];
      points.replaceChildren(...Object.keys(one.scores).length ? [scored(one.scores, row)] : []);
    });
    shown.replaceChildren(
      make("div", { className: "explorer-head" }, make("div", {}, title, verdict), nav), seen,
      make("div", { className: "explorer-facts" },
        make("div", {}, bars(one.classes), points),
        make("div", {}, make("h3", {}, "The evidence in words"), told, ...more)));
    heatToggle({ ...one.data, start: wanted });
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  list.addEventListener("input", event => open(Number(event.target.value), keep));
  const follow = () => {
    const { case: id, ...state } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    const n = cases.findIndex(one => one.id === id);
    if (n >= 0 || now < 0) open(Math.max(n, 0), n < 0 ? {} : state);
  };
  window.addEventListener("hashchange", follow);
  setTimeout(() => { filter(); follow(); });
  const take = one => {
    taken[cases.findIndex(({ id }) => id === one.id)] = one;
    if (cases[now].id === one.id) show(one);
  };
  return { take };
})();
