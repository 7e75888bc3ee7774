/**
 * The configuration wizard: its steps, its lists, what is wrong with a field, and values that the host page sets.
 * @module
 */

import { tell } from "./host.js";
import { apply, phrase } from "./phrases.js";

/** The wizard that is open. */
let open = null;

/**
 * Takes up the wizard of a page, if it has one. The same one with something wrong in it goes on; another begins.
 * @param {HTMLElement} view
 */
export function attach(view) {
  const form = view.querySelector("form[data-wizard]");
  const goesOn = open !== null && form?.getAttribute("action") === open.form.getAttribute("action");
  if (!goesOn) leave();
  open = form ? new Wizard(form) : null;
  if (!goesOn) open?.loaded();
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

/** What stands in a field now. */
function content(field) {
  const named = [...field.querySelectorAll("[name]")];
  const values = named.filter((control) => control.name.startsWith("value:")).map((control) => control.value);
  const keys = named.filter((control) => control.name.startsWith("key:")).map((control) => control.value);
  switch (field.dataset.kind) {
    case "connection":
      return null;
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
    const field = [...this.form.querySelectorAll("[data-key]")].find((field) => field.dataset.key === key);
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
    } else if (["awaits", "picks", "objects", "map", "form"].includes(kind)) {
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
      control.value = String(value ?? "");
      this.judge(control);
    }
  }
}
