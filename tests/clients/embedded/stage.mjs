/**
 * What the walks share: servers for a host page, a browser, and how pages are looked at.
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const files = {
  "/": ["text/html; charset=utf-8", readFileSync(new URL("host.html", import.meta.url))],
  "/favicon.ico": ["image/png", Buffer.alloc(0)],
  "/sdk.js": ["text/javascript", readFileSync(new URL("node_modules/@prismatic-io/embedded/dist/index.umd.js", import.meta.url))],
};
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
/** Where pictures of the pages go, if somebody wants them. */
const pictures = process.env.PERSEAT_PICTURES;

/** Serves the host page, or what else answers; gives its address. */
export function serve(answerTo = hostPage) {
  const server = createServer(answerTo);
  server.unref();
  return new Promise((done) => { server.listen(0, "127.0.0.1", () => done(`http://localhost:${server.address().port}`)); });
}

function hostPage(request, answer) {
  const file = files[request.url.split("?")[0]];
  answer.writeHead(file ? 200 : 404, { "content-type": file?.[0] ?? "text/plain" });
  answer.end(file?.[1]);
}

/** Says where the servers are; gives what the test says of the daemon in return. */
export async function introduced(addresses) {
  console.log(JSON.stringify(addresses));
  const line = await new Promise((done) => { createInterface({ input: process.stdin }).once("line", done); });
  return JSON.parse(line);
}

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-features=LocalNetworkAccessChecks"],
});

/** A tab with the host page, and what its console complained about. */
export async function tab({ browser, host, url }, token, options = {}, size = { width: 1100, height: 800 }) {
  const context = await browser.newContext({ viewport: size, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.complaints = [];
  page.on("console", (message) => { if (message.type() === "error") page.complaints.push(message.text()); });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(host);
  await page.evaluate(async ([prismaticUrl, token, options]) => {
    prismatic.init({ prismaticUrl, ...options });
    await prismatic.authenticate({ token });
  }, [url, token, options]);
  return page;
}

export const frame = (page) => page.frameLocator("#pio__iframe");
export const events = (page) => page.evaluate(() => window.told.map(({ event }) => event));
export const data = (page, event) => page.evaluate((event) => window.told.findLast((told) => told.event === event)?.data, event);
export const show = (page, call, options) => page.evaluate(([call, options]) => { prismatic[call]({ selector: "#place", ...options }); }, [call, options]);

/** Waits until the host page was told. */
export async function told(page, event) {
  await page.waitForFunction((event) => window.told.some((told) => told.event === event), event);
}

/** The document of the frame that the host page shows. */
const inside = (page) => page.frames().find((frame) => frame.parentFrame() && !frame.url().endsWith("/embedded"));

/** No serious fault for those who do not see or do not use a mouse, and nothing that is wider than the screen. */
export async function sound(page, what) {
  const inner = inside(page) ?? page.mainFrame();
  await inner.evaluate(axe);
  const { violations } = await inner.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [], what);
  const width = await inner.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(width[0] <= width[1], `${what} is wider than its frame: ${width}`);
  if (pictures) {
    mkdirSync(pictures, { recursive: true });
    await page.screenshot({ path: `${pictures}/${what.replaceAll(" ", "-")}.png` });
  }
}

/** The widths of a telephone, a tablet and a desk. */
const WIDTHS = [320, 768, 1280];

/** The same on three widths and in both themes. */
export async function soundEverywhere(page, what) {
  const inner = inside(page) ?? page.mainFrame();
  const before = { size: page.viewportSize(), theme: await inner.evaluate(() => document.documentElement.dataset.theme ?? "") };
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    await inner.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, theme);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      await sound(page, `${what} ${theme} ${width}`);
    }
  }
  await inner.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, before.theme);
  await page.setViewportSize(before.size);
}

/** Presses Tab until the focus is on something of this name; a keyboard is all that some have. */
export async function tabTo(page, name) {
  const inner = inside(page) ?? page.mainFrame();
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press("Tab");
    const found = await inner.evaluate(() => {
      const element = document.activeElement;
      const label = element.labels?.[0]?.textContent ?? element.getAttribute("aria-label") ?? element.textContent ?? "";
      return label.trim();
    });
    if (found.startsWith(name)) return;
  }
  assert.fail(`no way by keyboard to ${name}`);
}

/** Takes the parts one after the other: one that fails does not hide the next. Ends the process. */
export async function walked(browser, parts) {
  let failures = 0;
  for (const part of parts) {
    try {
      await part();
    } catch (error) {
      failures += 1;
      console.error(`${part.name}:`, error);
    }
  }
  await browser.close();
  process.exit(failures === 0 ? 0 : 1);
}
