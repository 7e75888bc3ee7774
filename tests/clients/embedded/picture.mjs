/**
 * What a picture of a page shows, as far as that can be said without looking: its size, its ground, and how much is on it.
 * @module
 */

import { inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);

/** The parts of a PNG: its header and its data. */
function parts(png) {
  if (!png.subarray(0, 8).equals(SIGNATURE)) throw new Error("this is no PNG");
  const data = [];
  let header;
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    const content = png.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") header = content;
    if (type === "IDAT") data.push(content);
    at += length + 12;
  }
  return { header, data: inflateSync(Buffer.concat(data)) };
}

/** Which of the bytes around it a byte is most like (PNG, 9.4). */
function paeth(left, above, corner) {
  const guess = left + above - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

/**
 * Size in pixels, how many colours there are, and the brightness (0 to 255) of the one that covers most.
 * @param {Buffer} png eight bits a channel, not interlaced, as browsers write them
 */
export function seen(png) {
  const { header, data } = parts(png);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const step = { 2: 3, 6: 4 }[header[9]];
  if (header[8] !== 8 || !step || header[12] !== 0) throw new Error("this is no PNG of a browser");
  const stride = width * step;
  const counts = new Map();
  let above = Buffer.alloc(stride);
  for (let row = 0; row < height; row += 1) {
    const start = row * (stride + 1);
    const filter = data[start];
    const line = Buffer.from(data.subarray(start + 1, start + 1 + stride));
    for (let at = 0; at < stride; at += 1) {
      const left = at < step ? 0 : line[at - step];
      const corner = at < step ? 0 : above[at - step];
      const added = [0, left, above[at], (left + above[at]) >> 1, filter === 4 ? paeth(left, above[at], corner) : 0][filter];
      line[at] = (line[at] + added) & 255;
    }
    for (let at = 0; at < stride; at += step) {
      const colour = (line[at] << 16) | (line[at + 1] << 8) | line[at + 2];
      counts.set(colour, (counts.get(colour) ?? 0) + 1);
    }
    above = line;
  }
  const [ground] = [...counts].reduce((most, one) => (one[1] > most[1] ? one : most));
  const bright = Math.round(((ground >> 16) + ((ground >> 8) & 255) + (ground & 255)) / 3);
  return { width, height, colours: counts.size, ground: bright };
}
