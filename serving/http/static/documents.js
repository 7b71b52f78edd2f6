// The page Documents: what is indexed, what went wrong, and having a document read again.

import { get, post, sourceNames } from "./api.js";
import { tabbed } from "./answer.js";
import { fill, h, icon, toast } from "./dom.js";
import { startShell, walkWithKeys } from "./shell.js";
import { count, day, documentAddress, languageName, moment, size, typeIcon, typeName } from "./text.js";
import { explanationLines, follow, isOnItsWay, jobWords, ORDER, reindex, stateBadge } from "./states.js";

const PAGE = 50;
const FAST_MS = 1200;
const SLOW_MS = 15000;

const byId = (id) => document.getElementById(id);
const rows = byId("rows");

const shown = { cursors: [""], items: [], next: null, counts: {} };
const expanded = new Map();
const jobs = new Map();
let timer = 0;
let drawn = "";
let run = 0;

/* ---- the address holds the filters ---- */

function filters() {
  const address = new URLSearchParams(location.search);
  return { state: address.get("state") ?? "", q: address.get("q") ?? "", mine: address.get("mine") === "1" };
}

function narrow(change, { replace = false } = {}) {
  const { state, q, mine } = { ...filters(), ...change };
  const address = new URLSearchParams();
  if (q) address.set("q", q);
  if (state) address.set("state", state);
  if (mine) address.set("mine", "1");
  const target = address.size ? `?${address}` : location.pathname;
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  shown.cursors = [""];
  expanded.clear();
  load();
}

/* ---- loading and keeping up ---- */

async function load() {
  clearTimeout(timer);
  const mine = (run += 1);
  const { state, q, mine: onlyMine } = filters();
  byId("filter-mine").checked = onlyMine;
  if (document.activeElement !== byId("filter-text")) byId("filter-text").value = q;
  try {
    const pages = await Promise.all(
      shown.cursors.map((cursor) => get("/documents", { state, q, mine: onlyMine ? "true" : "", limit: PAGE, cursor })),
    );
    if (mine !== run) return;
    shown.items = pages.flatMap((page) => page.documents);
    shown.next = pages.at(-1).next_cursor ?? null;
    shown.counts = pages[0].counts;
    draw();
  } catch (problem) {
    if (mine !== run) return;
    showProblem(problem);
  }
  const busy = Object.entries(shown.counts).some(([name, n]) => n && isOnItsWay(name)) || jobs.size > 0;
  timer = setTimeout(load, document.hidden ? SLOW_MS : busy ? FAST_MS : SLOW_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) load();
});

/* ---- drawing ---- */

function draw() {
  drawCounts();
  drawOverall();
  // What has not changed is left alone: nothing jumps, and the keyboard stays where it is.
  const picture = JSON.stringify([shown.items, shown.next, [...jobs], [...expanded.keys()], filters()]);
  if (picture === drawn) return;
  drawn = picture;
  const focused = document.activeElement?.id;
  fill(rows, shown.items.map(documentRows));
  if (focused) byId(focused)?.focus({ preventScroll: true });
  fill(byId("documents-empty"), shown.items.length ? null : emptyState());
  byId("documents").parentElement.hidden = !shown.items.length;
  const more = () => {
    shown.cursors.push(shown.next);
    load();
  };
  const total = totalOf(filters().state);
  fill(
    byId("paging"),
    shown.next ? [h("span", {}, `${shown.items.length} of ${total}`), h("button", { class: "button", id: "more", type: "button", onclick: more }, "Show more")] : null,
  );
}

function totalOf(state) {
  if (state) return shown.counts[state] ?? 0;
  return Object.values(shown.counts).reduce((sum, n) => sum + n, 0);
}

function drawCounts() {
  const { state, mine } = filters();
  const live = shown.counts.live ?? 0;
  const all = totalOf("");
  fill(byId("documents-summary"), all ? `${live.toLocaleString()} of ${count(all, "document")} ${mine ? "of yours " : ""}ready to answer from` : "");
  const chips = [["", "All", all], ...ORDER.map((name) => [name, stateBadge(name).textContent, shown.counts[name] ?? 0])];
  const visible = chips.filter(([name, , n]) => n || name === "" || name === state);
  drawAgain();
  const focused = document.activeElement?.id;
  fill(
    byId("state-chips"),
    visible.map(([name, label, n]) =>
      h(
        "button",
        { class: "chip", type: "button", id: `chip-${name || "all"}`, "aria-pressed": String(name === state), onclick: () => narrow({ state: name }) },
        label,
        h("span", { class: "amount" }, n.toLocaleString()),
      ),
    ),
  );
  if (focused?.startsWith("chip-")) byId(focused)?.focus({ preventScroll: true });
}

/** The button that has everything read again that failed, where there is such a thing. */
function drawAgain() {
  const failed = (shown.counts.failed ?? 0) + (shown.counts.quarantined ?? 0);
  byId("reindex-failed").hidden = !failed;
}

byId("reindex-failed").addEventListener("click", async () => {
  byId("reindex-failed").disabled = true;
  try {
    const { job, queued } = await post("/documents/reindex", { only_failed: true });
    toast(queued ? `Reading ${count(queued, "document")} again` : "Nothing of yours failed");
    load();
    const done = await follow(job, () => {});
    if (queued) toast(`Read again: ${done.documents.live} live, ${done.documents.failed} failed`);
  } catch (problem) {
    toast(problem.message);
  }
  byId("reindex-failed").disabled = false;
  load();
});

function drawOverall() {
  const waiting = Object.entries(shown.counts).reduce((sum, [name, n]) => sum + (isOnItsWay(name) ? n : 0), 0);
  const all = totalOf("");
  byId("overall").hidden = !waiting;
  if (!waiting) return;
  fill(byId("overall-text"), `Indexing: ${(all - waiting).toLocaleString()} of ${count(all, "document")} done`);
  byId("overall-bar").max = all;
  byId("overall-bar").value = all - waiting;
}

function documentRows(item) {
  return [mainRow(item), troubleRow(item), expanded.has(item.id) ? expanded.get(item.id) : null];
}

function mainRow(item) {
  const isOpen = expanded.has(item.id);
  const toggle = h(
    "button",
    {
      class: `icon-button${isOpen ? " expanded" : ""}`,
      type: "button",
      id: `more-${item.id}`,
      "aria-expanded": String(isOpen),
      "aria-label": `Details of ${item.title}`,
      title: "Details, versions and history",
      onclick: () => expand(item),
    },
    icon("expand"),
  );
  return h(
    "tr",
    { class: "row" },
    h(
      "td",
      {},
      h(
        "div",
        { class: "document-cell" },
        icon(typeIcon(item.media_type)),
        h(
          "div",
          { class: "document-name" },
          h("a", { href: documentAddress(item.id), id: `open-${item.id}`, dir: "auto" }, item.title),
          h("span", { class: "document-path", dir: "auto" }, item.external_id),
        ),
      ),
    ),
    h("td", {}, stateCell(item)),
    h("td", { class: "owner-column" }, item.owner),
    h("td", { class: "date-column" }, day(item.modified_at)),
    h("td", {}, h("div", { class: "row-actions" }, reindexButton(item), toggle)),
  );
}

function stateCell(item) {
  const job = jobs.get(item.id);
  const state = job && !isOnItsWay(item.state) ? "queued" : item.state;
  const steps = isOnItsWay(state) ? progressSteps(state) : null;
  const words = job ? h("span", { class: "badge busy" }, jobWords(job, item)) : stateBadge(item.state);
  const superseded = item.superseded_by && item.state === "live" && !job ? h("span", { class: "badge warn" }, "Superseded") : null;
  return h("div", { class: "state-cell" }, words, steps ?? superseded);
}

const STEPS = ["queued", "fetching", "parsing", "embedding", "indexing"];

function progressSteps(state) {
  const at = STEPS.indexOf(state);
  const steps = STEPS.map((_, index) => h("span", { class: index <= at ? "done" : null }));
  return h("div", { class: "steps", role: "img", "aria-label": `Step ${at + 1} of ${STEPS.length}` }, steps);
}

function reindexButton(item) {
  const busy = jobs.has(item.id) || isOnItsWay(item.state);
  const title = item.can_manage ? "Read the document again from its source" : "Only its owner may have it read again";
  const ask = () => startReindex(item);
  const props = {
    class: "button",
    type: "button",
    id: `reindex-${item.id}`,
    "aria-label": `Re-index ${item.title}`,
    title,
    disabled: !item.can_manage || busy,
    onclick: ask,
  };
  return h("button", props, icon("refresh", true), h("span", {}, "Re-index"));
}

async function startReindex(item) {
  jobs.set(item.id, { state: "queued" });
  draw();
  try {
    const outcome = await reindex(item.id, (job) => {
      jobs.set(item.id, job);
      draw();
    });
    toast(outcome.state === "done" ? `Re-indexed: ${item.title}` : `Re-indexing ${item.title}: ${outcome.error_message || outcome.state}`);
  } catch (problem) {
    toast(problem.message);
  }
  jobs.delete(item.id);
  if (expanded.has(item.id)) expanded.set(item.id, detailsRow(item));
  load();
}

function troubleRow(item) {
  if (!item.explanation?.is_trouble || jobs.has(item.id)) return null;
  const said = item.error_code ? h("p", { class: "problem-facts" }, item.error_message, " ", h("code", {}, item.error_code)) : null;
  const words = h("div", {}, explanationLines(item.explanation), said);
  return h("tr", { class: "trouble" }, h("td", { colspan: "5" }, h("div", { class: "notice bad" }, icon("alert"), words)));
}

/* ---- details of one document ---- */

function expand(item) {
  if (expanded.has(item.id)) expanded.delete(item.id);
  else expanded.set(item.id, detailsRow(item));
  draw();
}

function detailsRow(item) {
  const versions = h("div", { "aria-busy": "true" }, h("p", { class: "quiet" }, "Loading"));
  const history = h("div", { "aria-busy": "true" }, h("p", { class: "quiet" }, "Loading"));
  const details = h("div");
  sourceNames().then((names) => fill(details, facts(item, names)));
  const tabs = tabbed([["Details", null, details], ["Versions", null, versions], ["History", null, history]], `About ${item.title}`);
  loadHistory(item, versions, history);
  return h("tr", { class: "more-row" }, h("td", { colspan: "5" }, tabs));
}

function facts(item, names) {
  const entries = [
    ["Type", typeName(item.media_type)],
    ["Source", names[item.source_id] ?? item.source_id],
    ["Path", item.external_id],
    ["Language", languageName(item.language)],
    ["Size", size(item.size_bytes)],
    ["Owner", item.owner],
    ["Tags", item.tags.length ? item.tags.join(", ") : "none"],
    ["Version", item.version ?? "none yet"],
    item.warnings.length ? ["Warnings", item.warnings.join(", ")] : null,
    item.superseded_by ? ["Superseded by", item.superseded_by] : null,
    item.acl ? ["Readable by", item.acl.allow.map((name) => name.replace(/^group:/, "")).join(", ") || "its owner only"] : null,
  ].filter(Boolean);
  return h("dl", { class: "fact-grid" }, entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { dir: "auto" }, String(value)))));
}

async function loadHistory(item, versions, history) {
  try {
    const record = await get(`/documents/${encodeURIComponent(item.id)}/history`);
    fill(versions, versionList(record.versions ?? []));
    fill(history, jobList(record.jobs ?? []));
  } catch (problem) {
    fill(versions, h("p", { class: "quiet" }, problem.message));
    fill(history, h("p", { class: "quiet" }, problem.message));
  }
  for (const part of [versions, history]) part.removeAttribute("aria-busy");
}

function versionList(versions) {
  if (!versions.length) return h("p", { class: "quiet" }, "No version has gone live yet.");
  return h("ul", { class: "timeline" }, versions.map((version) =>
    h(
      "li",
      {},
      h("strong", {}, `Version ${version.number}`),
      version.replaced_at ? null : h("span", { class: "badge good" }, "Live"),
      h("span", { class: "quiet" }, moment(version.live_at)),
      h("span", { class: "quiet" }, [size(version.size_bytes), version.n_chunks !== null && count(version.n_chunks, "passage")].filter(Boolean).join(", ")),
      h("span", { class: "quiet" }, [version.reason, version.requested_by && `asked by ${version.requested_by}`].filter(Boolean).join(", ")),
    ),
  ));
}

function jobList(list) {
  if (!list.length) return h("p", { class: "quiet" }, "Nothing is on record yet.");
  return h("ul", { class: "timeline" }, list.map((job) =>
    h(
      "li",
      {},
      h("strong", {}, job.kind === "index" ? "Indexing" : job.kind),
      stateBadge(job.state),
      h("span", { class: "quiet" }, moment(job.finished_at ?? job.started_at ?? job.created_at)),
      h("span", { class: "quiet" }, [job.reason, job.requested_by && `asked by ${job.requested_by}`].filter(Boolean).join(", ")),
      job.error_code ? h("span", {}, h("code", {}, job.error_code), " ", job.error_message) : null,
    ),
  ));
}

/* ---- nothing to show ---- */

function emptyState() {
  const { state, q, mine } = filters();
  const all = () => narrow({ state: "", q: "", mine: false });
  if (state || q || mine) {
    return h("div", { class: "blank" }, icon("nothing"), h("h2", {}, "No document matches"), h("button", { class: "button", type: "button", onclick: all }, "Show all documents"));
  }
  return h("div", { class: "blank" }, icon("page"), h("h2", {}, "No documents yet"), h("p", { class: "quiet" }, "As soon as a source is indexed, the documents that you may read appear here."));
}

function showProblem(problem) {
  const words = h("div", {}, h("p", { class: "notice-title" }, problem.message), h("p", {}, problem.hint), h("button", { class: "button", type: "button", onclick: load }, "Try again"));
  fill(byId("documents-empty"), h("div", { class: "notice bad", role: "alert" }, icon("alert"), words));
  drawn = "";
}

/* ---- the filters ---- */

let typing = 0;
byId("filter-text").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => narrow({ q: event.target.value.trim() }, { replace: true }), 200);
});
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filter-mine").addEventListener("change", (event) => narrow({ mine: event.target.checked }));
addEventListener("popstate", () => {
  shown.cursors = [""];
  expanded.clear();
  load();
});
walkWithKeys(() => [...rows.querySelectorAll(".document-name a")]);
startShell({ focusBox: () => byId("filter-text").select() });
load();
