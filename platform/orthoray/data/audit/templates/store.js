"use strict";
// What the readers decided: kept in this browser under the hash of the sheet, exported and imported as files.

const sheet = JSON.parse(document.getElementById("sheet-data").textContent);
const KEY = `orthoray-audit:${sheet.sheet}`;
const UNDO_STEPS = 500;
const tileOf = new Map(sheet.tiles.map((tile) => [tile.id, tile]));
const labelOf = new Map(sheet.reasons.map((reason) => [reason.code, reason.label]));

/** {reader, readers: {AB: {decisions: {image_id: {verdict, reason, decided_at}}, history, scope}}} */
let store = { reader: null, readers: {} };
let saved = true;

function loadStore() {
  try {
    const text = localStorage.getItem(KEY);
    if (text) store = JSON.parse(text);
  } catch {
    saved = false;
  }
}

function saveStore() {
  try {
    localStorage.setItem(KEY, JSON.stringify(store));
    saved = true;
  } catch {
    saved = false;
  }
}

/** The marks of a reader, made empty where there are none. */
function marks(reader = store.reader) {
  return store.readers[reader] ??= { decisions: {}, history: [], scope: "all" };
}

function decisionOf(id, reader = store.reader) {
  return store.readers[reader]?.decisions[id] ?? null;
}

/** Answer in one word: accept, the reason of a rejection, or null. */
function answerOf(decision) {
  return decision && (decision.reason ?? decision.verdict);
}

function answerText(decision) {
  if (!decision) return "undecided";
  return decision.verdict === "accept" ? "accepted" : `rejected: ${labelOf.get(decision.reason)}`;
}

function decide(id, verdict, reason = null) {
  const mine = marks();
  mine.history.push([id, mine.decisions[id] ?? null]);
  mine.history.splice(0, mine.history.length - UNDO_STEPS);
  mine.decisions[id] = { verdict, reason, decided_at: new Date().toISOString() };
  saveStore();
}

/** Take back the last decision; its image_id, or null if there is none. */
function undoLast() {
  const last = marks().history.pop();
  if (!last) return null;
  const [id, before] = last;
  if (before) marks().decisions[id] = before;
  else delete marks().decisions[id];
  saveStore();
  return id;
}

/** Pictures that this reader and another one answered differently: [{id, answers: [[reader, decision]]}]. */
function conflicts() {
  return sheet.tiles.map((tile) => ({
    id: tile.id,
    answers: Object.keys(store.readers).sort().map((r) => [r, decisionOf(tile.id, r)]).filter(([, d]) => d),
  })).filter(({ answers }) => new Set(answers.map(([, d]) => d.verdict)).size > 1);
}

function exportDocument() {
  const content = {
    format: sheet.format,
    dataset_id: sheet.dataset_id,
    sheet: sheet.sheet,
    parameters: sheet.parameters,
    reviewer: store.reader,
    exported_at: new Date().toISOString(),
    decisions: Object.entries(marks().decisions).map(([image_id, d]) => ({ image_id, ...d })).sort(byImage),
  };
  return { ...content, digest: digestOf(content) };
}

function exportTable() {
  const content = exportDocument();
  const head = ["dataset_id", "sheet", "reviewer", "exported_at", "image_id", "verdict", "reason", "decided_at", "digest"];
  const rows = content.decisions.map((d) => [
    content.dataset_id, content.sheet, content.reviewer, content.exported_at,
    d.image_id, d.verdict, d.reason ?? "", d.decided_at, content.digest,
  ]);
  const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [head, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Why a text is no export for this sheet, or null if it is one. */
function faultOf(content) {
  if (content?.format !== sheet.format || !Array.isArray(content.decisions)) return "not an export of a review sheet";
  if (content.dataset_id !== sheet.dataset_id) return "an export of another dataset";
  if (!/^[A-Z]{1,4}$/.test(content.reviewer)) return "an export without a reader";
  const sound = content.decisions.every((d) => typeof d?.image_id === "string" && TIME.test(d.decided_at) &&
    (d.verdict === "accept" ? d.reason === null : d.verdict === "reject" && labelOf.has(d.reason)));
  if (!sound) return "damaged: a decision in it means nothing";
  return digestOf(content) === content.digest ? null : "changed or damaged after its export: the digest does not fit";
}

/**
 * Merge an export into the marks of its reader: the newer answer stays.
 * Returns {reader, taken, other, differing: [{id, kept, dropped}]}; throws an Error that says what is wrong.
 */
function mergeExport(text) {
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error("not JSON");
  }
  const fault = faultOf(content);
  if (fault) throw new Error(fault);
  const target = marks(content.reviewer).decisions;
  const result = { reader: content.reviewer, taken: 0, other: 0, differing: [] };
  for (const { image_id, verdict, reason, decided_at } of content.decisions) {
    if (!tileOf.has(image_id)) {
      result.other++;
      continue;
    }
    const known = target[image_id];
    const read = { verdict, reason, decided_at };
    const newer = !known || decided_at > known.decided_at;
    if (known && answerOf(known) !== answerOf(read)) {
      result.differing.push({ id: image_id, kept: newer ? read : known, dropped: newer ? known : read });
    }
    if (newer) target[image_id] = read;
    if (!known) result.taken++;
  }
  saveStore();
  return result;
}
