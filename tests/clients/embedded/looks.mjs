/**
 * How pages are looked at: by an accessibility checker, on three widths, in both themes, and by keyboard.
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seen } from "./picture.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Where pictures of the pages go: where somebody wants to have them, else nowhere that stays. */
const wanted = process.env.PERSEAT_PICTURES;
const pictures = wanted ?? mkdtempSync(join(tmpdir(), "perseat-pictures-"));
mkdirSync(pictures, { recursive: true });
if (!wanted) process.on("exit", () => rmSync(pictures, { recursive: true, force: true }));
/** The widths of a telephone, a tablet and a desk. */
const WIDTHS = [320, 768, 1280];
/** Text alone has this many colours: its edges are smooth. */
const COLOURS = 12;

/** The document of the frame that the host page shows, or the page itself. */
export const inside = (page) => page.frames().find((frame) => frame.parentFrame() && !frame.url().endsWith("/embedded")) ?? page.mainFrame();

/** What was looked at: fragments by their paths with a star for each id, and templates. */
const looked = { fragments: new Set(), pages: new Set() };

export const lookedAt = () => ({ fragments: [...looked.fragments], pages: [...looked.pages] });

/** The fragment that a tab got last; none where it was refused. */
export function remember(page) {
  page.on("response", (response) => {
    const path = new URL(response.url()).pathname.split("/embedded/view/")[1];
    const isShown = response.request().method() === "GET" && response.ok();
    if (path) page.fragment = isShown ? path.replace(/^(instance|integration|execution)\/[^/]+/, "$1/*") : undefined;
  });
}

/** No serious fault for those who do not see or do not use a mouse, and nothing that is wider than the screen. */
export async function sound(page, what) {
  const inner = inside(page);
  if (!(await inner.evaluate(() => "axe" in globalThis))) await inner.evaluate(axe);
  const { violations } = await inner.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [], what);
  const width = await inner.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(width[0] <= width[1], `${what} is wider than its frame: ${width}`);
}

/** A frame is drawn by itself: after another size it is white until it has been drawn once. */
const drawn = (inner) => inner.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));

/** Takes a picture into a file, and tells what is on it. */
async function picture(page, what, width) {
  await drawn(inside(page));
  const path = join(pictures, `${what.replaceAll(" ", "-")}.png`);
  const png = await page.screenshot();
  writeFileSync(path, png);
  const shown = await seen(page.context().browser(), png);
  assert.equal(shown.width, width, what);
  assert.ok(shown.colours >= COLOURS, `${what} is blank: ${JSON.stringify(shown)}`);
  return shown;
}

/**
 * The same on three widths and in both themes, with pictures, and by keyboard on the narrowest.
 * @param {string} what
 * @param {string} [template] the page that it is, as its file is called
 */
export async function soundEverywhere(page, what, template) {
  const inner = inside(page);
  const before = { size: page.viewportSize(), theme: await inner.evaluate(() => document.documentElement.dataset.theme ?? "") };
  const grounds = {};
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    await inner.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, theme);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      await sound(page, `${what} ${theme} ${width}`);
      grounds[`${theme} ${width}`] = (await picture(page, `${what} ${theme} ${width}`, width)).ground;
      if (theme === "light" && width === WIDTHS[0]) await walkable(page, what);
    }
  }
  for (const width of WIDTHS) assert.ok(grounds[`light ${width}`] > 128 && grounds[`dark ${width}`] < 128, `${what}: ${JSON.stringify(grounds)}`);
  await inner.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, before.theme);
  await page.setViewportSize(before.size);
  if (page.fragment) looked.fragments.add(page.fragment);
  if (template) looked.pages.add(template);
}

/** Numbers everything that Tab has to reach; of boxes that exclude each other the chosen one, or the first. */
function stops() {
  const all = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const shown = [...document.querySelectorAll(all)].filter((element) => !element.disabled && element.checkVisibility({ visibilityProperty: true }));
  const reached = shown.filter((element) => {
    if (element.type !== "radio") return true;
    const group = shown.filter((other) => other.type === "radio" && other.name === element.name);
    return element === (group.find((other) => other.checked) ?? group[0]);
  });
  reached.forEach((element, at) => { element.dataset.stop = String(at); });
  return reached.length;
}

/** What has the focus, and whether that is to be seen; null for nothing. */
function focused() {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const isOutlined = ({ outlineStyle, outlineWidth }) => outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  const isMarked = [undefined, "::after"].some((part) => isOutlined(getComputedStyle(element, part)));
  const { top, bottom, left, right } = element.getBoundingClientRect();
  const isOn = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
  const label = element.labels?.[0]?.textContent || element.getAttribute("aria-label") || element.textContent || element.getAttribute("placeholder") || "";
  return { stop: element.dataset.stop, isSeen: isMarked && isOn, label: label.trim().replace(/\s+/g, " "), html: element.outerHTML.slice(0, 200) };
}

/** Presses Tab, and gives what has the focus then; it must be seen. Where it comes from around the frame it takes a moment. */
async function tabbed(page, { key = "Tab", enters = false } = {}) {
  await page.keyboard.press(key);
  if (enters) await inside(page).waitForFunction(() => document.hasFocus() && document.activeElement !== document.body);
  const now = await inside(page).evaluate(focused);
  assert.ok(now === null || now.isSeen, `the focus is not seen: ${JSON.stringify(now)}`);
  return now;
}

/** Tab reaches everything, in the order of the page, shows where it is, and leads out again; and back by the other way. */
export async function walkable(page, what) {
  const inner = inside(page);
  const count = await inner.evaluate(stops);
  const isFramed = inner !== page.mainFrame();
  if (isFramed) await page.locator("#before").focus();
  else await page.mouse.click(1, 1);
  const path = [];
  const isOut = async (id) => isFramed && (await page.evaluate((id) => document.activeElement?.id === id, id));
  // Parts of a date are presses of their own.
  for (let presses = 0; presses < count * 8 + 8; presses += 1) {
    const now = await tabbed(page, { enters: isFramed && count > 0 && presses === 0 });
    if (now === null || (await isOut("after"))) break;
    if (now.stop !== undefined && now.stop !== path.at(-1)) path.push(now.stop);
    if (path.length > count) break;
  }
  assert.deepEqual(path, [...Array(count).keys()].map(String), `${what}: Tab reaches everything once, in order`);
  if (!isFramed) return;
  assert.ok(await isOut("after"), `${what}: Tab leads out of the frame`);
  if (count > 0) {
    const back = await tabbed(page, { key: "Shift+Tab", enters: true });
    assert.equal(back?.stop, String(count - 1), `${what}: and back into it`);
  }
  await inner.evaluate(() => document.querySelector("h1").focus());
}

/** Presses Tab until the focus is on something of this name; a keyboard is all that some have. */
export async function tabTo(page, name) {
  // A page that has just opened may be read before its style sheet is: nothing shows the focus until then.
  await inside(page).waitForLoadState("load");
  for (let presses = 0; presses < 120; presses += 1) {
    const now = await tabbed(page);
    if (now?.label.startsWith(name)) return;
  }
  assert.fail(`no way by keyboard to ${name}`);
}

/** Something of this name, pressed by keyboard. */
export async function press(page, name, key = "Enter") {
  await tabTo(page, name);
  await page.keyboard.press(key);
}

/** What is typed into a field of this name in place of what was there. */
export async function type(page, name, text) {
  await tabTo(page, name);
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type(text);
}

/** Waits for a page with this heading: it is not lost where the focus is. */
export async function arrived(page, heading) {
  const inner = inside(page);
  await inner.locator("main:not([aria-busy]) h1").filter({ hasText: heading, visible: true }).waitFor();
  const now = await inner.evaluate(focused);
  assert.ok(now !== null, `the focus is lost on the way to ${heading}`);
  return now;
}
