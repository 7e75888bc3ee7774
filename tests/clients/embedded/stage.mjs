/**
 * What the walks share: servers for a host page, a browser with it, and what the host page is told.
 * @module
 */

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { remember } from "./looks.mjs";

const files = {
  "/": ["text/html; charset=utf-8", readFileSync(new URL("host.html", import.meta.url))],
  "/favicon.ico": ["image/png", Buffer.alloc(0)],
  "/sdk.js": ["text/javascript", readFileSync(new URL("node_modules/@prismatic-io/embedded/dist/index.umd.js", import.meta.url))],
};

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

/**
 * What the browser does without: questions before a page calls this machine, and two pages that each window would start for
 * suggestions in an address bar that nobody sees.
 */
const WITHOUT = ["LocalNetworkAccessChecks", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup"];

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", `--disable-features=${WITHOUT}`],
});

/** A tab with the host page, and what its console complained about. */
export async function tab({ browser, host, url }, token, options = {}, size = { width: 1100, height: 800 }) {
  const context = await browser.newContext({ viewport: size, reducedMotion: "reduce" });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  remember(page);
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

/** What a page shows that a part left behind. */
async function left(page) {
  const texts = page.frames().map((frame) => frame.locator("main").innerText({ timeout: 1_000 }).catch(() => ""));
  return [page.url(), ...(page.complaints ?? []), ...(await Promise.all(texts))].join("\n").slice(0, 2_000);
}

/** How long a part may take, ms: some of what it waits for, as a call into a page, has no end of its own. */
const PATIENCE = 300_000;

/** What comes of `awaited`, or an error that says what did not happen in time. */
export async function within(what, awaited, time = PATIENCE) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Late(what, time)), time); });
  return Promise.race([awaited, late]).finally(() => clearTimeout(timer));
}

class Late extends Error {
  constructor(what, time) { super(`${what} did not happen within ${time} ms`); }
}

/**
 * Takes the parts one after the other: one that fails does not hide the next; one that hangs is the last. Says what
 * `tells` gives, and ends the process.
 */
export async function walked(browser, parts, tells = () => ({})) {
  let failures = 0;
  for (const part of parts) {
    try {
      await within(`the end of ${part.name}`, part());
    } catch (error) {
      failures += 1;
      console.error(`${part.name}:`, error);
      for (const page of browser.contexts().flatMap((context) => context.pages())) console.error(await left(page));
      if (error instanceof Late) process.exit(1);
      await within("the close of what it left", Promise.all(browser.contexts().map((context) => context.close())));
    }
  }
  await within("the browser's end", browser.close());
  console.log(JSON.stringify(tells()));
  process.exit(failures === 0 ? 0 : 1);
}
