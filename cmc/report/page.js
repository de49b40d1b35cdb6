"use strict";
// Pictures are drawn when they come into view, and all of them before printing.
const specs = JSON.parse(document.getElementById("specs").textContent);
const drawn = new Map();
function draw(place) {
  const name = place.dataset.chart;
  if (!drawn.has(name)) {
    const options = { renderer: "svg", actions: false, ast: false };
    drawn.set(name, vegaEmbed(place, specs[name], options).then((result) => {
      place.dataset.done = "yes";
      const svg = place.querySelector("svg");
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", place.dataset.told);
      return result;
    }));
  }
  return drawn.get(name);
}
const places = [...document.querySelectorAll("[data-chart]")];
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target); }
}, { rootMargin: "300px" });
places.forEach((place) => watch.observe(place));
const drawAll = () => Promise.all(places.map(draw));
window.addEventListener("beforeprint", drawAll);

// The clip explorer
const all = JSON.parse(document.getElementById("clips-data").textContent);
const form = document.getElementById("filters"), list = document.getElementById("clip-list");
const count = document.getElementById("clip-count"), more = document.getElementById("more");
const PAGE = 50;
let found = [], shown = 0;

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
const confidence = (clip) => Math.max(...clip.chances[0]);
const quality = (clip, name) => clip.quality[all.quality.indexOf(name)];
const measured = (name, value) => (value === null ? "unknown" : name === "seconds" ? value.toFixed(1) : `${Math.round(100 * value)} %`);
const orders = {
  wrong: null, // as they come
  sure: (a, b) => confidence(b) - confidence(a),
  unsure: (a, b) => confidence(a) - confidence(b),
  id: (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0),
  label: (a, b) => (typeof a.label === "number" ? a.label - b.label : String(a.label).localeCompare(String(b.label))),
};
for (const name of all.quality) orders[name] = (a, b) => (quality(a, name) ?? Infinity) - (quality(b, name) ?? Infinity);

function wanted(clip, asked) {
  const error = clip.right === all.seeds ? "right" : clip.right === 0 ? "wrong" : "mixed";
  return (!asked.error || asked.error === error)
    && (!asked.subset || clip.subset === asked.subset)
    && (!asked.class || clip.class === Number(asked.class))
    && (!asked.said || clip.said === Number(asked.said))
    && (!asked.dissents || clip.dissents === asked.dissents)
    && (!asked.search || `${clip.id}\n${clip.text}`.toLowerCase().includes(asked.search.toLowerCase()));
}
function timeline(name, digits) {
  const values = [...digits].map((digit) => (digit === "-" ? null : parseInt(digit, 36)));
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 100 36");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name} over the clip`);
  let parts = "", open = false;
  values.forEach((value, place) => {
    if (value === null) { open = false; return; }
    const x = values.length > 1 ? (100 * place) / (values.length - 1) : 50;
    parts += `${open ? "L" : "M"}${x.toFixed(1)} ${(35.5 - value).toFixed(1)}${open ? "" : "h.1"}`;
    open = true;
  });
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", parts);
  for (const [key, value] of Object.entries({ fill: "none", stroke: "currentColor", "vector-effect": "non-scaling-stroke" })) path.setAttribute(key, value);
  svg.append(path);
  return svg;
}
function body(clip) {
  const made = element("div", null, { class: "body" });
  made.append(element("p", clip.text || "(no transcript)", { dir: "auto" }));
  if (clip.face) made.append(element("img", null, { src: `data:image/jpeg;base64,${clip.face}`, alt: "face", loading: "lazy" }));
  const facts = element("dl");
  const tell = (name, value) => facts.append(element("dt", name), value instanceof Node ? value : element("dd", value));
  tell("label", `${all.classes[clip.class]}${typeof clip.label === "number" ? ` (${clip.label})` : ""}`);
  if (clip.own.some((value) => value !== null)) tell("own labels", all.labels.map((name, i) => `${name.replace("label_", "")} ${clip.own[i]}`).join(", "));
  all.models.forEach((model, i) => tell(model, all.classes.map((name, k) => `${name} ${clip.chances[i][k]} %`).join(", ")));
  if (clip.router.length) tell("router", all.modalities.map((name, i) => `${name} ${clip.router[i]} %`).join(", "));
  tell("seeds that are right", `${clip.right} of ${all.seeds}`);
  if (clip.quality.length) tell("quality", all.quality.map((name, i) => `${name} ${measured(name, clip.quality[i])}`).join(", "));
  if (clip.link) { const place = element("dd"); place.append(element("a", "open the recording", { href: clip.link })); tell("file", place); }
  const self = element("dd"); self.append(element("a", "this clip", { href: `#clip=${encodeURIComponent(clip.id)}` }));
  tell("link", self);
  made.append(facts);
  all.lines.forEach((name, i) => { if (clip.lines[i]) made.append(element("span", name, { class: "note" }), timeline(name, clip.lines[i])); });
  return made;
}
function item(clip) {
  const made = element("li"), details = element("details"), summary = element("summary");
  const state = clip.right === all.seeds ? "right" : clip.right === 0 ? "wrong" : `right in ${clip.right} of ${all.seeds}`;
  const id = element("bdi", clip.id), text = element("bdi", clip.text);
  const verdict = element("span", `${state}: ${all.classes[clip.said]} ${confidence(clip)} %`, { class: clip.said === clip.class ? "" : "wrong" });
  summary.append(id, text, verdict);
  details.append(summary);
  details.dataset.clip = clip.id;
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(body(clip)); });
  made.append(details);
  return made;
}
function extend() {
  const next = found.slice(shown, shown + PAGE).map(item);
  list.append(...next);
  shown += next.length;
  more.hidden = shown >= found.length;
  more.textContent = `Show more (${found.length - shown} left)`;
  return next;
}
function update() {
  const asked = Object.fromEntries(new FormData(form));
  found = all.clips.filter((clip) => wanted(clip, asked));
  const order = orders[asked.order];
  if (order) found = [...found].sort(order);
  shown = 0;
  list.replaceChildren();
  extend();
  count.textContent = `${found.length} of ${all.clips.length} clips`;
}
function jump() {
  const match = /^#clip=(.*)$/.exec(location.hash);
  if (!match) return;
  let id;
  try { id = decodeURIComponent(match[1]); } catch { return; }
  form.reset();
  update();
  const place = found.findIndex((clip) => clip.id === id);
  if (place < 0) { count.textContent = `There is no clip ${id} here.`; return; }
  while (shown <= place) extend();
  const details = [...list.querySelectorAll("details")].find((one) => one.dataset.clip === id);
  details.open = true;
  details.querySelector("summary").focus();
  details.scrollIntoView({ block: "center" });
}
function choices(name, values) {
  for (const [value, text] of values) form.elements[name].append(element("option", text, { value }));
}
choices("class", all.classes.map((name, i) => [i, name]));
choices("said", all.classes.map((name, i) => [i, name]));
choices("subset", [...new Set(all.clips.map((clip) => clip.subset))].filter(Boolean).sort().map((name) => [name, name.toUpperCase()]));
choices("dissents", [...new Set(all.clips.map((clip) => clip.dissents))].filter(Boolean).sort().map((name) => [name, name]));
choices("order", all.quality.map((name) => [name, `lowest ${name} first`]));
form.addEventListener("input", update);
document.getElementById("start-over").addEventListener("click", () => { form.reset(); update(); });
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", () => extend()[0].querySelector("summary").focus());
list.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
  if (!step || event.target.tagName !== "SUMMARY") return;
  const heads = [...list.querySelectorAll("summary")], next = heads[heads.indexOf(event.target) + step];
  if (next) { next.focus(); event.preventDefault(); }
});
window.addEventListener("hashchange", jump);
update();
jump();
