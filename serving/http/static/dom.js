// Builds elements. Text always goes in as text, with invisible and direction-changing characters neutralised.

const SVG = "http://www.w3.org/2000/svg";

// Characters that show nothing or reorder what is shown: bidi controls, zero-width ones, tags, variation
// selectors of the supplement, and control characters. https://trojansource.codes
const REORDERING = /[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g;
const INVISIBLE =
  /[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\u{e0000}-\u{e0fff}]/gu;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufff9-\ufffb]/g;
// Joiners have a use in some scripts and in emoji; elsewhere they only hide things.
const JOINER = /(?<![\p{Script=Arabic}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Malayalam}\p{Script=Sinhala}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Khmer}\p{Extended_Pictographic}\ufe0f])[\u200c\u200d]/gu;

/** Text that is safe to look at: what would reorder the line shows as "\ufffd", what is invisible is left out. */
export function neutralise(text) {
  return String(text)
    .replace(REORDERING, "\ufffd")
    .replace(CONTROL, "\ufffd")
    .replace(INVISIBLE, "")
    .replace(JOINER, "");
}

/** An element. `props` are attributes, `on…` listeners; children are elements, text or nothing. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : neutralise(value));
  }
  append(element, children);
  return element;
}

/** Adds children to an element: elements as they are, anything else as neutralised text. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child instanceof Node ? child : neutralise(child));
  }
  return element;
}

/** Replaces everything in an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** An icon of the sprite in the page; decoration only. */
export function icon(name, small = false) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", small ? "icon small" : "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Whether the keyboard goes to a field now, so that letters are not commands. */
export function isTyping() {
  const active = document.activeElement;
  return Boolean(active?.matches("textarea, select, [contenteditable], input:not([type=checkbox])"));
}

let toastTimer = 0;

/** Says something in passing at the bottom of the page; screen readers hear it too. */
export function toast(message) {
  const element = document.getElementById("toast");
  element.textContent = neutralise(message);
  element.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => element.classList.remove("shown"), 3500);
}
