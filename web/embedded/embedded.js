/**
 * A page in a frame of the host product: it gets the host's token by a message, keeps it in memory alone, and shows what the
 * server makes of it. Every link and form is a request with that token.
 * @module
 */

import { begin, hear, tell } from "./host.js";
import { apply, phrase, translate } from "./phrases.js";
import { asks, attach, isReady, landing, leave, set, unanswered } from "./wizard.js";

const view = document.getElementById("view");
const start = document.body.dataset.start;
/** How long the first page waits for filters after the token, in milliseconds. */
const SOON = 300;
/** The one place where text becomes elements: fragments of this server, which has escaped what it shows. */
const fragments = globalThis.trustedTypes?.createPolicy("perseat", { createHTML: (html) => html }) ?? { createHTML: (html) => html };

let token = "";
let person = "";
let filters = "";
let screen = {};
/** The page that is shown or awaited. */
let place = null;
/** Whether the last request was refused for want of a token. */
let isOver = false;
let waiting = 0;
let requests = 0;
/** The field or section of a connection for which somebody went to its provider, with what stood there; null for nobody. */
let consents = null;

/** Whom a token names; the server alone says whether it is to be believed. */
function named(jwt) {
  try {
    const { sub, customer, organization, role } = JSON.parse(atob(jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return JSON.stringify([organization, customer, sub, role]);
  } catch {
    return jwt;
  }
}

/** Where the marketplace is asked for with the host page's filters. */
function filtered(path) {
  const url = new URL(path, location.origin);
  if (url.pathname.endsWith("/marketplace") && filters && !url.searchParams.get("filters")) url.searchParams.set("filters", filters);
  return url.pathname + url.search;
}

/**
 * Shows a page. `consent` is what somebody comes back from: then it is shown where they were.
 * @param {string} path
 * @param {URLSearchParams} [body]
 * @param {{ key?: string, text?: string }} [consent]
 */
async function open(path, body, consent) {
  clearTimeout(waiting);
  const url = new URL(path, location.origin);
  if (url.origin !== location.origin || !url.pathname.startsWith("/embedded/view/")) return;
  const request = ++requests;
  place = path;
  asks(body !== undefined);
  view.setAttribute("aria-busy", "true");
  let html = "";
  let status = 0;
  try {
    const answer = await fetch(filtered(path), {
      method: body ? "POST" : "GET",
      headers: { authorization: `Bearer ${token}` },
      body,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
    status = answer.status;
    html = answer.headers.get("content-type")?.startsWith("text/html") ? await answer.text() : "";
  } catch {
    // Said below.
  }
  if (request !== requests) return;
  view.removeAttribute("aria-busy");
  isOver = status === 401;
  const [key, words] = isOver ? ["perseat.over", "Your session has ended. Reload the page to go on."] : ["perseat.unreachable", "The server could not be reached. Try again in a moment."];
  if (html) show(html, consent);
  else if (!body || !unanswered(phrase(key, words))) say(key, words);
  // Until it is connected anew, whoever comes back may have come too early.
  const part = consent && keyed(consent.key);
  if (!consent || (part?.querySelector("[data-status=ACTIVE]") && part.textContent !== consent.text)) consents = null;
}

/** The field or section of this name. */
function keyed(key) {
  return [...view.querySelectorAll("[data-key]")].find((part) => part.dataset.key === key);
}

function show(html, consent) {
  view.innerHTML = fragments.createHTML(html);
  // What was made has a page of its own from now on, and what was done leads back to one.
  place = view.querySelector("form[data-wizard]")?.getAttribute("action") ?? view.querySelector("[data-place]")?.dataset.place ?? place;
  apply(view);
  local();
  fit();
  const heading = view.querySelector("h1");
  heading.tabIndex = -1;
  document.title = heading.textContent;
  for (const element of view.querySelectorAll("[data-events]")) {
    for (const { event, data } of JSON.parse(element.dataset.events)) tell(event, data);
  }
  attach(view, consent !== undefined);
  window.scrollTo(0, 0);
  const target = landing(view, consent && keyed(consent.key)) ?? heading;
  // Whoever reads the page around this one is left there.
  if (document.hasFocus()) target.focus({ preventScroll: target === heading });
}

/** Text without a page. */
function say(key, words) {
  leave();
  const heading = document.createElement("h1");
  heading.textContent = phrase("perseat.marketplaceTitle", "Integrations");
  const text = document.createElement("p");
  text.setAttribute("role", "alert");
  text.textContent = phrase(key, words);
  view.replaceChildren(heading, text);
  heading.tabIndex = -1;
  if (document.hasFocus()) heading.focus();
}

/** Leaves out what the host page does not want to be seen. */
function fit() {
  const hides = (name, wanted) => {
    if (wanted === true) for (const part of view.querySelectorAll(`[data-part=${name}]`)) part.hidden = true;
  };
  const { marketplace, instance, configurationWizard, dashboard } = screen;
  hides("search", Object(marketplace).hideSearch);
  hides("back", Object(instance).hideBackToMarketplace);
  hides("back", Object(configurationWizard).isInModal);
  hides("remove", Object(instance).hideDeactivation);
  const hidesTabs = (kind, names) => {
    if (!Array.isArray(names)) return;
    for (const part of view.querySelectorAll(`[data-${kind}-tab]`)) if (names.includes(part.dataset[`${kind}Tab`])) part.hidden = true;
  };
  hidesTabs("dashboard", Object(dashboard).hideTabs);
  hidesTabs("instance", Object(instance).hideTabs);
}

/** Times as the visitor reads them. */
function local() {
  for (const time of view.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.dateTime;
    time.textContent = at.toLocaleString();
  }
}

function begun() {
  clearTimeout(waiting);
  if (place === null && token) open(start);
}

hear("SET_TOKEN", (data) => {
  if (typeof data !== "string" || data === "") return;
  const somebody = named(data);
  const isAnother = person !== "" && somebody !== person;
  token = data;
  person = somebody;
  if (isAnother) {
    // What the one before typed is not theirs.
    leave();
    open(start);
  } else if (isOver) open(place);
  else if (place === null) waiting = setTimeout(begun, SOON);
});
hear("SET_TRANSLATION", translate);
hear("SET_SCREEN_CONFIGURATION", (data) => {
  screen = Object(data);
  fit();
});
hear("SET_FILTERS", (data) => {
  const { marketplace } = Object(data);
  filters = marketplace ? JSON.stringify(marketplace) : "";
  begun();
});
hear("SET_CONFIG_VAR", set);
hear("MARKETPLACE_CLOSED", () => leave());

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a");
  if (!link) return;
  if ("connect" in link.dataset) {
    const part = link.closest("[data-key]");
    consents = { key: part?.dataset.key, text: part?.textContent };
  }
  if (!("view" in link.dataset)) return;
  event.preventDefault();
  if ("cancel" in link.dataset) leave("INSTANCE_CONFIGURATION_CANCELED");
  open(link.getAttribute("href"));
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  event.preventDefault();
  // A form that only asks for choices may be unfinished.
  const loads = event.submitter !== null && "load" in event.submitter.dataset;
  if (view.getAttribute("aria-busy") === "true" || (!loads && !isReady(form))) return;
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  const action = form.getAttribute("action");
  if (form.method === "post") open(action, fields);
  else open(`${action}?${fields}`);
});

document.addEventListener("keyup", (event) => {
  if (event.key === "Escape" && screen.isInPopover === true) tell("POPOVER_CLOSE_REQUESTED");
});

// Whoever comes back from a provider sees where the connection stands now, and goes on where they were.
window.addEventListener("focus", () => {
  if (consents === null || place === null) return;
  open(place, undefined, consents);
});

function colour() {
  try {
    const { background, color } = Object(JSON.parse(new URLSearchParams(location.search).get("initializing") ?? "{}"));
    if (background) document.body.style.setProperty("--initial-ground", String(background));
    if (color) document.body.style.setProperty("--initial-ink", String(color));
  } catch {
    // The page around this one asked for nothing that can be read.
  }
}

colour();
if (!begin()) say("perseat.notFramed", "This page is shown within your product.");
