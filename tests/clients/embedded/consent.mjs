/**
 * User level configuration from the beginning to the end, with accounts at a certified OpenID provider: an admin switches
 * integrations on, three people connect their own accounts, one of them by another app registration, webhooks arrive by the
 * three kinds of address, one of them chooses among two accounts and switches, and one updates and leaves. Prints where its host page and the provider are, reads where the daemon is and whose tokens there are.
 */

import assert from "node:assert/strict";
import { sound, soundEverywhere, tabTo } from "./looks.mjs";
import { APP, bearer, listAccounts, provide } from "./provider.mjs";
import { frame, introduced, launch, serve, show, tab, told, walked, within } from "./stage.mjs";

/** What the provider's API was called with: whose token, issued to which client, and for whom the flow said it ran. */
const calls = [];
let changed = () => {};
let provider;

/** The provider, and an API that it protects. */
async function answer(request, response) {
  if (request.url === "/accounts") return listAccounts(provider, request, response);
  if (request.url !== "/files") return provider.callback()(request, response);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const token = await bearer(provider, request);
  response.writeHead(token ? 200 : 401, { "content-type": "application/json" });
  response.end("{}");
  calls.push({ account: token?.accountId, client: token?.clientId, ...JSON.parse(Buffer.concat(chunks).toString()) });
  changed();
}

const host = await serve();
const issuer = await serve(answer);
const { url, organization, people, anew, integrations } = await introduced({ host, provider: issuer });
/** The app of whoever chooses it. */
const EUROPE = { client_id: "perseat-europe", client_secret: "canary-of-the-client-of-europe" };
provider = provide(issuer, url, [APP, EUROPE]);
const browser = await launch();
const stage = { browser, host, url };
/** By person and integration. */
const configs = {};

async function ask(bearer, query, variables = {}) {
  const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
  const answer = await fetch(`${url}/api`, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  return answer.json();
}

/** What the server refuses is an error in the console. */
const isRefusal = (complaint) => /401|422/.test(complaint);
const unexpected = (page) => page.complaints.filter((complaint) => !isRefusal(complaint));

/** A session ends before its form is saved: what was typed, and what the instance is to be called, is still there in the next one. */
async function sessionEnds(page, view) {
  const name = view.locator("#instance-name");
  const called = await name.inputValue();
  await name.fill("Ours");
  await page.route("**/embedded/view/**", (route) => route.fulfill({ status: 401, json: {} }), { times: 1 });
  await view.getByRole("button", { name: "Finish" }).click();
  const alert = view.getByRole("alert").filter({ hasText: "Your session has ended." });
  await alert.waitFor();
  await page.evaluate((token) => prismatic.authenticate({ token }), anew);
  await alert.waitFor({ state: "detached" });
  assert.equal(await name.inputValue(), "Ours");
  await name.fill(called);
}

/** The admin gives what holds for the whole customer. */
async function adminSwitchesOn() {
  const page = await tab(stage, people.ada);
  for (const name of integrations) {
    await page.evaluate(() => { window.told.length = 0; });
    await show(page, "showMarketplace");
    const view = frame(page);
    await view.getByRole("link", { name, exact: true }).click();
    await view.getByRole("link", { name: "Switch on" }).click();
    await view.getByLabel("Channel").fill(`channel of ${name}`);
    if (name === integrations[0]) await sessionEnds(page, view);
    await view.getByRole("button", { name: "Finish" }).click();
    await told(page, "INSTANCE_DEPLOYED");
  }
  assert.deepEqual(unexpected(page), []);
  await page.context().close();
}

/** The customer gets a second app registration, for whoever chooses it. */
async function organizationRegistersAnotherApp() {
  const { data } = await ask(organization, "{ instances { nodes { id } } }");
  for (const { id } of data.instances.nodes) {
    const answer = await ask(organization, `mutation ($i: ID!, $c: String!, $s: String) { createAppRegistration(input: {instance: $i,
      connection: "Account", name: "Europe", clientId: $c, clientSecret: $s}) { appRegistration { clientId } errors { messages } } }`,
    { i: id, c: EUROPE.client_id, s: EUROPE.client_secret });
    assert.equal(answer.data?.createAppRegistration.appRegistration?.clientId, EUROPE.client_id, JSON.stringify(answer));
  }
}

/** Who connects by the second one. */
const viaEurope = (person) => person === "carl";

/** Chooses the second app registration by keyboard alone, and finishes. */
async function choosesEurope(page, view, isFirst) {
  const choice = view.getByLabel("Registration");
  const offered = await choice.locator("option").allInnerTexts();
  assert.deepEqual(offered, ["The default", "Europe"]);
  await view.getByLabel("Folder").focus();
  await tabTo(page, "Registration");
  await page.keyboard.type("Eu");
  const chosen = () => choice.evaluate((select) => select.selectedOptions[0].textContent);
  assert.equal(await chosen(), "Europe");
  if (isFirst) {
    await soundEverywhere(page, "another registration");
    await view.getByLabel("Every").fill("daily");
    await view.getByRole("button", { name: "Finish" }).click();
    await view.getByText("Enter five parts").waitFor();
    assert.equal(await chosen(), "Europe", "what is chosen stays where something else is wrong");
    await view.getByLabel("Every").fill("0 6 * * *");
  }
  await tabTo(page, "Finish");
  await page.keyboard.press("Enter");
}

/** Signs in at the provider as `person` and agrees, in the window that opened. */
async function consents(window, person) {
  await window.getByPlaceholder("Enter any login").fill(person);
  await window.getByPlaceholder("and password").fill("whatever");
  await window.getByRole("button", { name: "Sign-in" }).click();
}

/** Chooses the second of two accounts by keyboard alone. */
async function choosesTeam(window, isFirst) {
  await window.getByRole("heading", { name: "Choose an account" }).waitFor();
  if (isFirst) await sound(window, "choice of an account");
  await tabTo(window, "Own of carl");
  await window.keyboard.press("ArrowDown");
  assert.ok(await window.getByRole("radio", { name: "Team" }).isChecked());
  await tabTo(window, "Use this account");
  await window.keyboard.press("Enter");
}

/** Somebody adds their own configuration and connects their own account. */
async function connects(person) {
  const page = await tab(stage, people[person]);
  let isKnown = false;
  for (const name of integrations) {
    await page.evaluate(() => { window.told.length = 0; });
    await show(page, "showMarketplace");
    const view = frame(page);
    if (person === "bob" && name === integrations[0]) await sound(page, "marketplace");
    await view.getByRole("link", { name, exact: true }).click();
    // An admin comes to the integration's page, a user to their own configuration.
    if (person === "ada") await view.getByRole("link", { name: "Add my own configuration" }).click();
    await view.getByLabel("Folder").fill(`/${person}`);
    if (person === "bob" && name === integrations[0]) await sound(page, "configuration");
    if (viaEurope(person)) await choosesEurope(page, view, name === integrations[0]);
    else await view.getByRole("button", { name: "Finish" }).click();
    await told(page, "USER_CONFIGURATION_DEPLOYED");
    const opens = page.context().waitForEvent("page");
    await view.getByRole("link", { name: "Connect", exact: true }).click();
    const window = await opens;
    await window.getByRole("heading", { name: "Connect an account?" }).waitFor();
    if (person === "bob" && name === integrations[0]) await sound(window, "question before a consent");
    await tabTo(window, "Connect");
    await window.keyboard.press("Enter");
    if (!isKnown) await consents(window, person);
    isKnown = true;
    await window.getByRole("button", { name: "Continue" }).click();
    if (person === "carl") await choosesTeam(window, name === integrations[0]);
    await window.getByRole("heading", { name: "connected" }).waitFor();
    if (person === "bob" && name === integrations[0]) await sound(window, "connected");
    await window.close();
    // Whoever comes back sees that it is done.
    await page.bringToFront();
    await view.getByRole("heading").first().click();
    await view.getByText("Connected").waitFor();
  }
  assert.deepEqual(unexpected(page), []);
  await page.context().close();
}
const adminConnects = () => connects("ada");
const bobConnects = () => connects("bob");
const carlConnects = () => connects("carl");

/** Posts an event for a person by the integration's kind of address; gives the status. */
async function post(name, person, number) {
  const { url: address, headers } = configs[`${name} of ${person}`];
  const body = JSON.stringify({ number });
  const answer = await fetch(address, { method: "POST", headers: { "content-type": "application/json", ...headers }, body });
  return answer.status;
}

/** Waits for the call that the event with this number leads to. */
async function call(number) {
  const find = () => calls.find((call) => call.number === number);
  const made = async () => { while (!find()) await new Promise((done) => { changed = done; }); };
  await within(`the call of event ${number}`, made(), 60_000);
  return find();
}

async function webhooksRunAsTheirUsers() {
  const found = await ask(organization, `{ instances { nodes { integration { name } flowConfigs { nodes { webhookUrl } }
    userLevelConfigs { nodes { user { externalId } flowConfigs { nodes { webhookUrl } } } } } } }`);
  const names = { flow: "perseat-flow-name", customer: "perseat-customer-external-id", user: "perseat-user-external-id" };
  for (const { integration: { name }, flowConfigs, userLevelConfigs } of found.data.instances.nodes) {
    for (const { user: { externalId }, flowConfigs: own } of userLevelConfigs.nodes) {
      const kind = integrations.indexOf(name);
      const headers = [
        {},
        { [names.flow]: "Send", [names.user]: externalId },
        { [names.flow]: "Send", [names.customer]: "globex", [names.user]: externalId },
      ][kind];
      const address = (kind === 0 ? own : flowConfigs).nodes[0].webhookUrl;
      configs[`${name} of ${externalId}`] = { url: address, headers };
    }
  }
  assert.equal(Object.keys(configs).length, 9, JSON.stringify(found));
  let number = 0;
  for (const name of integrations) {
    for (const person of ["ada", "bob", "carl"]) {
      number += 1;
      assert.equal(await post(name, person, number), 200, `${name} of ${person}`);
      const { account, client, place, who, folder, channel } = await call(number);
      assert.equal(place, person === "carl" ? "carl-team" : `${person}-own`, `the account of ${person}`);
      assert.deepEqual([account, who, folder, channel], [person, person, `/${person}`, `channel of ${name}`]);
      assert.equal(client, viaEurope(person) ? EUROPE.client_id : "perseat", `the app of ${person}`);
    }
  }
}

/** On the page of their connections, and without a new consent. */
async function carlSwitchesAccount() {
  const [name] = integrations;
  const page = await tab(stage, people.carl);
  await show(page, "showConnections");
  const own = frame(page).getByRole("region", { name: `${name}: Account` });
  await own.getByText("Team").waitFor();
  await sound(page, "connections with accounts");
  const opens = page.context().waitForEvent("page");
  await own.getByRole("link", { name: "Switch account" }).click();
  const window = await opens;
  assert.ok(await window.getByRole("radio", { name: "Team" }).isChecked());
  await window.getByRole("radio", { name: "Own of carl" }).check();
  await window.getByRole("button", { name: "Use this account" }).click();
  await window.getByText("with the account Own of carl").waitFor();
  await window.close();
  await page.bringToFront();
  await frame(page).getByRole("heading").first().click();
  await own.getByText("Own of carl").waitFor();
  assert.equal(await post(name, "carl", 200), 200);
  const { place, client } = await call(200);
  assert.deepEqual([place, client], ["carl-own", EUROPE.client_id]);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** Another registration is chosen, and not saved, when a data source is asked again. */
async function carlLoadsAgain() {
  const page = await tab(stage, people.carl);
  await show(page, "showMarketplace");
  const view = frame(page);
  await view.getByRole("link", { name: integrations[1], exact: true }).click();
  const choice = view.getByLabel("Registration");
  assert.equal(await choice.evaluate((select) => select.selectedOptions[0].textContent), "Europe");
  await choice.selectOption({ label: "The default" });
  await view.getByRole("button", { name: "Load again" }).click();
  await view.locator("[data-loaded]").waitFor();
  assert.equal(await choice.inputValue(), "default");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

async function bobUpdatesAndLeaves() {
  const [name] = integrations;
  const page = await tab(stage, people.bob);
  await show(page, "showMarketplace");
  const view = frame(page);
  await view.getByRole("link", { name, exact: true }).click();
  await view.getByLabel("Folder").fill("/moved");
  await view.getByRole("button", { name: "Finish" }).click();
  await told(page, "USER_CONFIGURATION_DEPLOYED");
  assert.equal(await post(name, "bob", 100), 200);
  const { account, folder } = await call(100);
  assert.deepEqual([account, folder], ["bob", "/moved"], "the account stays connected");
  await show(page, "showMarketplace");
  await view.getByRole("link", { name, exact: true }).click();
  await view.getByRole("link", { name: "Remove my configuration" }).click();
  await view.getByRole("heading", { name: "Are you sure?" }).waitFor();
  await sound(page, "question");
  await view.getByRole("button", { name: "Remove my configuration" }).click();
  await told(page, "USER_CONFIGURATION_DELETED");
  assert.equal(await post(name, "bob", 101), 410, "what was removed is gone");
  assert.equal(await post(name, "carl", 102), 200);
  const other = await call(102);
  assert.deepEqual([other.account, other.client], ["carl", EUROPE.client_id], "the others go on");
  assert.ok(!calls.some(({ number }) => number === 101));
  // The provider takes back all that bob allowed the app with any of its tokens.
  assert.equal(await post(integrations[1], "bob", 103), 200);
  assert.equal((await call(103)).account, "bob", "what bob has elsewhere goes on");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** A user finds neither the instance nor what ran, by no page and by no query that shows it to an admin. */
async function usersSeeNoInstance() {
  const valid = async (bearer, query, variables) => {
    const { data: found, errors } = await ask(bearer, query, variables);
    assert.equal(errors, undefined, `${query}: ${JSON.stringify(errors)}`);
    return found;
  };
  const ids = {};
  for (const list of ["instances", "executionResults"]) {
    const query = `{ ${list} { nodes { id } } }`;
    const { [list]: all } = await valid(people.ada, query);
    assert.ok(all.nodes.length > 0, `${list} are there to be seen`);
    ids[list] = all.nodes.map(({ id }) => id);
    assert.deepEqual(await valid(people.carl, query), { [list]: { nodes: [] } });
  }
  const ofOne = [
    ["query ($i: ID!) { found: instance(id: $i) { id } }", ids.instances, ({ id }) => id, "There is no such instance."],
    ["query ($i: ID!) { found: executionResult(id: $i) { id } }", ids.executionResults, ({ id }) => id, "There is no such execution."],
    ["query ($i: ID!) { found: logs(executionResult: $i) { nodes { message } } }", ids.executionResults, ({ nodes }) => nodes[0], "There is no such execution."],
  ];
  for (const [query, all, shown, refusal] of ofOne) {
    for (const i of all) {
      const { found } = await valid(people.ada, query, { i });
      assert.ok(shown(found), `${query}: an admin sees it`);
      const { data: none, errors } = await ask(people.carl, query, { i });
      assert.equal(none, null, query);
      assert.deepEqual(errors.map(({ message }) => message), [refusal], query);
    }
  }
  const instanceId = ids.instances[0];
  const page = await tab(stage, people.carl);
  await show(page, "editInstanceConfiguration", { instanceId });
  await frame(page).getByText("There is no such integration, or it is not for you.").waitFor();
  await sound(page, "what is not for a user");
  await page.context().close();
}

await walked(browser, [
  adminSwitchesOn, organizationRegistersAnotherApp, adminConnects, bobConnects, carlConnects, webhooksRunAsTheirUsers, carlSwitchesAccount, carlLoadsAgain, bobUpdatesAndLeaves, usersSeeNoInstance,
]);
