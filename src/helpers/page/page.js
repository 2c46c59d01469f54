// The page of the service: choose a picture, send it, show and hide what came back.
const $ = (id) => document.getElementById(id);
const percent = (p) => (p > 0.99 ? "over 99%" : p < 0.01 ? "under 1%" : `${Math.round(100 * p)}%`);
const MOST = 10_000_000; // bytes, as the service has it
let file, base, heat, answer, running;

function say(text) { $("told").textContent = text; }

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

async function picture(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

function send(target) {
  return new Promise((resolve, reject) => {
    running?.abort();
    const request = (running = new XMLHttpRequest());
    request.open("POST", `explain?target=${encodeURIComponent(target)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if ($("key").value) request.setRequestHeader("X-API-Key", $("key").value);
    request.responseType = "json";
    request.timeout = 90000;
    request.upload.onprogress = (event) => {
      $("progress").value = event.loaded / event.total;
      if (event.loaded === event.total) {
        $("progress").removeAttribute("value");
        say("The model is looking at it…");
      }
    };
    request.onload = () => {
      if (request.status === 200) return resolve(request.response);
      $("lock").hidden = request.status !== 401 && !$("key").value;
      if (request.status === 401) $("key").focus();
      reject(new Error(request.response?.error ?? "The service cannot answer now; try again."));
    };
    request.ontimeout = request.onerror = () =>
      reject(new Error("The service cannot be reached; try again."));
    request.send(file);
  });
}

async function ask(target) {
  if (!file) return;
  fail("");
  if (file.size > MOST) {
    $("result").hidden = true;
    return fail(`The file is over ${MOST / 1e6} MB; choose a smaller picture.`);
  }
  say("Sending the picture…");
  $("progress").value = 0;
  $("progress").hidden = false;
  $("result").setAttribute("aria-busy", "true");
  try {
    const got = await send(target);
    const url = URL.createObjectURL(file);
    [base, heat] = await Promise.all([picture(url), picture(got.heatmap)]);
    URL.revokeObjectURL(url);
    answer = got;
    show(target);
  } catch (error) {
    say("");
    if (target === "predicted") $("result").hidden = true;
    fail(error.message);
  }
  $("progress").hidden = true;
  $("result").removeAttribute("aria-busy");
}

function show(target) {
  const best = answer.classes[0];
  $("said").textContent = `The model says: ${best.name}, ${percent(best.probability)}`;
  $("warning").textContent = answer.warning ?? "";
  $("warning").hidden = !answer.warning;
  $("sentence").textContent = answer.sentence;
  $("nowhere").hidden = answer.valid;
  $("target").replaceChildren(...answer.classes.map((c) =>
    new Option(`${c.name} (${percent(c.probability)})`, c.label, false, c.label === answer.target)));
  $("classes").replaceChildren(...answer.classes.map(row));
  const inside = answer.classes.filter((c) => c.in_set).map((c) => c.name);
  const always = answer.classes.filter((c) => c.always).map((c) => c.name);
  const sure = Math.round(100 * (1 - answer.alpha));
  $("set").textContent =
    `In bold: the classes that it cannot rule out (${inside.length ? inside.join(", ") : "none"}). ` +
    `For pictures like those it was calibrated on, such a list holds the right one in about ${sure}%.` +
    (answer.classes[0].in_set ? "" : " Its own answer is not in the list: do not rely on it.") +
    (always.length ? ` Always in it, as too few were known to judge by: ${always.join(", ")}.` : "");
  const whole = Object.values(answer.seconds).reduce((sum, s) => sum + s, 0);
  $("times").textContent =
    `${answer.method}, layer ${answer.layer}; answered in ${whole.toFixed(2)} seconds.`;
  $("result").hidden = false;
  draw();
  say("The answer is there.");
  if (target === "predicted") $("said").focus();
}

function row(c) {
  const line = document.createElement("tr"), bar = document.createElement("meter");
  const number = document.createElement("span");
  line.className = c.in_set ? "in" : "";
  bar.value = c.probability;
  bar.setAttribute("aria-hidden", "true");
  number.textContent = percent(c.probability).replace("over ", ">").replace("under ", "<");
  line.insertCell().textContent = c.name;
  line.insertCell().append(bar, number);
  return line;
}

function draw() {
  const canvas = $("picture"), pen = canvas.getContext("2d");
  const shown = $("toggle").dataset.on === "yes";
  canvas.width = answer.width;
  canvas.height = answer.height;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(base, 0, 0, answer.width, answer.height);
  if (shown) {
    pen.globalAlpha = $("opacity").value / 100;
    pen.drawImage(heat, 0, 0);
  }
  const name = answer.classes.find((c) => c.label === answer.target).name;
  canvas.setAttribute("aria-label", shown
    ? `Your picture with a heatmap: where the evidence for ${name} is` : "Your picture");
}

for (const input of [$("camera"), $("file")]) {
  input.addEventListener("change", () => {
    file = input.files[0];
    input.value = ""; // the same file may be chosen again
    ask("predicted");
  });
}
$("ask").addEventListener("submit", (event) => { event.preventDefault(); ask("predicted"); });
$("target").addEventListener("change", () => ask($("target").value));
$("toggle").addEventListener("click", () => {
  const on = $("toggle").dataset.on !== "yes";
  $("toggle").dataset.on = on ? "yes" : "no";
  $("toggle").textContent = on ? "Hide heatmap" : "Show heatmap";
  $("opacity").disabled = !on;
  draw();
});
$("opacity").addEventListener("input", () => {
  $("percent").textContent = `${$("opacity").value}%`;
  draw();
});
