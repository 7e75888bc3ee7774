/**
 * The host page's own words for what these pages say.
 * @module
 */

let phrases = {};
let shows = false;

/**
 * Takes the phrases of the host page: text by key.
 * @param {unknown} translation
 */
export function translate(translation) {
  const { phrases: given, debugMode } = Object(translation);
  phrases = Object(given);
  shows = debugMode === true;
  apply(document);
}

/**
 * The phrase of this key, or the words that are given.
 * @param {string} key
 * @param {string} words
 * @returns {string}
 */
export function phrase(key, words) {
  const given = Object.hasOwn(phrases, key) ? phrases[key] : undefined;
  if (shows && key) return `${typeof given === "string" ? given : words} [${key}]`;
  return typeof given === "string" ? given : words;
}

/**
 * Replaces the words below a node.
 * @param {ParentNode} root
 */
export function apply(root) {
  for (const element of root.querySelectorAll("[data-phrase]")) {
    element.dataset.words ??= element.textContent ?? "";
    element.textContent = phrase(element.dataset.phrase ?? "", element.dataset.words);
  }
}
