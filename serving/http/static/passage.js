// The side panel (a dialog on phones): a passage in its document, and the way to the next one.

import { DocumentText } from "./blocks.js";
import { contentOf } from "./contents.js";
import { append, fill, h, isTyping } from "./dom.js";
import { day, documentAddress, pageName, pathText } from "./text.js";

const BEFORE = 8;
const AFTER = 24;
const MORE = 40;

const wide = matchMedia("(min-width: 1080px)");
const part = (name) => document.getElementById(`passage-${name}`);
const dialog = document.getElementById("passage");

let passages = [];
let current = -1;
let onShow = () => {};
let opener = null;
let turn = 0;

/**
 * Opens the panel on one of several passages.
 *
 * A passage is `{documentId, chunkId, title, headingPath, page, mediaType, modifiedAt, superseded, label, quote,
 * start, end, marks, others}`: `quote` stands at `[start, end)` of the document's text, `marks` are spans within
 * the quote, the whole of it when left out; `others` are further quotes of the same place. `shown(index)` hears which passage is looked at, -1 when none is.
 */
export function openPassage(list, index, shown = () => {}) {
  if (onShow !== shown) onShow(-1);
  if (!dialog.open) opener = document.activeElement;
  passages = list;
  onShow = shown;
  if (!dialog.open) openDialog();
  show(index);
  part("title").focus({ preventScroll: true });
}

/** Closes the panel and gives the keyboard back to where it came from. */
export function closePassage() {
  if (!dialog.open) return;
  turn += 1;
  dialog.close();
}

/** Whether the panel is open. */
export function isPassageOpen() {
  return dialog.open;
}

function openDialog() {
  if (wide.matches) {
    document.body.classList.add("has-passage");
    dialog.show();
  } else {
    dialog.showModal();
  }
}

async function show(index) {
  if (index < 0 || index >= passages.length) return;
  current = index;
  const passage = passages[index];
  const mine = (turn += 1);
  onShow(index);
  showHead(passage);
  const container = part("text");
  container.setAttribute("aria-busy", "true");
  try {
    const content = await contentOf(passage.documentId);
    if (mine === turn) showText(container, passage, new DocumentText(content, passage.mediaType));
  } catch (problem) {
    if (mine === turn) showProblem(container, passage, problem);
  }
  if (mine === turn) container.removeAttribute("aria-busy");
}

function showHead(passage) {
  fill(part("title"), passage.title);
  const place = passages.length > 1 ? ` · ${current + 1} of ${passages.length}` : "";
  fill(part("place"), passage.label, place);
  const facts = [
    pathText(passage.headingPath, passage.title),
    pageName(passage.page, passage.mediaType),
    passage.modifiedAt ? day(passage.modifiedAt) : "",
  ];
  fill(
    part("meta"),
    facts.filter(Boolean).map((fact) => h("span", { class: "fact" }, fact)),
    passage.superseded ? h("span", { class: "badge warn" }, "Superseded") : null,
  );
  part("open").href = documentAddress(passage.documentId, passage.chunkId);
  part("prev").disabled = current === 0;
  part("next").disabled = current === passages.length - 1;
}

function showText(container, passage, text) {
  const extent = text.locate(passage.quote, passage.start, passage.end);
  if (!extent) {
    const changed = "This document has changed since, and these words are no longer in it as they were:";
    fill(container, h("p", { class: "notice" }, changed), h("blockquote", {}, passage.quote));
    return;
  }
  const others = (passage.others ?? []).map((other) => text.locate(other.quote, other.start, other.end)).filter(Boolean);
  const spans = passage.marks?.map(([start, end]) => [extent[0] + start, extent[0] + end]) ?? [extent, ...others];
  const at = text.blockAt(extent[0]);
  let from = Math.max(0, at - BEFORE);
  let to = Math.min(text.blocks.length, text.blockAt(extent[1] - 1) + AFTER);
  const draw = () => {
    const earlier = from > 0 ? more("Show what comes before", growUp) : null;
    const later = to < text.blocks.length ? more("Show more", growDown) : null;
    fill(container, earlier, text.render(from, to, spans, extent), later);
  };
  const growUp = () => {
    const below = container.scrollHeight - container.scrollTop;
    from = Math.max(0, from - MORE);
    draw();
    container.scrollTop = container.scrollHeight - below;
    container.focus({ preventScroll: true });
  };
  const growDown = () => {
    const above = container.scrollTop;
    to += MORE;
    draw();
    container.scrollTop = above;
    container.focus({ preventScroll: true });
  };
  draw();
  const mark = container.querySelector("mark") ?? container.querySelector(".within");
  if (!mark) return;
  const below = mark.getBoundingClientRect().top - container.getBoundingClientRect().top;
  container.scrollTop += below - container.clientHeight / 4;
}

function more(label, grow) {
  return h("button", { class: "text-button more", type: "button", onclick: grow }, label);
}

function showProblem(container, passage, problem) {
  const gone = problem.status === 404;
  const title = gone ? "This document is not there any more, or you may no longer read it." : problem.message;
  fill(container, h("p", { class: "notice warn" }, title), gone ? null : h("p", { class: "quiet" }, problem.hint));
  if (!gone) append(container, [h("button", { class: "button", type: "button", onclick: () => show(current) }, "Try again")]);
}

function step(by) {
  const next = current + by;
  if (next < 0 || next >= passages.length) return;
  show(next);
}

part("prev").addEventListener("click", () => step(-1));
part("next").addEventListener("click", () => step(1));
part("close").addEventListener("click", closePassage);
dialog.addEventListener("close", () => {
  turn += 1;
  document.body.classList.remove("has-passage");
  onShow(-1);
  onShow = () => {};
  (opener?.isConnected ? opener : null)?.focus({ preventScroll: true });
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog && dialog.matches(":modal")) closePassage();
});
document.addEventListener("keydown", (event) => {
  if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    event.preventDefault();
    closePassage();
  } else if (!isTyping() && (event.key === "j" || event.key === "ArrowRight")) {
    event.preventDefault();
    event.stopImmediatePropagation();
    step(1);
  } else if (!isTyping() && (event.key === "k" || event.key === "ArrowLeft")) {
    event.preventDefault();
    event.stopImmediatePropagation();
    step(-1);
  }
});
