/**
 * The configuration wizard: its steps, its lists, what is wrong with a field, and values that the host page sets.
 * @module
 */

import { tell } from "./host.js";
import { apply, phrase } from "./phrases.js";

/** The wizard that is open. */
let open = null;

/**
 * Takes up the wizard of a page, if it has one. The same one goes on, with what was typed since the server was asked; another begins.
 * @param {HTMLElement} view
 * @param {boolean} [stays] whether it goes on at the step where somebody was
 */
export function attach(view, stays) {
  const form = view.querySelector("form[data-wizard]");
  const before = form && form.getAttribute("action") === open?.form.getAttribute("action") ? open : null;
  if (!before) leave();
  open = form ? new Wizard(form) : null;
  if (before) open.resume(before, stays);
  else open?.loaded();
}

/**
 * Notes what the server is asked with: its answer has that, and not what is typed meanwhile.
 * @param {boolean} sends whether the form is sent, or the page asked for anew
 */
export function asks(sends) {
  if (open) open.sent = sends ? open.values() : null;
}

/**
 * Says in the wizard, if one is open, that the server gave no answer to what it was sent.
 * @param {string} text
 * @returns {boolean} whether one is
 */
export function unanswered(text) {
  open?.unanswered(text);
  return open !== null;
}

/** What can be filled in or pressed. */
const CONTROLS = "input:not([type=hidden]), select, textarea, button, a";

/**
 * Where somebody goes on in a page that is shown: what they asked to load, what is wrong, or where they were. Null at its head.
 * @param {HTMLElement} view
 * @param {HTMLElement} [before] the field or section where they were
 * @returns {HTMLElement | null}
 */
export function landing(view, before) {
  const first = (root, controls) => [...(root?.querySelectorAll(controls) ?? [])].find((control) => control.getClientRects().length > 0);
  const field = view.querySelector("[data-problem]:not(:empty)")?.closest("[data-field]") ?? view.querySelector("[data-loaded]");
  return first(view, "[aria-invalid=true]") ?? first(field, CONTROLS) ?? first(before, "[data-connect]") ?? first(before, CONTROLS) ?? null;
}

/**
 * Tells that the wizard is left.
 * @param {string} [event] said first
 */
export function leave(event) {
  if (!open) return;
  if (event) tell(event, open.about);
  tell(open.event("CLOSED"), open.about);
  open = null;
}

/**
 * Sets values as the host page says.
 * @param {unknown} values
 */
export function set(values) {
  if (!open) return;
  for (const [key, given] of Object.entries(Object(values))) open.set(key, Object(given));
}

/**
 * Whether the form that is sent may go: every step is filled in as it must be.
 * @param {HTMLFormElement} form
 */
export function isReady(form) {
  return open?.form !== form || open.check();
}

/** What is chosen of what a data source offers: names, and what stands there or is ticked. */
function choices(field) {
  const controls = [...field.querySelectorAll("[name]:not([type=hidden], button)")];
  return controls.map(({ name, type, value, checked }) => (type === "checkbox" ? [`${name}=${value}`, checked] : [name, value]));
}

/** Chooses the same again, as far as it is still offered. */
function choose(field, before) {
  for (const control of field.querySelectorAll("[name]:not([type=hidden], button)")) {
    const name = control.type === "checkbox" ? `${control.name}=${control.value}` : control.name;
    const at = before.findIndex(([known]) => known === name);
    if (at < 0) continue;
    const [[, value]] = before.splice(at, 1);
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }
}

/** What stands in a field now. */
function content(field) {
  const named = [...field.querySelectorAll("[name]")];
  const values = named.filter((control) => control.name.startsWith("value:")).map((control) => control.value);
  const keys = named.filter((control) => control.name.startsWith("key:")).map((control) => control.value);
  switch (field.dataset.kind) {
    case "connection":
    case "awaits":
      return null;
    case "picks":
    case "objects":
    case "map":
    case "form":
      return choices(field);
    case "flag":
      return String(field.querySelector("[type=checkbox]").checked);
    case "list":
      return values;
    case "pairs":
      return keys.map((key, place) => ({ key, value: values[place] ?? "" }));
    default:
      return values[0] ?? "";
  }
}

/**
 * What is no value and the server does not show as it was left: credentials and keys of endpoints, what is chosen beside them, and the
 * name of what is made.
 */
const BESIDE = "[data-input], input[type=password], #instance-name";

/** Puts a control as it was left; a choice only where somebody made it, and it is still offered. */
function restore(control, before) {
  const { options, value } = before;
  if (!options) {
    if (value !== "") control.value = value;
    return;
  }
  const isChosen = !before.selectedOptions[0]?.defaultSelected;
  if (isChosen && [...control.options].some((option) => option.value === value)) control.value = value;
}

/** A moment as its control takes it: in UTC, without saying so. */
function inUtc(text) {
  const at = new Date(/(z|[+-]\d\d:?\d\d)$/i.test(text) ? text : "");
  return Number.isNaN(at.getTime()) ? text : at.toISOString().slice(0, "2026-01-31T09:30:00".length);
}

/** What is chosen by people of what a data source offers. */
const CHOSEN = ["picks", "objects", "map", "form"];

class Wizard {
  constructor(form) {
    this.form = form;
    this.about = JSON.parse(form.dataset.about);
    this.steps = [...form.querySelectorAll("[data-step]")];
    this.place = 0;
    // The browser cannot show what is wrong with a field of a hidden step; the steps are checked one by one.
    form.noValidate = true;
    form.addEventListener("click", (event) => this.clicked(event));
    form.addEventListener("focusout", (event) => this.judge(event.target));
    form.addEventListener("input", (event) => {
      if (event.target.getAttribute("aria-invalid") === "true") this.judge(event.target);
    });
    const wrong = this.steps.findIndex((step) => step.querySelector("[aria-invalid=true], [data-problem]:not(:empty)"));
    const waits = "saved" in form.dataset ? this.steps.findIndex((step) => step.querySelector("[data-connect], [data-load]")) : -1;
    const loaded = this.steps.findIndex((step) => step.querySelector("[data-loaded]"));
    this.show(Math.max(loaded >= 0 ? loaded : wrong, waits, 0), false);
    /** Values as the server holds them. */
    this.given = this.values();
    /** Values as they were sent, until there is an answer. */
    this.sent = null;
  }

  /** What stands in the fields, as JSON, by display name; not credentials. */
  values() {
    return new Map([...this.form.querySelectorAll("[data-key]")].map((field) => [field.dataset.key, JSON.stringify(content(field))]));
  }

  /** What is typed here and not in what the answer was made of, which is what was sent or else what the server holds. */
  typed() {
    const known = this.sent ?? this.given;
    return [...this.values()].filter(([key, value]) => known.get(key) !== value).map(([key, value]) => [key, JSON.parse(value)]);
  }

  /** Goes on where the same wizard stood before its page was shown anew. */
  resume(before, stays) {
    if (stays && before.place < this.steps.length) this.show(before.place, false);
    for (const [key, value] of before.typed()) {
      const field = this.field(key);
      if (field && CHOSEN.includes(field.dataset.kind)) choose(field, value ?? []);
      else this.set(key, { value });
    }
    if ("saved" in this.form.dataset) return;
    // What was sent and not saved is still to be kept.
    if (before.sent) this.given = before.given;
    for (const control of before.form.querySelectorAll(BESIDE)) {
      const same = [...this.form.querySelectorAll(BESIDE)].find(({ name }) => name === control.name);
      if (same) restore(same, control);
    }
  }

  /** Says what is wrong with the whole, where everything else stays as it is. */
  unanswered(text) {
    asks(false);
    const problem = this.form.previousElementSibling?.matches("[role=alert]") ? this.form.previousElementSibling : document.createElement("p");
    problem.className = "problem whole";
    problem.setAttribute("role", "alert");
    this.form.before(problem);
    problem.textContent = text;
    problem.scrollIntoView({ block: "nearest" });
  }

  field(key) {
    return [...this.form.querySelectorAll("[data-key]")].find((field) => field.dataset.key === key);
  }

  event(what) {
    return `${this.form.dataset.wizard === "user" ? "USER" : "INSTANCE"}_CONFIGURATION_${what}`;
  }

  loaded() {
    tell(this.event("OPENED"), this.about);
    tell(this.event("LOADED"), this.about);
    this.told();
  }

  told() {
    const step = this.steps[this.place];
    if (!step) return;
    const fields = [...step.querySelectorAll("[data-key]")];
    const pageContent = Object.fromEntries(fields.map((field) => [field.dataset.key, content(field)]));
    tell(this.event("PAGE_LOADED"), { ...this.about, pageName: step.dataset.name, pageContent });
  }

  show(place, focuses) {
    this.place = place;
    const last = this.steps.length - 1;
    this.steps.forEach((step, at) => { step.hidden = at !== place; });
    const part = (name) => this.form.querySelector(`[data-${name}]`);
    part("previous").hidden = place === 0;
    part("next").hidden = place >= last;
    part("finish").hidden = place < last;
    const progress = part("progress");
    progress.hidden = last < 1;
    progress.textContent = `${phrase("perseat.step", "Step")} ${place + 1} / ${last + 1}`;
    if (focuses) this.steps[place].querySelector("h2").focus();
  }

  go(place) {
    this.show(place, true);
    this.told();
  }

  /** The first field of a step that is wrong. */
  wrong(root) {
    return [...root.querySelectorAll("input, select, textarea")].find((control) => !control.validity.valid && !control.closest("[data-field][hidden]"));
  }

  checkStep(place) {
    const control = this.wrong(this.steps[place]);
    if (!control) return true;
    if (place !== this.place) this.go(place);
    this.judge(control);
    control.focus();
    return false;
  }

  check() {
    const before = this.form.querySelector("[data-field]:not([data-step] *)");
    const control = before && this.wrong(before);
    if (control) {
      this.judge(control);
      control.focus();
      return false;
    }
    return this.steps.every((_, place) => this.checkStep(place));
  }

  /** Says what is wrong with a field, or that nothing is. */
  judge(control) {
    const field = control.closest?.("[data-field]");
    const problem = field?.querySelector("[data-problem]");
    if (!problem || !control.validity) return;
    const isWrong = !control.validity.valid;
    control.toggleAttribute("aria-invalid", false);
    if (isWrong) control.setAttribute("aria-invalid", "true");
    problem.textContent = isWrong ? control.validationMessage : "";
  }

  clicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if ("next" in button.dataset && this.checkStep(this.place)) this.go(this.place + 1);
    if ("previous" in button.dataset) this.go(this.place - 1);
    if ("add" in button.dataset) this.row(button.closest("[data-field]")).querySelector("input").focus();
    if ("drop" in button.dataset) {
      const rows = button.closest("[data-rows]");
      if (rows.children.length > 1) button.closest("[data-row]").remove();
      else for (const input of rows.querySelectorAll("input")) input.value = "";
      rows.querySelector("input").focus();
    }
  }

  /** One more row of a list, empty. */
  row(field) {
    const rows = field.querySelector("[data-rows]");
    const row = rows.lastElementChild.cloneNode(true);
    for (const input of row.querySelectorAll("input")) input.value = "";
    rows.append(row);
    apply(row);
    return row;
  }

  set(key, given) {
    const field = this.field(key);
    if (!field) return;
    const { value, inputs } = given;
    const kind = field.dataset.kind;
    if (kind === "connection") {
      for (const [name, input] of Object.entries(Object(inputs))) {
        const control = [...field.querySelectorAll("[data-input]")].find((control) => control.dataset.input === name);
        if (control) control.value = String(Object(input).value ?? "");
      }
    } else if (kind === "flag") {
      field.querySelector("[type=checkbox]").checked = String(value) === "true";
    } else if (kind === "awaits" || CHOSEN.includes(kind)) {
      // What a data source offers is chosen by people.
    } else if (kind === "list" || kind === "pairs") {
      const items = Array.isArray(value) ? value : [];
      const rows = field.querySelector("[data-rows]");
      while (rows.children.length > 1) rows.lastElementChild.remove();
      items.forEach((item, place) => {
        const row = place === 0 ? rows.firstElementChild : this.row(field);
        const texts = kind === "list" ? [item] : [Object(item).key, Object(item).value];
        row.querySelectorAll("input").forEach((input, at) => { input.value = String(texts[at] ?? ""); });
      });
    } else {
      const control = field.querySelector("[name]");
      const text = String(value ?? "");
      control.value = kind === "time" ? inUtc(text) : text;
      this.judge(control);
    }
  }
}
