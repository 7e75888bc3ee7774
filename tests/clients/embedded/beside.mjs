/**
 * Pages beside the way of an integration: what becomes of a consent, what admins read, frames without a token, and sign-in.
 * @module
 */

import assert from "node:assert/strict";
import { arrived, press, soundEverywhere, tabTo, type } from "./looks.mjs";
import { agrees, behave, browser, goesOn, invitations, issuer, people, stage, url } from "./setting.mjs";
import { frame, show, tab } from "./stage.mjs";

// What can become of a consent.

/** The address behind somebody's connect link, in a window of its own. */
async function linkOf(token) {
  const page = await tab(stage, token);
  await show(page, "showConnections");
  const own = frame(page).getByRole("region", { name: "Everything: Account" });
  const href = await own.getByRole("link", { name: "Connect", exact: true }).getAttribute("href");
  return [page, href];
}

export async function consentsGoWrong() {
  const [page, href] = await linkOf(people.carl);
  const window = await page.context().newPage();
  const outcome = async (what, heading) => {
    await window.getByRole("heading", { name: heading }).waitFor();
    await soundEverywhere(window, what, "oauth/outcome.html");
  };
  await window.goto(href);
  await goesOn(window);
  await window.getByRole("link", { name: "Cancel" }).press("Enter");
  await outcome("consent denied", "You did not give your consent");
  await window.goto(window.url());
  await outcome("consent expired", "This link has expired or was used already");
  await window.goto(href.replace(/signature=[^&]*/, "signature=x"));
  await outcome("link expired", "This link has expired or was used already");
  behave("is down");
  await window.goto(href);
  await agrees(window, "carl");
  await outcome("provider down", "The other service did not answer");
  behave("works");
  await page.context().close();
}

// What admins read.

export async function adminReads() {
  const page = await tab(stage, people.ada);
  const view = frame(page);
  await show(page, "showDashboard");
  await view.getByRole("heading", { name: "Needs attention" }).waitFor();
  await soundEverywhere(page, "dashboard", "embedded/dashboard.html");
  await page.locator("#before").focus();
  await press(page, "Logs");
  await arrived(page, "Logs");
  await soundEverywhere(page, "logs", "embedded/logs.html");
  await type(page, "Message", "paper");
  await press(page, "Filter");
  await view.getByText("a line about two for •••").waitFor({ state: "detached" });
  await arrived(page, "Logs");
  await press(page, "Clear filters");
  await view.getByText("a line about two for •••").waitFor();
  await tabTo(page, "Clear filters");
  await press(page, "Execution");
  await arrived(page, "Execution");
  await view.getByText("script_failed", { exact: true }).or(view.getByText("Succeeded").first()).first().waitFor();
  await soundEverywhere(page, "an execution", "embedded/execution.html");
  await press(page, "Executions");
  await arrived(page, "Executions");
  await tabTo(page, "Result");
  await page.keyboard.type("Fa");
  await press(page, "Filter");
  await view.locator(".rows > li").nth(1).waitFor({ state: "detached" });
  await soundEverywhere(page, "executions", "embedded/executions.html");
  await show(page, "showConnections");
  await view.getByRole("region", { name: "Everything: Company account" }).waitFor();
  await soundEverywhere(page, "connections of an admin", "embedded/connections.html");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

// Without a token, and without a frame.

export async function nobody() {
  const page = await tab(stage, people.bob);
  await page.route("**/embedded/view/**", (route) => route.continue({ headers: { ...route.request().headers(), authorization: "Bearer x.y.z" } }));
  await show(page, "showMarketplace");
  await frame(page).getByText("Your session has ended.").waitFor();
  await soundEverywhere(page, "a token that is none", "embedded/shell.html");
  await page.context().close();
  const context = await browser.newContext();
  const alone = await context.newPage();
  await alone.goto(`${url}/integration-marketplace/`);
  await alone.getByText("This page is shown within your product.").waitFor();
  await soundEverywhere(alone, "a page without a frame", "embedded/shell.html");
  await context.close();
  const unscripted = await browser.newContext({ javaScriptEnabled: false });
  const plain = await unscripted.newPage();
  await plain.goto(`${url}/integration-marketplace/`);
  await plain.locator("noscript p").waitFor();
  await unscripted.close();
}

// The pages of sign-in, which need no script.

export async function peopleSignIn() {
  const context = await browser.newContext({ reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(invitations[0]);
  await soundEverywhere(page, "choose a password", "sign-in/password.html");
  await page.goto(invitations[0]);
  const choose = async (password) => {
    await page.locator("#password").focus();
    await page.keyboard.type(password);
    await type(page, "The same again", password);
    await press(page, "Set the password");
  };
  await choose("ann@acme.example");
  await page.getByRole("alert").waitFor();
  await soundEverywhere(page, "choose another password", "sign-in/password.html");
  await choose("a long password of ann");
  await page.locator("#password").waitFor({ state: "detached" });
  await soundEverywhere(page, "a message", "sign-in/message.html");
  await page.goto(invitations[1]);
  await choose("a long password of ann");
  await page.locator("#password").waitFor({ state: "detached" });

  const verifier = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
  const query = new URLSearchParams({
    response_type: "code", client_id: "perseat-cli", redirect_uri: "http://localhost:59400/", code_challenge: verifier,
    code_challenge_method: "S256", scope: "openid profile email offline_access", state: "st-1",
  });
  await page.goto(`${url}/authorize?${query}`);
  await soundEverywhere(page, "sign in", "sign-in/authorize.html");
  await page.goto(`${url}/authorize?${query}`);
  await page.locator("#address").focus();
  await page.keyboard.type("ann@acme.example");
  await type(page, "Password", "another password");
  await press(page, "Sign in");
  await page.getByRole("alert").waitFor();
  await soundEverywhere(page, "sign in once more", "sign-in/authorize.html");
  await page.locator("#password").focus();
  await page.keyboard.type("a long password of ann");
  await press(page, "Sign in");
  await page.getByRole("heading", { name: "Sign in as" }).waitFor();
  await soundEverywhere(page, "as whom", "sign-in/choose.html");
  await page.goto(`${url}/authorize?${query}`);
  await press(page, "Forgot your password?");
  await page.getByRole("heading", { name: "Forgot your password?" }).waitFor();
  await soundEverywhere(page, "a forgotten password", "sign-in/forgot.html");
  await page.goto(`${url}/authorize?${query}`);
  // The page leaves at once for the provider, which is not let in.
  await page.route(`${issuer}/**`, (route) => route.fulfill({ status: 204 }));
  await press(page, "Continue with Acme Login");
  await page.getByRole("heading", { name: "On to Acme Login" }).waitFor();
  await soundEverywhere(page, "on the way to a provider", "sign-in/leave.html");
  await context.close();
}
