/**
 * What this page and the page around it say to one another.
 *
 * Only a page that frames this one is heard, and only from an origin that the server allows. It is answered at that origin
 * alone; before it has spoken, all that is said is that this page is ready.
 * @module
 */

const allowed = new Set((document.body.dataset.origins ?? "").split(" ").filter(Boolean));
const handlers = new Map();
/** The origin that has spoken. */
let origin = null;

/**
 * Calls `handler` with the data of each such event.
 * @param {string} event
 * @param {(data: unknown) => void} handler
 */
export function hear(event, handler) {
  handlers.set(event, handler);
}

/**
 * Tells the page around this one.
 * @param {string} event
 * @param {unknown} [data]
 */
export function tell(event, data = {}) {
  if (origin !== null) window.parent.postMessage({ event, data }, origin);
}

/** Begins the conversation. False if no page is around this one. */
export function begin() {
  if (window.parent === window) return false;
  window.addEventListener("message", (message) => {
    if (message.source !== window.parent || !allowed.has(message.origin)) return;
    const { event, data } = Object(message.data);
    if (typeof event !== "string") return;
    origin = message.origin;
    handlers.get(event)?.(data);
  });
  // It has nothing in it, and who is around is not known yet.
  window.parent.postMessage({ event: "PRISMATIC_INITIALIZED" }, "*");
  return true;
}
