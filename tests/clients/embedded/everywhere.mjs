/**
 * Every page, by keyboard alone: an admin finds an integration, switches it on, changes it, connects the company's account and
 * removes it; users fill in a field of every kind, connect their own accounts, choose among them, give them up, and leave; admins
 * read what ran; and people come to the pages of consent and of sign-in, whatever becomes of it there. Each page is looked at on
 * three widths and in both themes. Says in the end what it looked at.
 */

import assert from "node:assert/strict";
import { adminReads, consentsGoWrong, nobody, peopleSignIn } from "./beside.mjs";
import { arrived, lookedAt, press, sound, soundEverywhere, tabTo, type } from "./looks.mjs";
import { agrees, browser, comesBack, given, isGood, isTakenBack, marketplace, opens, people } from "./setting.mjs";
import { data, events, frame, show, told, walked } from "./stage.mjs";

// The marketplace.

async function asksAdmin() {
  const page = await marketplace(people.bob);
  await soundEverywhere(page, "marketplace of a user", "embedded/marketplace.html");
  await page.locator("#before").focus();
  await press(page, "Everything");
  await arrived(page, "Everything");
  await frame(page).getByText("Ask your admin to switch this on").waitFor();
  await soundEverywhere(page, "detail that asks for an admin", "embedded/integration.html");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function adminSwitchesOn() {
  const page = await marketplace(people.ada);
  const view = frame(page);
  await soundEverywhere(page, "marketplace of an admin", "embedded/marketplace.html");
  await page.locator("#before").focus();
  await type(page, "Search by name", "every");
  await page.keyboard.press("Enter");
  await view.getByRole("link", { name: "Notes" }).waitFor({ state: "detached" });
  await press(page, "Everything");
  await arrived(page, "Everything");
  await soundEverywhere(page, "detail of what is not switched on", "embedded/integration.html");
  await press(page, "Switch on");
  await told(page, "INSTANCE_CONFIGURATION_PAGE_LOADED");
  await arrived(page, "Everything");
  await soundEverywhere(page, "wizard of what is not switched on", "embedded/wizard.html");

  // Nothing goes on while a field is empty, and the focus says which.
  await press(page, "Next");
  assert.match((await view.locator(":focus").getAttribute("name")) ?? "", /address/);
  await page.keyboard.type("https://files.example");
  await tabTo(page, "Quarter");
  await page.keyboard.press("ArrowDown");
  await press(page, "Next");
  await view.getByRole("heading", { name: "Company account" }).waitFor();
  await sound(page, "second step of an admin");
  await press(page, "Finish");
  await told(page, "INSTANCE_DEPLOYED");
  await arrived(page, "Everything");
  await view.getByText("Saved. Now connect your account.").waitFor();
  await soundEverywhere(page, "wizard that waits for a consent", "embedded/wizard.html");
  const window = await opens(page, "Connect");
  await window.getByRole("heading", { name: "Connect an account?" }).waitFor();
  await soundEverywhere(window, "question before a consent", "oauth/question.html");
  await agrees(window, "ada");
  await window.getByRole("heading", { name: "Connected" }).waitFor();
  await comesBack(window, page, "Company account");
  await view.getByText("Connected", { exact: true }).waitFor();
  assert.ok(await view.getByRole("heading", { name: "Company account" }).isVisible(), "the step is still the one that was left");
  assert.equal(await isGood(given.ada), true);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

// A user's own pages.

/** The first step: a field of every kind. */
async function fillsIn(page, view) {
  await type(page, "Text", "mine");
  await type(page, "Count", "7");
  await press(page, "Notify", "Space");
  await tabTo(page, "Region");
  await page.keyboard.type("us");
  await type(page, "Every", "*/5 * * * *");
  await tabTo(page, "Since");
  await page.keyboard.type("12312026");
  await tabTo(page, "Moment");
  await page.keyboard.type("12312026");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.type("0930AM");
  await type(page, "Rules", '{"a": 1}');
  await type(page, "Raw", '{"b": 2}');
  await type(page, "Tags", "red");
  await press(page, "Add", "Space");
  await page.keyboard.type("blue");
  await press(page, "Add");
  await press(page, "Remove");
  assert.equal(await view.locator("[data-key=Tags] input").count(), 2, "a row that is dropped leaves the focus in its list");
  assert.ok(await view.locator("[data-key=Tags] :focus").count());
  await type(page, "Headers: key", "x-one");
  await type(page, "Headers: value", "1");
  await press(page, "Next");
}

async function bobFillsInEverything() {
  const page = await marketplace(people.bob);
  const view = frame(page);
  await press(page, "Everything");
  await told(page, "USER_CONFIGURATION_PAGE_LOADED");
  await arrived(page, "Everything");
  await soundEverywhere(page, "wizard of a user", "embedded/wizard.html");
  await fillsIn(page, view);
  await view.getByRole("heading", { name: "Accounts" }).waitFor();
  await soundEverywhere(page, "accounts before a consent", "embedded/wizard.html");
  await view.getByRole("heading", { name: "Accounts" }).focus();
  await type(page, "Username", "bob");
  await type(page, "Password", "canary-password");
  await press(page, "Next");
  await view.getByRole("heading", { name: "Choices" }).waitFor();
  await press(page, "Finish");
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  await view.getByText("Saved. Now connect your account.").waitFor();
  const { userLevelConfigVariables: saved } = await data(page, "USER_CONFIGURATION_DEPLOYED");
  const value = (key) => saved[key].value;
  assert.deepEqual([value("Text"), value("Count"), value("Notify"), value("Region"), value("Every")], ["mine", "7", "true", "us", "*/5 * * * *"]);
  assert.deepEqual([value("Since"), value("Tags"), value("Headers")], ["2026-12-31", ["red", "blue"], [{ key: "x-one", value: "1" }]]);
  assert.match(value("Moment"), /^2026-12-31T09:30/);

  // What is typed and not saved is still there after a consent.
  await press(page, "Previous");
  await view.getByRole("heading", { name: "You" }).waitFor();
  await type(page, "Text", "not saved yet");
  await press(page, "Next");
  const window = await opens(page, "Connect");
  await agrees(window, "bob");
  await window.getByRole("heading", { name: "Connected" }).waitFor();
  await soundEverywhere(window, "connected", "oauth/outcome.html");
  await comesBack(window, page, "Account");
  await view.locator("[data-key=Account]").getByText("Connected", { exact: true }).waitFor();
  await soundEverywhere(page, "accounts after a consent", "embedded/wizard.html");
  await view.getByRole("heading", { name: "Accounts" }).focus();
  await press(page, "Next");

  // What data sources offer.
  await view.getByRole("heading", { name: "Choices" }).waitFor();
  await soundEverywhere(page, "choices", "embedded/wizard.html");
  await view.getByRole("heading", { name: "Choices" }).focus();
  await tabTo(page, "Room");
  await page.keyboard.press("ArrowDown");
  await press(page, "Load again");
  await view.locator("[data-key=Room][data-loaded] :focus").waitFor();
  assert.equal(await view.getByLabel("Room").inputValue(), "r1", "what was chosen is still there");
  await press(page, "Contact", "Space");
  await press(page, "E-mail", "Space");
  await tabTo(page, "Name of ours");
  await page.keyboard.type("sh");
  await press(page, "Urgent", "Space");
  await press(page, "Finish");
  const title = view.getByRole("textbox", { name: "Title" });
  await view.locator(".control").filter({ has: title }).locator("[data-problem]").filter({ hasText: /./ }).waitFor();
  assert.ok(await title.evaluate((input) => input === document.activeElement), "the focus is on what is wrong");
  await soundEverywhere(page, "choices with something wrong", "embedded/wizard.html");
  await title.focus();
  await page.keyboard.type("mine");
  await page.evaluate(() => { window.told.length = 0; });
  await press(page, "Finish");
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  await arrived(page, "Saved");
  const { userLevelConfigVariables: all } = await data(page, "USER_CONFIGURATION_DEPLOYED");
  assert.deepEqual([all.Text.value, all.Room.value, all.Account.status], ["not saved yet", "r1", "ACTIVE"]);
  assert.equal(JSON.parse(all.Settings.value).urgent, true);
  await soundEverywhere(page, "saved", "embedded/told.html");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** In the wizard, and with a question first. */
async function bobDisconnects() {
  const page = await marketplace(people.bob);
  const view = frame(page);
  await press(page, "Everything");
  await arrived(page, "Everything");
  await press(page, "Next");
  const before = given.bob;
  assert.equal(await isGood(before), true);
  await press(page, "Disconnect");
  await arrived(page, "Are you sure?");
  await soundEverywhere(page, "question before an account is given up", "embedded/remove.html");
  await press(page, "Cancel");
  await arrived(page, "Everything");
  assert.equal(await isGood(before), true, "a question gives nothing up");
  await press(page, "Next");
  await press(page, "Disconnect");
  await arrived(page, "Are you sure?");
  await press(page, "Disconnect");
  await arrived(page, "Everything");
  await view.getByText("Disconnected. The provider will be told.").waitFor();
  assert.ok(await isTakenBack(before), "the provider says so, too");
  const field = view.locator("[data-key=Account]");
  await field.getByText("Connection pending").waitFor();
  assert.equal(await field.getByRole("link", { name: "Disconnect" }).count(), 0);
  await soundEverywhere(page, "disconnected", "embedded/wizard.html");
  await view.getByRole("heading", { name: "Accounts" }).focus();
  const window = await opens(page, "Connect");
  await agrees(window, "bob");
  await window.getByRole("heading", { name: "Connected" }).waitFor();
  await comesBack(window, page, "Account");
  await field.getByRole("link", { name: "Disconnect" }).waitFor();
  assert.equal(await isGood(given.bob), true, "another consent is a new one");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** One of two accounts, then the other, from the list of connections; then none. */
async function carlChoosesAndDisconnects() {
  const page = await marketplace(people.carl);
  const view = frame(page);
  await press(page, "Everything");
  await arrived(page, "Everything");
  await fillsIn(page, view);
  await type(page, "Username", "carl");
  await type(page, "Password", "canary-password");
  await press(page, "Next");
  await press(page, "Finish");
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  await show(page, "showConnections");
  const own = view.getByRole("region", { name: "Everything: Account" });
  await own.waitFor();
  await soundEverywhere(page, "connections before a consent", "embedded/connections.html");
  await page.locator("#before").focus();
  while (!(await own.locator(":focus").count())) await tabTo(page, "Connect");
  const opened = page.context().waitForEvent("page");
  await page.keyboard.press("Enter");
  const window = await opened;
  await agrees(window, "carl");
  await window.getByRole("heading", { name: "Choose an account" }).waitFor();
  await soundEverywhere(window, "choice of an account", "oauth/accounts.html");
  await tabTo(window, "Own of carl");
  await window.keyboard.press("ArrowDown");
  assert.ok(await window.getByRole("radio", { name: "Team" }).isChecked());
  await press(window, "Use this account");
  await window.getByText("with the account Team").waitFor();
  const key = await own.getAttribute("data-key");
  await comesBack(window, page, key);
  await own.getByText("Team").waitFor();
  await soundEverywhere(page, "connections with accounts", "embedded/connections.html");
  await page.locator("#before").focus();
  const another = await opens(page, "Switch account");
  await tabTo(another, "Team");
  await another.keyboard.press("ArrowUp");
  await press(another, "Use this account");
  await another.getByText("with the account Own of carl").waitFor();
  await comesBack(another, page, key);
  await own.getByText("Own of carl").waitFor();

  const before = given.carl;
  await press(page, "Disconnect Account");
  await arrived(page, "Are you sure?");
  await press(page, "Cancel");
  await arrived(page, "Connections");
  await press(page, "Disconnect Account");
  await arrived(page, "Are you sure?");
  await press(page, "Disconnect");
  await arrived(page, "Connections");
  await view.getByText("Disconnected. The provider will be told.").waitFor();
  assert.ok(await isTakenBack(before));
  assert.equal(await own.getByRole("link", { name: "Disconnect" }).count(), 0);
  await own.getByRole("link", { name: "Connect", exact: true }).waitFor();
  await soundEverywhere(page, "connections after one was given up", "embedded/connections.html");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

// Changing and removing.

async function bobLeaves() {
  const page = await marketplace(people.bob);
  const view = frame(page);
  await press(page, "Everything");
  await arrived(page, "Everything");
  await press(page, "Remove my configuration");
  await arrived(page, "Are you sure?");
  await soundEverywhere(page, "question before a configuration goes", "embedded/remove.html");
  await press(page, "Remove my configuration");
  await told(page, "USER_CONFIGURATION_DELETED");
  await arrived(page, "Removed");
  await press(page, "All integrations");
  await arrived(page, "Integrations");
  await view.getByRole("link", { name: "Everything" }).waitFor();
  await show(page, "showDashboard");
  await view.getByText("Your role does not allow this").waitFor();
  await soundEverywhere(page, "what is not for a user", "embedded/message.html");
  assert.ok(page.complaints.every((complaint) => complaint.includes("403")), `${page.complaints}`);
  await page.context().close();
}

async function adminChangesAndRemoves() {
  const page = await marketplace(people.ada, { theme: "DARK" });
  const view = frame(page);
  await press(page, "Everything");
  await arrived(page, "Everything");
  await soundEverywhere(page, "detail of an admin", "embedded/integration.html");
  await press(page, "Configure");
  await arrived(page, "Everything");
  await soundEverywhere(page, "wizard of an admin", "embedded/wizard.html");
  await type(page, "Address", "https://new.example");
  await press(page, "Next");
  const before = given.ada;
  await press(page, "Disconnect");
  await arrived(page, "Are you sure?");
  await view.getByText("The account of your whole company is forgotten here").waitFor();
  await soundEverywhere(page, "question before the company's account is given up", "embedded/remove.html");
  await press(page, "Disconnect");
  await arrived(page, "Everything");
  assert.ok(await isTakenBack(before));
  await view.getByRole("link", { name: "Connect", exact: true }).waitFor();
  await press(page, "Previous");
  assert.equal(await view.getByLabel("Address").inputValue(), "https://files.example", "what was left is not saved");
  await type(page, "Address", "https://newer.example");
  await press(page, "Next");
  await page.evaluate(() => { window.told.length = 0; });
  await press(page, "Finish");
  await told(page, "INSTANCE_DEPLOYED");
  assert.equal((await data(page, "INSTANCE_DEPLOYED")).configVars.Address.value, "https://newer.example");
  await arrived(page, "Everything");
  await press(page, "Remove");
  await arrived(page, "Are you sure?");
  await soundEverywhere(page, "question before an instance goes", "embedded/remove.html");
  await press(page, "Cancel");
  await arrived(page, "Everything");
  await press(page, "Remove");
  await arrived(page, "Are you sure?");
  await press(page, "Remove");
  await told(page, "INSTANCE_DELETED");
  await arrived(page, "Removed");
  await soundEverywhere(page, "removed", "embedded/told.html");
  await press(page, "All integrations");
  await arrived(page, "Integrations");
  assert.ok((await events(page)).includes("INSTANCE_DELETED"));
  assert.deepEqual(page.complaints, []);

  // By the host page's choice.
  await show(page, "configureInstance", { integrationName: "Everything" });
  await view.getByLabel("Address").waitFor();
  await soundEverywhere(page, "found by name", "embedded/wizard.html");
  await page.context().close();
}

await walked(browser, [
  asksAdmin, adminSwitchesOn, bobFillsInEverything, bobDisconnects, carlChoosesAndDisconnects, consentsGoWrong, adminReads, bobLeaves,
  adminChangesAndRemoves, nobody, peopleSignIn,
], lookedAt);
