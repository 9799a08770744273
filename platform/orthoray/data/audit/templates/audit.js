"use strict";
// Behaviour: keys, buttons, dialogs, files. Starts the sheet.

const FILTERS = {
  all: () => true,
  open: (tile) => !decisionOf(tile.id),
  second: (tile) => tile.second,
  reject: (tile) => decisionOf(tile.id)?.verdict === "reject",
  conflict: (tile) => conflicts().some(({ id }) => id === tile.id),
};

/** Choose which pictures are shown; the choice stays as it is until it is made again, so that none slips away. */
function applyFilter(name, keep = null) {
  $("filter").value = name;
  view.shown = sheet.tiles.filter(FILTERS[name]);
  view.place = Math.max(0, view.shown.findIndex((tile) => tile.id === keep));
  drawPage();
}

function goTo(place, focus = true) {
  if (!view.shown.length) return;
  const page = Math.floor(view.place / PAGE);
  view.place = Math.min(view.shown.length - 1, Math.max(0, place));
  view.hovered = null;
  if (Math.floor(view.place / PAGE) === page) drawCurrent();
  else drawPage();
  const tile = document.querySelector(`.tile[data-place="${view.place}"]`);
  if (focus) tile?.focus();
  tile?.scrollIntoView({ block: "nearest" });
}

function goToImage(id) {
  if (!view.shown.some((tile) => tile.id === id)) applyFilter("all", id);
  goTo(view.shown.findIndex((tile) => tile.id === id));
}

function columns() {
  const tops = [...document.querySelectorAll("#tiles > li")].map((item) => item.offsetTop);
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
}

function redrawMark(id) {
  const button = [...document.querySelectorAll(".tile")].find((tile) => tile.dataset.id === id);
  if (button) drawMark(button, tileOf.get(id));
  drawProgress();
  warn(saved ? "" : "This browser does not keep the marks. Export them before you close the sheet.");
}

function answer(code) {
  const tile = currentTile();
  if (!tile) return;
  if (!store.reader) return askReader();
  if (code === "accept") decide(tile.id, "accept");
  else decide(tile.id, "reject", code);
  redrawMark(tile.id);
  say(`Picture ${numberOf.get(tile.id)} ${answerText(decisionOf(tile.id))}.`);
  goTo(view.place + 1);
}

function undo() {
  if (!store.reader) return;
  const id = undoLast();
  if (id === null) return say("Nothing to undo.");
  redrawMark(id);
  goToImage(id);
  say(`Picture ${numberOf.get(id)} is ${answerText(decisionOf(id))} again.`);
}

function nextWindow() {
  view.window = (view.window + 1) % WINDOWS.length;
  drawWindow();
  say(`Window: ${WINDOWS[view.window][0]}.`);
}

function showLargest() {
  const tile = currentTile();
  if (!tile) return;
  $("largest").src = tile.image;
  $("largest").alt = tileLabel(tile);
  $("full").showModal();
}

function askReader() {
  $("initials").value = store.reader ?? "";
  $("start").showModal();
}

function startReading() {
  const name = $("initials").value.trim().toUpperCase();
  if (!/^[A-Z]{1,4}$/.test(name)) return;
  store.reader = name;
  marks().scope = document.querySelector('input[name="scope"]:checked').value;
  saveStore();
  startView();
}

/** Draw everything for the reader in the store, at the first picture that is not decided. */
function startView() {
  view.merged = [];
  const scope = store.readers[store.reader]?.scope ?? "all";
  applyFilter(scope === "second" ? "second" : "all");
  const open = view.shown.findIndex((tile) => !decisionOf(tile.id));
  drawProgress();
  goTo(Math.max(0, open), Boolean(store.reader));
}

function download(content, type, ending) {
  const name = `audit-${sheet.dataset_id}-${sheet.sheet.slice(0, 12)}-${store.reader}.${ending}`;
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  say(`${plural(Object.keys(marks().decisions).length, "decision")} exported to ${name}.`);
}

function exportAs(ending) {
  if (!store.reader) return askReader();
  if (ending === "csv") download(exportTable(), "text/csv", "csv");
  else download(JSON.stringify(exportDocument(), null, 1) + "\n", "application/json", "json");
}

async function importFiles(files) {
  const told = [], wrong = [];
  for (const file of files) {
    try {
      const { reader, taken, other, differing } = mergeExport(await file.text());
      view.merged = [...view.merged, ...differing.map((item) => ({ ...item, reader }))];
      const left = other ? `, ${plural(other, "picture")} not on this sheet` : "";
      told.push(`${file.name}: ${plural(taken, "new decision")} of ${reader}, ${plural(differing.length, "difference")}${left}`);
    } catch (error) {
      wrong.push(`${file.name}: ${error.message}`);
    }
  }
  warn(wrong.length ? `Not imported. ${wrong.join("; ")}.` : "");
  say(told.join("; "));
  drawPage();
  drawProgress();
}

const KEYS = {
  a: () => answer("accept"), Enter: () => answer("accept"), u: undo, w: nextWindow, f: showLargest, " ": showLargest,
  j: () => goTo(view.place + 1), k: () => goTo(view.place - 1),
  ArrowRight: () => goTo(view.place + 1), ArrowLeft: () => goTo(view.place - 1),
  ArrowDown: () => goTo(view.place + columns()), ArrowUp: () => goTo(view.place - columns()),
  PageDown: () => goTo((Math.floor(view.place / PAGE) + 1) * PAGE), PageUp: () => goTo((Math.floor(view.place / PAGE) - 1) * PAGE),
  Home: () => goTo(Math.floor(view.place / PAGE) * PAGE), End: () => goTo(Math.floor(view.place / PAGE) * PAGE + PAGE - 1),
  "?": () => $("help-dialog").showModal(),
};
sheet.reasons.forEach(({ code }, i) => { KEYS[String(i + 1)] = () => answer(code); });
const NATIVE = ["Enter", " "]; // on a button or link these do what the button does

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if ($("full").open && ["f", " "].includes(event.key)) {
    event.preventDefault();
    return $("full").close();
  }
  if (document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
  const elsewhere = event.target.closest("button, a, summary") && !event.target.closest(".tile");
  if (elsewhere && NATIVE.includes(event.key)) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || (event.repeat && /^[a1-9uf ]$|Enter/.test(event.key))) return;
  event.preventDefault();
  action();
}

function listenToTiles() {
  const tileAt = (event) => event.target.closest?.(".tile");
  const hover = (tile) => { if (view.hovered !== tile) { view.hovered = tile; drawPanel(); } };
  $("tiles").addEventListener("click", (event) => { const t = tileAt(event); if (t) goTo(Number(t.dataset.place)); });
  $("tiles").addEventListener("dblclick", (event) => { if (tileAt(event)) showLargest(); });
  $("tiles").addEventListener("focusin", (event) => {
    const tile = tileAt(event);
    if (tile && Number(tile.dataset.place) !== view.place) goTo(Number(tile.dataset.place), false);
  });
  $("tiles").addEventListener("mousemove", (event) => { const t = tileAt(event); hover(t ? tileOf.get(t.dataset.id) : null); });
  $("tiles").addEventListener("mouseleave", () => hover(null));
}

function listen() {
  document.addEventListener("keydown", onKey);
  listenToTiles();
  const onClick = {
    window: nextWindow, undo, reader: askReader, help: () => $("help-dialog").showModal(),
    import: () => $("import-file").click(), "export-json": () => exportAs("json"), "export-csv": () => exportAs("csv"),
    "page-before": KEYS.PageUp, "page-after": KEYS.PageDown,
  };
  for (const [id, action] of Object.entries(onClick)) $(id).addEventListener("click", action);
  $("filter").addEventListener("change", () => applyFilter($("filter").value, currentTile()?.id));
  $("import-file").addEventListener("change", async () => {
    await importFiles([...$("import-file").files]);
    $("import-file").value = "";
  });
  $("conflicts").addEventListener("click", (event) => { if (event.target.dataset.jump) goToImage(event.target.dataset.jump); });
  $("start").querySelector("form").addEventListener("submit", startReading);
  window.addEventListener("storage", (event) => { if (event.key === KEY) { loadStore(); drawPage(); drawProgress(); } });
  window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
}

function drawOnce() {
  const verdict = (code, key, label) => {
    const button = make("button", { type: "button", "data-answer": code }, make("kbd", {}, key), ` ${label}`);
    button.addEventListener("click", () => answer(code));
    return button;
  };
  $("verdicts").append(verdict("accept", "a", "accept"), ...sheet.reasons.map((r, i) => verdict(r.code, i + 1, r.label)));
  $("help-reasons").append(...sheet.reasons.flatMap((_, i) => [make("kbd", {}, String(i + 1)), " "]));
  $("help-labels").textContent = sheet.reasons.map((r, i) => `${i + 1} ${r.label}`).join(", ");
  $("n-all").textContent = plural(sheet.tiles.length, "picture");
  $("n-second").textContent = plural(sheet.tiles.filter((tile) => tile.second).length, "picture");
}

loadStore();
drawFilters();
drawWindow();
drawOnce();
listen();
startView();
if (!store.reader) askReader();
