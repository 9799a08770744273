"use strict";
// SHA-256 (FIPS 180-4) of text. The browser's own is missing where a page comes over plain http.

const ROUND = [], START = [];
for (let n = 2; ROUND.length < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) prime = prime && n % d !== 0;
  if (!prime) continue;
  const fraction = (x) => ((x - Math.floor(x)) * 4294967296) | 0;
  if (START.length < 8) START.push(fraction(Math.sqrt(n)));
  ROUND.push(fraction(Math.cbrt(n)));
}

/** Hexadecimal SHA-256 of the UTF-8 bytes of a text. */
function sha256(text) {
  const bytes = new TextEncoder().encode(text);
  const padded = new DataView(new ArrayBuffer(((bytes.length + 8) >> 6 << 6) + 64));
  bytes.forEach((byte, i) => padded.setUint8(i, byte));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(padded.byteLength - 8, Math.floor(bytes.length / 0x20000000));
  padded.setUint32(padded.byteLength - 4, bytes.length << 3);
  const turn = (x, by) => (x >>> by) | (x << (32 - by));
  const sum = START.slice();
  const w = new Int32Array(64);
  for (let block = 0; block < padded.byteLength; block += 64) {
    for (let t = 0; t < 16; t++) w[t] = padded.getInt32(block + 4 * t);
    for (let t = 16; t < 64; t++) {
      const s0 = turn(w[t - 15], 7) ^ turn(w[t - 15], 18) ^ (w[t - 15] >>> 3);
      const s1 = turn(w[t - 2], 17) ^ turn(w[t - 2], 19) ^ (w[t - 2] >>> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = sum;
    for (let t = 0; t < 64; t++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[t] + w[t]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { sum[i] = (sum[i] + value) | 0; });
  }
  return sum.map((value) => (value >>> 0).toString(16).padStart(8, "0")).join("");
}

/** Order of ids by code unit, as the digest needs it. */
function byImage(a, b) {
  return a.image_id < b.image_id ? -1 : a.image_id > b.image_id ? 1 : 0;
}

/** The digest of an export; docs/audit.md describes the text that it is taken over. */
function digestOf(document) {
  const head = [document.format, document.dataset_id, document.sheet, document.reviewer, document.exported_at];
  const lines = [...document.decisions].sort(byImage)
    .map((d) => [d.image_id, d.verdict, d.reason ?? "", d.decided_at].join("\t"));
  return sha256([...head, ...lines].join("\n"));
}
