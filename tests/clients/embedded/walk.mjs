/**
 * Prints where its host page is, reads from standard input where the daemon is and whose tokens there are, and walks through the
 * embedded pages as their people do. Ends with 0 if all was as it should be.
 */

import assert from "node:assert/strict";
import { sound, tabTo } from "./looks.mjs";
import { data, events, frame, introduced, launch, serve, show, tab, told, walked } from "./stage.mjs";

const host = await serve();
const stranger = await serve();
const { url, ...tokens } = await introduced({ host });
const browser = await launch();
const stage = { browser, host, url };
/** The instance that the admin makes. */
let instanceId;
/** What the user configures of it. */
let configId;

async function asksAdmin() {
  const page = await tab(stage, tokens.user);
  await show(page, "showMarketplace");
  const list = frame(page);
  await list.getByRole("heading", { name: "Integrations" }).waitFor();
  await list.getByText("Ask your admin to switch this on").waitFor();
  assert.equal(await list.getByText("Reports").count(), 0, "a user sees what users configure");
  await sound(page, "marketplace of a user");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function activates() {
  const page = await tab(stage, tokens.admin, { theme: "DARK" });
  await page.evaluate(() => {
    window.addEventListener("message", (message) => {
      if (message.data?.event !== "INSTANCE_CONFIGURATION_LOADED") return;
      prismatic.setConfigVars({ iframe: prismatic.getMessageIframe(message), configVars: { Tenant: { value: "set-by-the-host" } } });
    });
  });
  await show(page, "showMarketplace");
  const list = frame(page);
  await list.getByRole("link", { name: "Files" }).waitFor();
  await sound(page, "marketplace of an admin in the dark");
  await list.getByRole("searchbox").fill("repo");
  await list.getByRole("button", { name: "Search" }).click();
  // It was there before the answer came, too.
  await list.getByRole("link", { name: "Files" }).waitFor({ state: "detached" });
  await list.getByRole("link", { name: "Reports" }).waitFor();
  await list.getByRole("searchbox").fill("");
  await list.getByRole("button", { name: "Search" }).click();
  await list.getByRole("link", { name: "Files" }).click();
  await list.getByRole("link", { name: "Switch on" }).click();
  await told(page, "INSTANCE_CONFIGURATION_PAGE_LOADED");
  await list.getByLabel("Address").fill("https://files.example");
  assert.equal(await list.getByLabel("Tenant").isVisible(), false, "what the host page sets is not shown");
  await sound(page, "wizard of an admin in the dark");
  await list.getByRole("button", { name: "Finish" }).click();
  await told(page, "INSTANCE_DEPLOYED");
  const seen = (await events(page)).filter((event) => event.startsWith("INSTANCE_"));
  assert.deepEqual(seen, [
    "INSTANCE_CONFIGURATION_OPENED",
    "INSTANCE_CONFIGURATION_LOADED",
    "INSTANCE_CONFIGURATION_PAGE_LOADED",
    "INSTANCE_CREATED",
    "INSTANCE_DEPLOYED",
    "INSTANCE_CONFIGURATION_CLOSED",
  ]);
  const deployed = await data(page, "INSTANCE_DEPLOYED");
  instanceId = deployed.instanceId;
  assert.equal(deployed.configVars.Tenant.value, "set-by-the-host");
  await list.getByRole("link", { name: "View details" }).click();
  await list.getByRole("link", { name: /own configuration|Add/ }).waitFor();
  await sound(page, "detail of an admin in the dark");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** The first page of a user's wizard, then the credentials. */
async function fill(list, folder) {
  await list.getByLabel("Folder").fill(folder);
  await list.getByLabel("Region").selectOption("eu");
  await list.getByRole("group", { name: "Tags" }).getByRole("textbox").fill("red");
  await list.getByRole("group", { name: "Tags" }).getByRole("button", { name: "Add" }).click();
  await list.getByRole("group", { name: "Tags" }).getByRole("textbox").last().fill("blue");
  await list.getByRole("button", { name: "Next" }).click();
  await list.getByLabel("Username").fill("somebody");
  await list.getByLabel("Password").fill("canary-password");
}

async function configures() {
  const page = await tab(stage, tokens.user, { translation: { phrases: { "configurationWizardDialog.nextButton": "Weiter" } } });
  await page.evaluate(() => {
    window.addEventListener("message", (message) => {
      if (message.data?.event !== "USER_CONFIGURATION_LOADED") return;
      const configVars = {
        When: { value: "2026-01-31T09:30:45+02:00" }, Limit: { value: "42" }, Headers: { value: [{ key: "a", value: "1" }, { key: "b", value: "2" }] },
      };
      prismatic.setConfigVars({ selector: "#place", configVars });
    });
  });
  await show(page, "showMarketplace");
  const list = frame(page);
  await list.getByRole("link", { name: "Files" }).click();
  await told(page, "USER_CONFIGURATION_PAGE_LOADED");
  await list.getByRole("button", { name: "Weiter" }).waitFor();
  // The host page's answer to the event is a message, too.
  await list.locator("[data-key=Headers] [data-row]").nth(1).waitFor();
  assert.equal(await list.getByLabel("Limit").inputValue(), "42");
  assert.equal(await list.getByRole("textbox", { name: "Headers: key" }).count(), 2);
  await sound(page, "wizard of a user");

  // By keyboard alone.
  await list.getByRole("heading", { name: "Files" }).focus();
  await tabTo(page, "Folder");
  await page.keyboard.press("Tab");
  await list.locator("[data-key=Folder] [data-problem]").filter({ hasText: /./ }).waitFor();
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.type("/bob");
  await list.locator("[data-key=Folder] [data-problem]").filter({ hasText: /^$/ }).waitFor({ state: "attached" });
  await tabTo(page, "Limit");
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("43");
  await tabTo(page, "Region");
  await page.keyboard.type("us");
  await tabTo(page, "Weiter");
  await page.keyboard.press("Enter");
  await list.getByRole("heading", { name: "Account" }).waitFor();
  await tabTo(page, "Username");
  await page.keyboard.type("bob");
  await tabTo(page, "Password");
  await page.keyboard.type("canary-password");
  await tabTo(page, "Finish");
  await page.keyboard.press("Enter");
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  await list.getByText("saved and in use").waitFor();

  const saved = await data(page, "USER_CONFIGURATION_DEPLOYED");
  configId = saved.userConfigId;
  assert.equal(saved.userName, "bob");
  const value = (key) => saved.userLevelConfigVariables[key].value;
  assert.deepEqual([value("Folder"), value("Limit"), value("Region")], ["/bob", "43", "us"]);
  assert.equal(value("When"), "2026-01-31T07:30:45", "the same moment in UTC");
  assert.deepEqual(value("Headers"), [{ key: "a", value: "1" }, { key: "b", value: "2" }]);
  assert.equal(saved.userLevelConfigVariables.Account.status, "ACTIVE");
  const all = await page.evaluate(() => JSON.stringify(window.told));
  assert.ok(!all.includes("canary-password"), "the host page is told no credential");
  assert.deepEqual([...new Set(await page.evaluate(() => window.told.map(({ origin }) => origin)))], [url]);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** Asks the API as the user. */
async function ask(query, variables) {
  const headers = { authorization: `Bearer ${tokens.user}`, "content-type": "application/json" };
  const answer = await fetch(`${url}/api`, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  const { data, errors } = await answer.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

/** What a program gave, and controls show otherwise, stays as it is where nobody changes it. */
async function changesOneValue() {
  const given = {
    Folder: "/bo\nb", Limit: "5.", When: "2026-01-31T09:30:45+02:00", Tags: "[1,2,true]", Headers: "{\"a\":\"1\"}", Rules: "{\r\n}",
  };
  const configVariables = Object.entries(given).map(([key, value]) => ({ key, value }));
  const { updateUserLevelConfig: { errors } } = await ask(`mutation ($i: ID, $v: [InputInstanceConfigVariable]) {
    updateUserLevelConfig(input: {id: $i, partial: true, configVariables: $v}) { errors { messages } } }`, { i: configId, v: configVariables });
  assert.deepEqual(errors, []);
  const page = await tab(stage, tokens.user);
  await show(page, "editUserLevelConfiguration", { instanceId });
  const list = frame(page);
  await list.getByLabel("Region").selectOption("eu");
  assert.equal(await list.getByLabel("When").inputValue(), "2026-01-31T07:30:45");
  await list.getByRole("button", { name: "Next" }).click();
  await list.getByRole("button", { name: "Finish" }).click();
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  const { userLevelConfig } = await ask("query ($i: ID!) { userLevelConfig(id: $i) { configVariables { nodes { value requiredConfigVariable { key } } } } }", { i: configId });
  const values = Object.fromEntries(userLevelConfig.configVariables.nodes.map(({ value, requiredConfigVariable: { key } }) => [key, value]));
  assert.equal(values.Region, "eu");
  for (const [key, value] of Object.entries(given)) assert.equal(values[key], value, key);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function updatesAndRemoves() {
  const page = await tab(stage, tokens.user, {}, { width: 320, height: 640 });
  const edit = () => page.evaluate((instanceId) => {
    window.done = [];
    prismatic.editUserLevelConfiguration({
      instanceId,
      selector: "#place",
      onSuccess: () => window.done.push("success"),
      onDelete: () => window.done.push("delete"),
      onCancel: () => window.done.push("cancel"),
    });
  }, instanceId);
  const done = (what) => page.waitForFunction((what) => window.done.includes(what), what);
  const list = frame(page);

  await edit();
  await list.getByLabel("Folder").fill("/changed");
  await sound(page, "wizard on a narrow screen");
  await list.getByRole("link", { name: "Cancel" }).click();
  await done("cancel");

  await edit();
  assert.equal(await list.getByLabel("Folder").inputValue(), "/bob", "what was cancelled is not saved");
  await list.getByLabel("Folder").fill("/changed");
  await list.getByRole("button", { name: "Next" }).click();
  await list.getByText("Credentials are saved and not shown").waitFor();
  await list.getByRole("button", { name: "Finish" }).click();
  await done("success");

  await edit();
  assert.equal(await list.getByLabel("Folder").inputValue(), "/changed");
  await list.getByRole("link", { name: "Remove my configuration" }).click();
  await list.getByRole("heading", { name: "Are you sure?" }).waitFor();
  await sound(page, "question on a narrow screen");
  await list.getByRole("button", { name: "Remove my configuration" }).click();
  await done("delete");
  await list.getByText("Your configuration is removed").waitFor();
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function another() {
  const page = await tab(stage, tokens.other);
  await show(page, "configureInstance", { instanceId });
  const list = frame(page);
  await fill(list, "/carl");
  await list.getByRole("button", { name: "Finish" }).click();
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  const { userLevelConfigVariables } = await data(page, "USER_CONFIGURATION_DEPLOYED");
  assert.deepEqual(userLevelConfigVariables.Tags.value, ["red", "blue"]);
  // The instance itself is not theirs.
  await show(page, "editInstanceConfiguration", { instanceId });
  await list.getByText("There is no such integration, or it is not for you.").waitFor();
  await page.context().close();
}

/** A page of another origin can neither show the pages nor call for its visitors. */
async function strangers() {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(stranger);
  const refused = await page.evaluate(async ([prismaticUrl, token]) => {
    prismatic.init({ prismaticUrl, skipPreload: true });
    try {
      await prismatic.authenticate({ token });
      return "authenticated";
    } catch (error) {
      return error.name;
    }
  }, [url, tokens.admin]);
  assert.equal(refused, "TypeError", "a browser does not let another origin read the answer");
  const blocked = page.waitForEvent("console", (message) => message.text().includes("frame-ancestors"));
  await page.evaluate((url) => {
    const frame = document.createElement("iframe");
    frame.src = `${url}/integration-marketplace/?embed=true`;
    document.body.append(frame);
  }, url);
  await blocked;
  await context.close();
}

await walked(browser, [asksAdmin, activates, configures, changesOneValue, updatesAndRemoves, another, strangers]);
