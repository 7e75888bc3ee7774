/**
 * What the walk through every page has around it: a host page, a provider that can be down, a browser, and what people do by keyboard.
 * @module
 */

import { inside, press } from "./looks.mjs";
import { APP, listAccounts, provide } from "./provider.mjs";
import { frame, introduced, launch, serve, show, tab } from "./stage.mjs";

let provider;
/** What the provider does now instead of what it is asked for. */
let manner = "works";

/** From now on the provider works, or is down. */
export function behave(now) {
  manner = now;
}

/** The refresh tokens that the provider gave out, by who agreed. */
export const given = {};
/** Those that it took back. */
const taken = new Set();
let changed = () => {};

async function answer(request, response) {
  if (manner === "is down" && request.url === "/token") return response.writeHead(503).end();
  if (request.url === "/accounts") return listAccounts(provider, request, response);
  return provider.callback()(request, response);
}

const host = await serve();
export const issuer = await serve(answer);
export const { url, people, invitations } = await introduced({ host, provider: issuer });
provider = provide(issuer, url, [APP]);
provider.on("refresh_token.saved", ({ accountId, jti }) => { given[accountId] = jti; });
provider.on("refresh_token.destroyed", ({ jti }) => { taken.add(jti); changed(); });
export const browser = await launch();
export const stage = { browser, host, url };

/** Whether the provider says that a token is good. */
export async function isGood(token) {
  const authorization = `Basic ${Buffer.from(`${APP.client_id}:${APP.client_secret}`).toString("base64")}`;
  const headers = { authorization, "content-type": "application/x-www-form-urlencoded" };
  const answer = await fetch(`${issuer}/token/introspection`, { method: "POST", headers, body: new URLSearchParams({ token }) });
  return (await answer.json()).active;
}

/** Waits until the provider took a token back; whether it says that it is good no more. */
export async function isTakenBack(token) {
  const late = AbortSignal.timeout(60_000);
  late.addEventListener("abort", () => changed());
  while (!taken.has(token) && !late.aborted) await new Promise((done) => { changed = done; });
  return !(await isGood(token));
}

/** The host page on the marketplace, with the keyboard before the frame. */
export async function marketplace(token, options) {
  const page = await tab(stage, token, options);
  await show(page, "showMarketplace");
  await frame(page).getByRole("heading", { name: "Integrations" }).waitFor();
  await page.locator("#before").focus();
  return page;
}

/** Presses a link to a provider, and gives the window that opens. */
export async function opens(page, name) {
  const opened = page.context().waitForEvent("page");
  await press(page, name);
  const window = await opened;
  await window.waitForLoadState();
  return window;
}

/** Says that an account is to be connected. */
export async function goesOn(window) {
  await window.getByRole("button", { name: "Connect", exact: true }).press("Enter");
}

/** Goes on to the provider, signs in where it asks, and agrees. */
export async function agrees(window, person) {
  await goesOn(window);
  await window.getByPlaceholder("Enter any login").fill(person);
  await window.getByPlaceholder("and password").fill("whatever");
  await window.getByRole("button", { name: "Sign-in" }).press("Enter");
  await window.getByRole("button", { name: "Continue" }).press("Enter");
}

/** Closes a provider's window: the page that led there shows what became of it, where it was left. */
export async function comesBack(window, page, key) {
  await window.close();
  await page.bringToFront();
  const inner = inside(page);
  await inner.evaluate(() => window.dispatchEvent(new Event("focus")));
  await inner.locator("main:not([aria-busy])").waitFor();
  const field = inner.locator(`[data-key="${key}"]`).filter({ has: inner.locator(":focus") });
  await field.waitFor();
}
