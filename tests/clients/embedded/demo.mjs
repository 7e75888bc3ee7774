/**
 * The host page of `perseat demo`: each of its people sees what is theirs. Reads the pages' addresses from standard input.
 */

import assert from "node:assert/strict";
import { introduced, frame, launch, walked } from "./stage.mjs";

const { pages } = await introduced({});
const browser = await launch();

/** The page of a person, with what its console complained about. */
async function of(name) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 } });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.complaints = [];
  page.on("console", (message) => { if (message.type() === "error") page.complaints.push(message.text()); });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(pages[name]);
  return page;
}

async function admin() {
  const page = await of("Grace Admin");
  const view = frame(page);
  await view.getByRole("link", { name: "File Sync" }).click();
  await view.getByRole("link", { name: "Configure", exact: true }).first().waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function users() {
  const folders = [];
  for (const name of ["Jane Doe", "Bob Roe"]) {
    const page = await of(name);
    const view = frame(page);
    await view.getByRole("link", { name: "File Sync" }).click();
    folders.push(await view.getByLabel("Folder").inputValue());
    assert.equal(await view.getByLabel("Region").count(), 0, "what is the company's is not shown");
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  }
  assert.ok(folders.every(Boolean) && folders[0] !== folders[1], `each has their own: ${folders}`);
}

await walked(browser, [admin, users]);
