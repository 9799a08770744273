"use strict";
// Drawing: tiles, the panel of the current picture, strips of measures, progress, conflicts.

const PAGE = 48;
const FIRST = 4; // measures shown at once
const WINDOWS = [ // name, lowest and highest grey level shown (0 … 1), exponent
  ["as stored", 0, 1, 1], ["shadows lifted", 0, 1, 0.5], ["highlights lowered", 0, 1, 2], ["middle", 0.25, 0.75, 1],
  ["dark half", 0, 0.5, 1], ["bright half", 0.5, 1, 1], ["inverted", 1, 0, 1],
];
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

const view = { shown: [], place: 0, window: 0, hovered: null, merged: [], more: false };

function make(name, attributes = {}, ...children) {
  const node = attributes.svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (key !== "svg") node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const plural = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const currentTile = () => view.shown[view.place] ?? null;
const numberOf = new Map(sheet.tiles.map((tile, i) => [tile.id, i + 1]));

/** One SVG filter per window: levels mapped linearly, then an exponent. */
function drawFilters() {
  WINDOWS.forEach(([, low, high, exponent], number) => {
    const channels = (attributes) => ["R", "G", "B"].map((c) => make(`feFunc${c}`, { svg: true, ...attributes }));
    const linear = { type: "linear", slope: 1 / (high - low), intercept: -low / (high - low) };
    const filter = make("filter", { svg: true, id: `window-${number}`, "color-interpolation-filters": "sRGB" },
      make("feComponentTransfer", { svg: true }, ...channels(linear)));
    if (exponent !== 1) {
      filter.append(make("feComponentTransfer", { svg: true }, ...channels({ type: "gamma", exponent, amplitude: 1, offset: 0 })));
    }
    $("filters").append(filter);
  });
}

function drawWindow() {
  document.body.dataset.window = view.window;
  $("window-name").textContent = WINDOWS[view.window][0];
}

function tileLabel(tile) {
  return `Picture ${numberOf.get(tile.id)} of ${sheet.tiles.length}, ${tile.label}, ${answerText(decisionOf(tile.id))}`;
}

function drawMark(button, tile) {
  const decision = decisionOf(tile.id);
  button.dataset.answer = decision ? decision.verdict : "open";
  button.setAttribute("aria-label", tileLabel(tile));
  button.querySelector(".mark").textContent =
    !decision ? "" : decision.verdict === "accept" ? "✓ accept" : `✕ ${decision.reason}`;
}

function drawTile(tile, place) {
  const button = make("button", { type: "button", class: "tile", "data-place": place, "data-id": tile.id },
    make("img", { class: "picture", src: tile.image, width: tile.width, height: tile.height, alt: "", draggable: "false" }),
    make("span", { class: "mark" }),
    make("span", { class: "caption" }, `${numberOf.get(tile.id)} · ${tile.label}`));
  if (tile.flag) {
    const kind = tile.arm === "rejected" ? "out:" : "?";
    button.append(make("span", { class: "arm" }, `${kind} ${tile.flag[0].split("/").pop()}`));
  }
  drawMark(button, tile);
  return make("li", {}, button);
}

function drawPage() {
  const first = Math.floor(view.place / PAGE) * PAGE;
  const tiles = view.shown.slice(first, first + PAGE);
  $("tiles").replaceChildren(...tiles.map((tile, i) => drawTile(tile, first + i)));
  $("tiles").start = first + 1;
  $("empty").hidden = view.shown.length > 0;
  const pages = Math.max(1, Math.ceil(view.shown.length / PAGE));
  $("page-text").textContent = `Page ${first / PAGE + 1} of ${pages}`;
  $("page-before").disabled = first === 0;
  $("page-after").disabled = first + PAGE >= view.shown.length;
  drawCurrent();
}

/** Frame the current tile, keep it the one that Tab reaches, and show it in the panel. */
function drawCurrent() {
  for (const button of document.querySelectorAll(".tile")) {
    const current = Number(button.dataset.place) === view.place;
    button.tabIndex = current ? 0 : -1;
    if (current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  drawPanel();
}

function drawPanel() {
  const current = currentTile();
  const tile = view.hovered ?? current;
  $("panel").classList.toggle("previewing", Boolean(view.hovered && view.hovered !== current));
  $("verdicts").hidden = !tile;
  if (!tile) {
    for (const id of ["tile-title", "facts", "flag", "measures"]) $(id).replaceChildren();
    $("full-picture").removeAttribute("src");
    return;
  }
  $("full-picture").src = tile.image;
  $("full-picture").alt = tileLabel(tile);
  $("tile-title").replaceChildren(`${numberOf.get(tile.id)} · ${tile.label} `, make("code", {}, tile.id));
  const preview = tile !== current;
  $("preview").hidden = !preview;
  $("preview").textContent = preview ? `Preview. Keys mark picture ${numberOf.get(current.id)}.` : "";
  drawVerdicts(tile, preview);
  $("facts").replaceChildren(...tile.facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  drawFlag(tile);
  drawMeasures(tile);
}

function drawVerdicts(tile, preview) {
  const given = answerOf(decisionOf(tile.id));
  for (const button of $("verdicts").children) {
    button.setAttribute("aria-pressed", String(button.dataset.answer === given));
    button.disabled = preview;
  }
}

function drawFlag(tile) {
  $("flag").replaceChildren();
  if (sheet.parameters.blind) return;
  const kind = tile.arm === "rejected" ? "Excluded" : tile.flag ? "Kept, for review" : "Accepted";
  const text = tile.flag ? tile.flag.join(" · ") : "nothing was flagged";
  $("flag").append(make("p", { class: tile.arm }, make("strong", {}, `${kind}: `), text));
}

/** The first measures of a tile, the others folded away, under a heading for each distribution they are compared with. */
function drawMeasures(tile) {
  const measures = tile.measures ?? [];
  const more = make("details", {}, make("summary", {}, `${measures.length - FIRST} more measures`));
  $("measures").replaceChildren(...measureNodes(measures.slice(0, FIRST)));
  if (measures.length <= FIRST) return;
  more.open = view.more;
  more.addEventListener("toggle", () => { view.more = more.open; });
  more.append(...measureNodes(measures.slice(FIRST)));
  $("measures").append(more);
}

function measureNodes(measures) {
  const nodes = [];
  let heading = null;
  for (const measure of measures) {
    if (measure.among !== null && measure.among !== heading) {
      heading = measure.among;
      nodes.push(make("p", { class: "among" }, `Among ${sheet.distributions[heading].count} images: ${heading}`));
    }
    nodes.push(drawMeasure(measure));
  }
  return nodes;
}

/** One measure: its value, a strip of the distribution that it is compared with, and the numbers of both. */
function drawMeasure({ name, value, rank, among }) {
  const row = make("div", { class: "measure" }, make("span", { class: "measure-name" }, name), make("strong", {}, String(value)));
  if (among === null) return row;
  const [p1, p5, p25, p50, p75, p95, p99] = sheet.distributions[among].quantiles[name];
  const text = `${Math.round(100 * rank)} % at or below; median ${p50}; 5 to 95 %: ${p5} to ${p95}`;
  const x = (level) => 6 + 208 * Math.min(1, Math.max(0, (level - p1) / (p99 - p1 || 1)));
  const bar = (from, to, height, kind) =>
    make("rect", { svg: true, class: kind, x: x(from), y: 9 - height / 2, width: Math.max(1, x(to) - x(from)), height });
  const beyond = value < p1 ? "M0 9l9 -6v12z" : value > p99 ? "M220 9l-9 -6v12z" : null;
  const marker = beyond ?? `M${x(value)} 2l5 15h-10z`;
  row.append(
    make("svg", { svg: true, viewBox: "0 0 220 18", role: "img", "aria-label": `${name} ${value}: ${text}` },
      bar(p1, p99, 2, "range"), bar(p5, p95, 5, "wide"), bar(p25, p75, 9, "box"), bar(p50, p50, 9, "median"),
      make("path", { svg: true, class: "value", d: marker })),
    make("small", {}, text));
  return row;
}

function drawProgress() {
  const mine = store.readers[store.reader]?.decisions ?? {};
  const scope = sheet.tiles.filter((tile) => store.readers[store.reader]?.scope !== "second" || tile.second);
  const done = scope.filter((tile) => mine[tile.id]);
  const rejected = done.filter((tile) => mine[tile.id].verdict === "reject").length;
  $("progress").max = scope.length;
  $("progress").value = done.length;
  $("count").textContent = `${done.length} of ${scope.length} decided, ${rejected} rejected`;
  $("reader-name").textContent = store.reader ?? "–";
  $("undo").disabled = !(store.readers[store.reader]?.history.length > 0);
  drawConflicts();
}

/** Where readers differ, and where a merged file differed from what was here. */
function drawConflicts() {
  const between = conflicts().map(({ id, answers }) =>
    ({ id, text: answers.map(([reader, d]) => `${reader} ${answerText(d)}`).join("; ") }));
  const merged = view.merged.map(({ id, reader, kept, dropped }) =>
    ({ id, text: `${reader} twice: kept ${answerText(kept)}, not ${answerText(dropped)}` }));
  const all = [...between, ...merged];
  $("conflicts").hidden = all.length === 0;
  $("conflicts").querySelector("summary").textContent = plural(all.length, "conflict");
  $("conflicts").querySelector("ul").replaceChildren(...all.map(({ id, text }) => make("li", {},
    make("button", { type: "button", class: "jump", "data-jump": id }, `Picture ${numberOf.get(id)}`), ` ${text}`)));
}

function say(text) {
  $("status").textContent = text;
}

function warn(text) {
  $("alert").hidden = !text;
  $("alert").textContent = text;
}
