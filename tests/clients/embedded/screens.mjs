/**
 * What the real SDK shows besides the marketplace: logs with executions, the dashboard and connections.
 */

import assert from "node:assert/strict";
import { sound, tabTo } from "./looks.mjs";
import { frame, introduced, launch, serve, show, tab, walked } from "./stage.mjs";

const host = await serve();
const { url, ...tokens } = await introduced({ host });
const browser = await launch();
const stage = { browser, host, url };

async function logs() {
  const page = await tab(stage, tokens.admin, { translation: { phrases: { "logSeverity.warn": "Warnung" } } });
  await show(page, "showLogs");
  const list = frame(page);
  await list.getByRole("heading", { name: "Logs" }).waitFor();
  await list.getByText("a line about two for •••").waitFor();
  assert.equal(await list.locator(".level.warn").first().innerText(), "Warnung", "phrases are those of the host page");
  await sound(page, "logs of an admin");

  // By keyboard alone.
  await list.getByRole("heading", { name: "Logs" }).focus();
  await tabTo(page, "Message");
  await page.keyboard.type("paper");
  await tabTo(page, "Filter");
  await page.keyboard.press("Enter");
  await list.getByText("a line about two for •••").waitFor({ state: "detached" });
  await list.getByText("the paper is out").waitFor();
  await tabTo(page, "Execution");
  while (!(await list.locator(":focus").getAttribute("href")).includes("/execution/")) await tabTo(page, "Execution");
  await page.keyboard.press("Enter");
  await list.getByRole("heading", { name: "Execution", exact: true }).waitFor();
  await list.getByText("script_failed", { exact: true }).waitFor();
  await sound(page, "an execution");
  assert.ok(!(await list.locator("body").innerText()).includes("canary"), "nothing that it carried");
  await list.getByRole("link", { name: "Executions" }).click();
  await list.getByRole("combobox", { name: "Result" }).selectOption("failed");
  await list.getByRole("button", { name: "Filter" }).click();
  await list.locator(".rows > li").nth(1).waitFor({ state: "detached" });
  assert.equal(await list.locator(".rows > li").count(), 1);
  await sound(page, "executions of an admin");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function dashboard() {
  const page = await tab(stage, tokens.admin, { theme: "DARK" });
  await show(page, "showDashboard", { screenConfiguration: { dashboard: { hideTabs: ["Logs"] } } });
  const board = frame(page);
  await board.getByRole("heading", { name: "Needs attention" }).waitFor();
  await board.getByText("Notes: Company account").first().waitFor();
  assert.equal(await board.getByRole("link", { name: "Logs" }).count(), 0, "the host page hides it");
  await board.getByRole("link", { name: "Executions", exact: true }).waitFor();
  await sound(page, "dashboard of an admin");
  await board.getByRole("link", { name: "Connections" }).click();
  await board.getByRole("heading", { name: "Connections" }).waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function connections() {
  const page = await tab(stage, tokens.admin);
  await show(page, "showConnections");
  const list = frame(page);
  const company = list.getByRole("region", { name: "Notes: Company account" });
  await company.getByRole("link", { name: "Connect", exact: true }).waitFor();
  await list.getByRole("region", { name: "Notes: Own account" }).getByText("Connected").waitFor();
  await sound(page, "connections of an admin");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** A user has their own connections, and nothing of what ran. */
async function users() {
  const page = await tab(stage, tokens.user);
  await show(page, "showConnections");
  const list = frame(page);
  await list.getByRole("region", { name: "Notes: Own account" }).waitFor();
  assert.equal(await list.getByText("Company account").count(), 0);
  await sound(page, "connections of a user");
  for (const call of ["showLogs", "showDashboard"]) {
    await show(page, call);
    await list.getByText("Your role does not allow this").waitFor();
    assert.equal(await list.getByText("a line about").count(), 0);
  }
  await page.context().close();
}

await walked(browser, [logs, dashboard, connections, users]);
