/**
 * What a picture of a page shows, as far as that can be said without looking: its size, its ground, and how much is on it.
 * @module
 */

/** Decodes a picture and counts its colours: runs in a browser. */
async function counted(png) {
  const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (let at = 0; at < pixels.length;) {
    const start = at;
    const colour = pixels[start];
    while (at < pixels.length && pixels[at] === colour) at += 1;
    counts.set(colour, (counts.get(colour) ?? 0) + at - start);
  }
  const [[ground]] = [...counts].sort(([, one], [, other]) => other - one);
  const [red, green, blue] = new Uint8Array(Uint32Array.of(ground).buffer);
  return { width, height, colours: counts.size, ground: Math.round((red + green + blue) / 3) };
}

/** An empty page that decodes pictures. */
let decoder;

/**
 * Size in pixels, how many colours there are, and the brightness (0 to 255) of the one that covers most.
 * @param browser in which an empty page decodes it
 * @param {Buffer} png
 */
export async function seen(browser, png) {
  if (decoder?.isClosed() ?? true) decoder = await (await browser.newContext()).newPage();
  return decoder.evaluate(counted, png.toString("base64"));
}
