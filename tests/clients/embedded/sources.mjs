/**
 * People choose among what their own accounts show, in real frames: by mouse and by keyboard, on three widths and in both themes.
 */

import assert from "node:assert/strict";
import { sound, soundEverywhere, tabTo } from "./looks.mjs";
import { data, frame, introduced, launch, serve, show, tab, told, walked } from "./stage.mjs";

const host = await serve();
const { url, ...tokens } = await introduced({ host });
const browser = await launch();
const stage = { browser, host, url };

/** Opens somebody's wizard and connects the account. */
async function connected(token, account) {
  const page = await tab(stage, token);
  await show(page, "showMarketplace");
  const list = frame(page);
  await list.getByRole("link", { name: "Chat" }).click();
  await told(page, "USER_CONFIGURATION_PAGE_LOADED");
  await list.getByText("Save first; then you can choose here.").first().waitFor();
  await list.getByLabel("Token").fill(account);
  await list.getByRole("button", { name: "Finish" }).click();
  await list.getByText("Saved. Now make your choices.").waitFor();
  return [page, list];
}

async function bobChooses() {
  const [page, list] = await connected(tokens.bob, "token-of-bob");
  await list.getByLabel("Workspace").selectOption({ label: "One of bob<img src=x onerror=alert(1)>" });
  const channel = list.getByRole("group", { name: "Channel" });
  await channel.getByText("This needs to be there first: Workspace").waitFor();
  assert.equal(await list.locator("img").count(), 0, "what a provider says is text");
  await sound(page, "choices of a user");

  // By keyboard alone: the channels of a workspace that is not saved yet.
  await list.getByLabel("Workspace").focus();
  await tabTo(page, "Load again");
  await tabTo(page, "Load again");
  await page.keyboard.press("Enter");
  await list.locator("select[name='value:channel']").waitFor();
  assert.equal(await list.getByLabel("Workspace").inputValue(), "bob-one", "what was chosen is still there");
  await list.locator("select[name='value:channel']").selectOption("general of bob-one");
  await list.getByLabel("Contact of bob").check();
  await list.getByLabel("E-mail").check();
  await list.getByLabel("Name for bob").selectOption({ label: "full" });
  await list.getByLabel("Kind").selectOption({ label: "A of bob" });
  await list.getByLabel("Count").fill("0");
  await list.getByRole("button", { name: "Finish" }).click();
  const count = list.locator(".control").filter({ has: list.getByLabel("Count") });
  await count.locator("[data-problem]").filter({ hasText: /./ }).waitFor();
  await list.getByLabel("Count").fill("2");
  await list.getByRole("textbox", { name: "Title" }).fill("NOT SMALL");
  await list.getByRole("button", { name: "Finish" }).click();
  await list.getByText("This does not match ^[a-z ]+$.").first().waitFor();
  await sound(page, "choices of a user with something wrong");
  await list.getByRole("textbox", { name: "Title" }).fill("small");
  await list.getByRole("button", { name: "Finish" }).click();
  await list.getByText("saved and in use").waitFor();
  const saved = await data(page, "USER_CONFIGURATION_DEPLOYED");
  const value = (key) => saved.userLevelConfigVariables[key].value;
  assert.deepEqual([value("Workspace"), value("Channel"), value("Greeting")], ["bob-one", "general of bob-one", "Hello bob"]);
  assert.equal(JSON.parse(value("Settings")).count, 2);
  assert.deepEqual(page.complaints.filter((complaint) => !complaint.includes("422")), []);
  await page.context().close();
}

async function cleoSeesHerOwn() {
  const [page, list] = await connected(tokens.cleo, "token-of-cleo");
  await list.getByLabel("Contact of cleo").waitFor();
  assert.ok(!(await list.locator("body").innerText()).includes("bob"), "nothing that another account showed");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** Catches the next request of a page: it goes on when the walk says so. */
async function caught(page) {
  let arrives;
  const request = new Promise((done) => { arrives = done; });
  await page.route("**/embedded/view/**", arrives, { times: 1 });
  return { request };
}

/** Nothing that somebody types is lost by an answer that comes later, by none, or by the end of their session. */
async function emilTypesMeanwhile() {
  const [page, list] = await connected(tokens.emil, "token-of-emil");
  const title = list.getByRole("textbox", { name: "Title" });
  const channel = list.locator("select[name='value:channel']");
  const stands = async (...values) => {
    const shown = [title, list.getByLabel("Count"), list.getByLabel("Workspace"), list.getByLabel("Token")];
    assert.deepEqual(await Promise.all(shown.map((field) => field.inputValue())), values);
  };
  /** Presses a button; what comes of the request is `answered` after somebody typed. */
  const meanwhile = async (button, types, answered) => {
    const { request } = await caught(page);
    await button.click();
    const route = await request;
    await types();
    await answered(route);
  };
  const goesOn = (route) => route.continue();
  const finish = list.getByRole("button", { name: "Finish" });

  await list.getByLabel("Workspace").selectOption("emil-one");
  await list.getByLabel("Token").fill("token-of-emil");
  const load = list.getByRole("group", { name: "Channel" }).getByRole("button", { name: "Load again" });
  await meanwhile(load, () => title.fill("while it loads"), goesOn);
  await channel.waitFor();
  await stands("while it loads", "", "emil-one", "token-of-emil");

  await channel.selectOption("random of emil-one");
  await list.getByLabel("Contact of emil").check();
  await list.getByLabel("E-mail").check();
  await list.getByLabel("Name for emil").selectOption({ label: "full" });
  await list.getByLabel("Kind").selectOption({ label: "A of emil" });
  const count = list.getByLabel("Count");
  await count.fill("2");
  await title.fill("NOT SMALL");
  await meanwhile(finish, () => count.fill("3"), goesOn);
  await list.getByText("This does not match ^[a-z ]+$.").first().waitFor();
  await stands("NOT SMALL", "3", "emil-one", "token-of-emil");

  await meanwhile(finish, () => title.fill("while it ends"), (route) => route.fulfill({ status: 401, json: {} }));
  await list.getByRole("alert").filter({ hasText: "Your session has ended." }).waitFor();
  await sound(page, "a form whose session has ended");
  await stands("while it ends", "3", "emil-one", "token-of-emil");
  await page.evaluate((token) => prismatic.authenticate({ token }), tokens.emilAnew);
  await list.getByRole("alert").waitFor({ state: "detached" });
  await stands("while it ends", "3", "emil-one", "token-of-emil");
  await load.click();
  await channel.waitFor();

  await channel.selectOption("random of emil-one");
  await meanwhile(finish, () => title.fill("while nobody hears"), (route) => route.abort());
  await list.getByRole("alert").filter({ hasText: "The server could not be reached." }).waitFor();
  await stands("while nobody hears", "3", "emil-one", "token-of-emil");
  await finish.click();
  await list.getByText("saved and in use").waitFor();
  const { userLevelConfigVariables: saved } = await data(page, "USER_CONFIGURATION_DEPLOYED");
  assert.deepEqual([saved.Workspace.value, saved.Channel.value], ["emil-one", "random of emil-one"]);
  const settings = JSON.parse(saved.Settings.value);
  assert.deepEqual([settings.title, settings.count], ["while nobody hears", 3]);
  await page.context().close();
}

/** The host page goes over to somebody else: what the one before typed is not theirs. */
async function anotherTakesBobsPlace() {
  const page = await tab(stage, tokens.bob);
  await show(page, "editUserLevelConfiguration", { instanceId: tokens.instance });
  const list = frame(page);
  await list.getByRole("textbox", { name: "Title" }).fill("of bob alone");
  await list.getByLabel("Token").fill("token-of-bob");
  await page.evaluate((token) => prismatic.authenticate({ token }), tokens.cleo);
  await list.getByLabel("Contact of cleo").waitFor();
  assert.equal(await list.getByRole("textbox", { name: "Title" }).inputValue(), "to begin with");
  assert.equal(await list.getByLabel("Token").inputValue(), "");
  await page.context().close();
}

/** The provider does not know this account. */
async function dinaIsTold() {
  const [page, list] = await connected(tokens.dina, "wrong-token-of-nobody");
  await list.getByText("This could not be loaded.").first().waitFor();
  await soundEverywhere(page, "choices that could not be loaded");
  await page.context().close();
}

await walked(browser, [bobChooses, cleoSeesHerOwn, anotherTakesBobsPlace, emilTypesMeanwhile, dinaIsTold]);
