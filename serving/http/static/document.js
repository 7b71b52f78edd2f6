// The page of one document: its whole text, with a passage set off when the address names one.

import { get } from "./api.js";
import { DocumentText, renderAll } from "./blocks.js";
import { contentOf } from "./contents.js";
import { fill, h, icon, toast } from "./dom.js";
import { startShell } from "./shell.js";
import { explanationLines, isOnItsWay, jobWords, reindex, stateBadge } from "./states.js";
import { day, languageName, size, typeIcon, typeName } from "./text.js";

const byId = (id) => document.getElementById(id);
const documentId = decodeURIComponent(location.pathname.split("/").at(-1));
const address = `/documents/${encodeURIComponent(documentId)}`;
const CHUNKS = 200;

let run = 0;
let text = null;
let parent = null;

async function load() {
  const mine = (run += 1);
  try {
    const item = await get(address);
    if (mine !== run) return;
    document.title = `${item.title} · Refdesk`;
    parent = item.parent_id ? await get(`/documents/${encodeURIComponent(item.parent_id)}`).catch(() => null) : null;
    if (mine !== run) return;
    showHead(item);
    await loadText(item, mine);
  } catch (problem) {
    if (mine === run) showProblem(problem);
  }
  if (mine === run) byId("text").setAttribute("aria-busy", "false");
}

async function loadText(item, mine) {
  if (item.warnings.includes("container")) {
    const words = "This file has no text of its own. What was found in it stands in documents of their own.";
    const href = `/documents?q=${encodeURIComponent(`${item.external_id}!/`)}`;
    fill(byId("text"), h("div", { class: "notice" }, icon("info"), h("p", {}, words, " ", h("a", { href }, "See them"))));
    return;
  }
  if (!item.version) {
    fill(byId("text"), notYet(item));
    return;
  }
  const [content, extent] = await Promise.all([contentOf(documentId), extentOf(location.hash)]);
  if (mine !== run) return;
  text = new DocumentText(content, item.media_type);
  showOutline();
  await showText(extent, mine, content.isWhole);
}

/* ---- the head ---- */

function showHead(item, job = null) {
  const facts = [typeName(item.media_type), languageName(item.language), size(item.size_bytes), item.version ? `version ${item.version}` : null];
  const ask = () => startReindex(item);
  const title = item.can_manage ? "Read the document again from its source" : "Only its owner may have it read again";
  const busy = Boolean(job) || isOnItsWay(item.state);
  fill(
    byId("viewer-head"),
    h(
      "div",
      { class: "viewer-title" },
      h("h1", { dir: "auto" }, item.title),
      h("button", { class: "button", type: "button", id: "reindex", title, disabled: !item.can_manage || busy, onclick: ask }, icon("refresh", true), "Re-index"),
    ),
    h(
      "div",
      { class: "viewer-facts" },
      job ? h("span", { class: "badge busy" }, jobWords(job, item)) : stateBadge(item.state),
      item.superseded_by ? h("span", { class: "badge warn" }, `Superseded by ${item.superseded_by}`) : null,
      item.tags.map((tag) => h("span", { class: "tag" }, tag)),
      labelBadges(item),
    ),
    h(
      "div",
      { class: "viewer-facts" },
      icon(typeIcon(item.media_type), true),
      facts.filter(Boolean).map((fact) => h("span", { class: "fact" }, fact)),
      h("span", { class: "fact" }, "modified ", day(item.modified_at)),
      h("span", { class: "fact" }, `owner ${item.owner}`),
      parent ? h("span", { class: "fact", dir: "auto", id: "parent" }, "in ", h("a", { href: `/documents/${encodeURIComponent(parent.id)}` }, parent.title)) : null,
      h("span", { class: "fact", dir: "auto" }, item.external_id),
    ),
    item.explanation && !job ? trouble(item) : null,
  );
}

/** What its labels mean for readers: one badge for each name, whoever set it. */
function labelBadges(item) {
  const names = new Set(item.labels.map(({ name }) => name));
  const shown = [];
  if (names.has("no-ai")) shown.push(h("span", { class: "badge warn" }, "Not for AI: found, never answered from"));
  if (item.held) shown.push(h("span", { class: "badge warn" }, "On hold"));
  if (item.kept_until && !item.held) shown.push(h("span", { class: "badge" }, "Kept until ", day(item.kept_until)));
  if (item.warnings.includes("unknown_retention_class")) shown.push(h("span", { class: "badge warn" }, "Class of retention without a period"));
  return shown;
}

function trouble(item) {
  const said = item.error_code ? h("p", { class: "problem-facts" }, item.error_message, " ", h("code", {}, item.error_code)) : null;
  const words = h("div", {}, explanationLines(item.explanation), said);
  return h("div", { class: item.explanation.is_trouble ? "notice bad" : "notice" }, icon(item.explanation.is_trouble ? "alert" : "info"), words);
}

async function startReindex(item) {
  showHead(item, { state: "queued" });
  try {
    const job = await reindex(documentId, (progress) => showHead(item, progress));
    toast(job.state === "done" ? "Re-indexed" : job.error_message || `Re-indexing: ${job.state}`);
  } catch (problem) {
    toast(problem.message);
  }
  await load();
  byId("reindex")?.focus({ preventScroll: true });
}

/* ---- the text ---- */

/** The span of the chunk that an address's fragment names, null when it names none of this version. */
async function extentOf(fragment) {
  const chunkId = /^#c-(.+)$/.exec(decodeURIComponent(fragment))?.[1];
  if (!chunkId) return null;
  for (let start = 0; ; ) {
    const { chunks, next_start: next } = await get(`${address}/chunks`, { start, limit: CHUNKS });
    const chunk = chunks.find((other) => other.chunk_id === chunkId);
    if (chunk) return [chunk.start, chunk.end];
    if (next === null) return [];
    start = next;
  }
}

async function showText(extent, mine, isWhole) {
  const container = byId("text");
  container.replaceChildren();
  if (!isWhole) {
    const words = "Only parts of this document are shared with you. These are all that you may read.";
    container.append(h("div", { class: "notice", id: "parts-only" }, icon("lock"), h("p", {}, words)));
  }
  const isStale = extent?.length === 0;
  if (isStale) {
    const words = "The passage that this address points to is from another version of the document.";
    container.append(h("div", { class: "notice warn" }, icon("info"), h("p", {}, words)));
  }
  const span = extent?.length ? extent : null;
  await renderAll(container, text, {
    spans: span ? [span] : [],
    extent: span ?? [0, 0],
    until: span ? text.blockAt(span[1] - 1) : 0,
    isCurrent: () => mine === run,
  });
  if (!span) return;
  const mark = container.querySelector("mark");
  if (!mark) return;
  mark.tabIndex = -1;
  mark.scrollIntoView({ block: "center", behavior: "instant" });
  mark.focus({ preventScroll: true });
}

function showOutline() {
  const headings = text.headings().filter(({ level }) => level <= 2).slice(0, 200);
  const outline = byId("outline");
  outline.hidden = headings.length < 3;
  if (outline.hidden) return;
  const links = headings.map(({ index, level, text: words }) => {
    const onclick = (event) => {
      event.preventDefault();
      byId("text").querySelector(`[data-block="${index}"]`)?.scrollIntoView({ block: "start" });
    };
    return h("li", { class: level > 1 ? "deep" : null }, h("a", { href: "#text", onclick, dir: "auto" }, words));
  });
  fill(outline, h("h2", {}, "Contents"), h("ul", {}, links));
}

function notYet(item) {
  const words = isOnItsWay(item.state) ? "This document is being read. Its text appears here as soon as it is live." : "This document has no text that could be shown.";
  if (isOnItsWay(item.state)) setTimeout(load, 1500);
  return h("div", { class: "notice" }, icon("info"), h("p", {}, words));
}

function showProblem(problem) {
  const gone = problem.status === 404;
  fill(byId("viewer-head"));
  byId("outline").hidden = true;
  const words = gone ? "There is no such document, or it is not shared with you." : problem.hint;
  fill(
    byId("text"),
    h(
      "div",
      { class: "blank" },
      icon(gone ? "lock" : "alert"),
      h("h2", {}, gone ? "Nothing here that you may read" : problem.message),
      h("p", { class: "quiet" }, words),
      gone ? h("a", { class: "button", href: "/documents" }, "See all documents") : h("button", { class: "button", type: "button", onclick: load }, "Try again"),
    ),
  );
}

addEventListener("hashchange", load);
startShell({ focusBox: () => location.assign("/search") });
load();
