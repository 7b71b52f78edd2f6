// The page Sources: where documents come from, how fresh they are, and bringing them up to date.

import { get, patch, post } from "./api.js";
import { fill, h, icon, toast } from "./dom.js";
import { startShell } from "./shell.js";
import { explanationLines, follow, stateBadge } from "./states.js";
import { count, moment } from "./text.js";

const SLOW_MS = 10000;
const SIGNS = { added: "Added", modified: "Changed", touched: "Access or facts changed", deleted: "Gone", expired: "Over its period, left out" };

const byId = (id) => document.getElementById(id);
const busy = new Map();
const diffs = new Map();
const runs = new Map();
let listed = [];
let drawn = "";
let timer = 0;

async function load() {
  clearTimeout(timer);
  try {
    ({ sources: listed } = await get("/sources"));
    draw();
  } catch (problem) {
    const words = h("div", {}, h("p", { class: "notice-title" }, problem.message), h("p", {}, problem.hint));
    fill(byId("sources"), h("div", { class: "notice bad", role: "alert" }, icon("alert"), words));
    drawn = "";
  }
  byId("sources").setAttribute("aria-busy", "false");
  timer = setTimeout(load, SLOW_MS);
}

function draw() {
  const picture = JSON.stringify([listed, [...busy], [...diffs], [...runs]]);
  if (picture === drawn || document.activeElement?.matches("#sources input")) return;
  drawn = picture;
  const focused = document.activeElement?.id;
  fill(byId("sources-summary"), count(listed.length, "source"));
  fill(byId("sources"), listed.length ? listed.map(card) : blank());
  if (focused) byId(focused)?.focus({ preventScroll: true });
}

function blank() {
  return h("div", { class: "blank" }, icon("page"), h("h2", {}, "No sources yet"), h("p", { class: "quiet" }, "An administrator adds them with refdesk sources add."));
}

function card(source) {
  const job = busy.get(source.id);
  return h(
    "section",
    { class: "source", "aria-label": source.name },
    h("div", { class: "page-head" }, h("h2", { dir: "auto" }, source.name), h("div", { class: "row-actions" }, badges(source), source.can_manage ? actions(source, Boolean(job)) : null)),
    h("dl", { class: "fact-grid" }, facts(source).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { dir: "auto" }, String(value))))),
    job ? progress(job) : null,
    source.explanation?.is_trouble ? h("div", { class: "notice bad" }, icon("alert"), h("div", {}, explanationLines(source.explanation), source.error_message ? h("p", { class: "problem-facts" }, source.error_message) : null)) : null,
    source.unknown_groups.length ? h("div", { class: "notice" }, icon("alert"), h("div", {}, h("p", { class: "notice-title" }, "Access lists name groups that nobody knows"), h("p", { dir: "auto" }, `They match nobody until they are in the directory: ${source.unknown_groups.join(", ")}`))) : null,
    diffs.has(source.id) ? difference(diffs.get(source.id)) : null,
    runs.has(source.id) ? runList(runs.get(source.id)) : null,
  );
}

function badges(source) {
  return [
    source.paused_at ? h("span", { class: "badge warn" }, "Paused") : null,
    source.overdue ? h("span", { class: "badge bad" }, "Overdue") : null,
    source.acl_state === "outdated" ? h("span", { class: "badge bad" }, "Shown to nobody") : null,
    source.acl_state === "ageing" ? h("span", { class: "badge warn" }, "Permissions ageing") : null,
  ];
}

function facts(source) {
  const states = Object.entries(source.documents_by_state).filter(([, n]) => n);
  const target = source.freshness_s ? ` (at most ${span(source.freshness_s)})` : "";
  return [
    ["Kind", source.kind],
    ["Documents", states.map(([state, n]) => `${n.toLocaleString()} ${state}`).join(", ") || "none"],
    source.is_read ? ["Age", `${source.age_s === null ? "never synced" : span(source.age_s)}${target}`] : null,
    source.sync_every_s ? ["Synced every", span(source.sync_every_s)] : null,
    source.next_sync_at ? ["Next sync", moment(source.next_sync_at)] : null,
    source.is_read ? ["Permissions", permissions(source)] : null,
    source.acl_every_s ? ["Refreshed every", span(source.acl_every_s)] : null,
    ["Owner", source.owner],
    source.location ? ["Location", source.location] : null,
  ].filter(Boolean);
}

/** How old it is what the desk knows of who may read what. */
function permissions(source) {
  const bound = source.acl_max_age_s ? ` (at most ${span(source.acl_max_age_s)})` : "";
  return (source.acl_age_s === null ? "never confirmed" : `${span(source.acl_age_s)} old`) + bound;
}

function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

function actions(source, isBusy) {
  const button = (name, words, onclick, disabled = false) =>
    h("button", { class: "button", type: "button", id: `${name}-${source.id}`, "aria-label": `${words}: ${source.name}`, disabled: disabled || isBusy, onclick }, words);
  const held = Boolean(source.paused_at);
  return [
    source.is_read ? button("sync", "Sync now", () => sync(source, false), held) : null,
    source.is_read ? button("dry", "What would change", () => sync(source, true), held) : null,
    button("again", "Re-index", () => reindexAll(source), held),
    button("pause", held ? "Resume" : "Pause", () => pause(source, !held)),
    source.is_read ? button("runs", "Runs", () => showRuns(source)) : null,
  ];
}

function progress(job) {
  const documents = job.documents;
  const total = documents ? documents.live + documents.failed + documents.cancelled + documents.unfinished : 0;
  const done = total ? total - documents.unfinished : job.done;
  const words = total ? `Indexing: ${done} of ${count(total, "document")}` : job.total ? `Comparing: ${job.done} of ${job.total}` : "Comparing";
  const of = total || job.total;
  return h("div", { class: "overall" }, h("span", { role: "status" }, words), h("progress", { max: of || 1, value: of ? done : null, "aria-label": words }));
}

async function sync(source, dryRun) {
  diffs.delete(source.id);
  const job = await doing(source, () => post(`/sources/${encodeURIComponent(source.id)}/sync`, { dry_run: dryRun }));
  if (!job) return;
  if (dryRun && job.report.diff) diffs.set(source.id, job.report);
  else if (job.state === "done") toast(`${source.name}: ${outcome(job)}`);
  else toast(`${source.name}: ${job.error_message || job.state}`);
  if (runs.has(source.id)) await fetchRuns(source);
  load();
}

async function reindexAll(source) {
  const path = await askFolder(source);
  if (path === null) return;
  const job = await doing(source, () => post(`/sources/${encodeURIComponent(source.id)}/reindex`, { path }));
  if (job) toast(`${source.name}: ${Object.values(job.report).some((n) => n) ? outcome(job) : `no document is in ${path || "it"}`}`);
  load();
}

/** Asks which part of a source is meant. Resolves to a folder, "" for the whole source, null when it was called off. */
function askFolder(source) {
  const dialog = byId("again-dialog");
  byId("again-title").textContent = `Re-index ${source.name}`;
  byId("again-path").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  byId("again-path").focus();
  return new Promise((resolve) => {
    const close = () => resolve(dialog.returnValue === "again" ? byId("again-path").value.trim() : null);
    dialog.addEventListener("close", close, { once: true });
  });
}

/** Asks for work on a source and shows how it comes along. Resolves to the finished job, null when it was refused. */
async function doing(source, ask) {
  busy.set(source.id, { done: 0, total: 0 });
  draw();
  try {
    const { job } = await ask();
    return await follow(job, (now) => {
      busy.set(source.id, now);
      draw();
    });
  } catch (problem) {
    toast(problem.message);
    return null;
  } finally {
    busy.delete(source.id);
    draw();
  }
}

async function pause(source, paused) {
  try {
    await patch(`/sources/${encodeURIComponent(source.id)}`, { paused });
  } catch (problem) {
    toast(problem.message);
  }
  load();
}

async function showRuns(source) {
  if (runs.has(source.id)) runs.delete(source.id);
  else await fetchRuns(source);
  draw();
}

async function fetchRuns(source) {
  try {
    runs.set(source.id, (await get(`/sources/${encodeURIComponent(source.id)}/runs`, { limit: 10 })).jobs);
  } catch (problem) {
    toast(problem.message);
  }
}

function outcome(job) {
  const numbers = Object.entries(job.report).filter(([, n]) => typeof n === "number" && n);
  const failed = job.documents?.failed ? `, ${job.documents.failed} failed` : "";
  return (numbers.map(([what, n]) => `${n} ${what.replace("_", " ")}`).join(", ") || "nothing changed") + failed;
}

function runList(list) {
  if (!list.length) return h("p", { class: "quiet" }, "It was never synced.");
  const lines = list.map((job) =>
    h("li", {}, h("strong", {}, moment(job.created_at)), stateBadge(job.is_over || job.state !== "done" ? job.state : "running"), h("span", {}, outcome(job)), h("span", { class: "quiet" }, `${job.reason}, asked by ${job.requested_by}`), job.error_code ? h("code", {}, job.error_code) : null),
  );
  return h("ul", { class: "timeline", "aria-label": "Syncs" }, lines);
}

function difference(report) {
  const parts = Object.entries(report.diff).filter(([, names]) => names.length);
  if (!parts.length) return h("div", { class: "notice" }, icon("info"), h("p", {}, "Nothing would change."));
  return h("div", { class: "notice diff" }, icon("info"), h("div", {}, parts.map(([what, names]) => [
    h("p", { class: "notice-title" }, `${SIGNS[what]}: ${report[what].toLocaleString()}`),
    h("ul", {}, names.map((name) => h("li", { dir: "auto" }, name)), report[what] > names.length ? h("li", { class: "quiet" }, `and ${(report[what] - names.length).toLocaleString()} more`) : null),
  ])));
}

startShell({ focusBox: () => location.assign("/search") });
load();
