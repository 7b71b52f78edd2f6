// The page Search. Its address holds the query and the chosen facets, so that it can be shared and gone back to.

import { post, sourceNames } from "./api.js";
import { passageOf } from "./answer.js";
import { fill, h, icon } from "./dom.js";
import { isPassageOpen, openPassage } from "./passage.js";
import { startShell, walkWithKeys } from "./shell.js";
import { count, day, documentAddress, duration, languageName, markInto, pageName, pathText, typeIcon, typeName } from "./text.js";

const LIMIT = 20;
const FACETS = [
  { name: "source", filter: "sources", title: "Source", show: (value, names) => names[value] ?? value },
  { name: "type", filter: "media_types", title: "Type", show: typeName },
  { name: "language", filter: "languages", title: "Language", show: languageName },
  { name: "tag", filter: "tags", title: "Tag", show: (value) => value },
];

const byId = (id) => document.getElementById(id);
const box = byId("query");
let control = new AbortController();

/* ---- the address ---- */

function stateOfAddress() {
  const address = new URLSearchParams(location.search);
  const chosen = Object.fromEntries(FACETS.map(({ name }) => [name, address.getAll(name)]));
  return { query: address.get("q") ?? "", as: address.get("as") ?? "", chosen, limit: Number(address.get("n")) || LIMIT };
}

function addressOf({ query, as, chosen, limit }) {
  const address = new URLSearchParams();
  if (query) address.set("q", query);
  if (as) address.set("as", as);
  for (const { name } of FACETS) for (const value of chosen[name]) address.append(name, value);
  if (limit > LIMIT) address.set("n", limit);
  return address.size ? `?${address}` : location.pathname;
}

function go(state) {
  history.pushState(null, "", addressOf(state));
  run();
}

/* ---- searching ---- */

function filtersOf(chosen, without) {
  const filters = {};
  for (const { name, filter } of FACETS) if (name !== without && chosen[name].length) filters[filter] = chosen[name];
  return filters;
}

async function run() {
  const state = stateOfAddress();
  box.value = state.query;
  byId("preview-user").value = state.as;
  if (state.as) byId("preview-part").open = true;
  byId("preview-banner").hidden = true;
  document.title = `${state.query || "Search"} · Refdesk`;
  control.abort();
  control = new AbortController();
  const { signal } = control;
  if (!state.query.trim()) {
    showBlank();
    return;
  }
  byId("hits").setAttribute("aria-busy", "true");
  try {
    const [path, who] = state.as ? ["/search/preview", { user_id: state.as }] : ["/search", {}];
    const ask = (without, limit) => post(path, { ...who, query: state.query, limit, filters: filtersOf(state.chosen, without) }, { signal });
    const narrowed = FACETS.filter(({ name }) => state.chosen[name].length);
    const asked = [ask("", state.limit), ...narrowed.map(({ name }) => ask(name, 1))];
    const [names, result, ...others] = await Promise.all([sourceNames(), ...asked]);
    const facets = { ...result.facets };
    // What else a facet could be set to shows only without that facet's own choice.
    narrowed.forEach(({ name }, at) => (facets[name] = others[at].facets?.[name] ?? {}));
    showPreview(result, state);
    showFacets(facets, state, names);
    showHits(result, state);
  } catch (problem) {
    if (problem.name !== "AbortError") showProblem(problem);
  }
  if (!signal.aborted) byId("hits").removeAttribute("aria-busy");
}

/* ---- showing ---- */

/** Says whose view this is, while it is not one's own. */
function showPreview(result, state) {
  byId("preview-banner").hidden = !result.notice;
  if (!result.notice) return;
  const stop = h("button", { class: "text-button", type: "button", onclick: () => go({ ...state, as: "" }) }, "Back to my own view");
  fill(byId("preview-banner"), icon("eye"), h("span", {}, result.notice), stop);
}

function showHits(result, state) {
  const n = result.hits.length;
  const total = Object.values(result.facets?.source ?? {}).reduce((sum, value) => sum + value, 0);
  const more = total > n ? `The best ${n} of ${count(total, "document")}` : count(n, "document");
  fill(byId("results-status"), n ? `${more} · ${duration(result.took_ms)}` : "");
  const passages = result.hits.map((hit, at) => ({ ...passageOf(hit, hit, `Hit ${at + 1}`) }));
  const open = (index) => openPassage(passages, index, (shown) => {
    items.forEach((item, at) => item.classList.toggle("shown", at === shown));
    items[shown]?.scrollIntoView({ block: "nearest" });
  });
  const items = result.hits.map((hit, index) => hitItem(hit, () => open(index)));
  fill(byId("hits"), items);
  fill(byId("results-empty"), n ? moreButton(total, state) : emptyState(state));
}

function hitItem(hit, open) {
  const onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  };
  const path = pathText(hit.heading_path, hit.title);
  const facts = [typeName(hit.media_type), pageName(hit.page, hit.media_type), day(hit.modified_at)].filter(Boolean);
  const text = h("p", { class: "hit-text", dir: "auto" });
  const [from, excerpt] = excerptOf(hit);
  markInto(text, excerpt, (hit.highlights ?? []).map(([start, end]) => [start - from, end - from]));
  return h(
    "li",
    { class: "hit" },
    icon(typeIcon(hit.media_type)),
    h(
      "div",
      {},
      h("a", { class: "hit-title", href: documentAddress(hit.document_id, hit.chunk_id), onclick, dir: "auto" }, hit.title),
      path ? h("p", { class: "hit-path", dir: "auto" }, path) : null,
      text,
      h("div", { class: "hit-facts" }, facts.map((fact) => h("span", { class: "fact" }, fact)), hit.superseded_by ? h("span", { class: "badge warn" }, "Superseded") : null, hit.labels.includes("no-ai") ? h("span", { class: "badge warn" }, "Not for AI") : null),
    ),
  );
}

/** The part of the passage to show: from the line of the first match on, when that is far down. */
function excerptOf(hit) {
  const points = Array.from(hit.text);
  const first = hit.highlights?.[0]?.[0] ?? 0;
  if (first < 160) return [0, tight(hit.text)];
  let from = points.lastIndexOf("\n", first - 1) + 1;
  if (first - from > 160) from = points.indexOf(" ", first - 80) + 1;
  return [from, tight(points.slice(from).join(""))];
}

/** Without empty lines, at the same length, so that spans still fit. */
function tight(text) {
  return text.replaceAll("\n\n", "\n ");
}

function showFacets(facets, state, names) {
  const groups = FACETS.map(({ name, title, show }) => {
    const counts = { ...Object.fromEntries(state.chosen[name].map((value) => [value, 0])), ...facets[name] };
    const values = Object.entries(counts).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, 12);
    if (!values.length || (values.length === 1 && !state.chosen[name].length && name !== "tag")) return null;
    const heading = h("h2", { id: `facet-${name}` }, title);
    const list = h("ul", { "aria-labelledby": `facet-${name}` }, values.map(([value, n]) => h("li", {}, facetButton(name, value, show(value, names), n, state))));
    return h("section", { class: "facet" }, heading, list);
  }).filter(Boolean);
  const isNarrowed = FACETS.some(({ name }) => state.chosen[name].length);
  const clear = h("button", { class: "text-button", type: "button", onclick: () => go({ ...state, chosen: noChoice() }) }, "Clear all");
  const focused = document.activeElement?.dataset?.facet;
  fill(byId("facets"), groups, isNarrowed ? h("div", {}, clear) : null);
  if (focused) byId("facets").querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus();
}

function facetButton(name, value, label, n, state) {
  const isChosen = state.chosen[name].includes(value);
  const toggle = () => {
    const values = isChosen ? state.chosen[name].filter((other) => other !== value) : [...state.chosen[name], value];
    go({ ...state, chosen: { ...state.chosen, [name]: values } });
  };
  return h(
    "button",
    { class: "facet-value", type: "button", "aria-pressed": String(isChosen), "data-facet": `${name}:${value}`, onclick: toggle },
    h("span", { class: "facet-name" }, label),
    h("span", { class: "amount", "aria-label": count(n, "document") }, String(n)),
  );
}

function noChoice() {
  return Object.fromEntries(FACETS.map(({ name }) => [name, []]));
}

function moreButton(total, state) {
  if (total <= state.limit || state.limit >= 200) return null;
  const show = () => go({ ...state, limit: Math.min(state.limit + LIMIT, 200) });
  return h("div", { class: "paging" }, h("button", { class: "button", type: "button", onclick: show }, "Show more"));
}

function emptyState(state) {
  const isNarrowed = FACETS.some(({ name }) => state.chosen[name].length);
  const clear = h("button", { class: "button", type: "button", onclick: () => go({ ...state, chosen: noChoice() }) }, "Search without filters");
  return h(
    "div",
    { class: "blank" },
    icon("nothing"),
    h("h2", {}, state.as ? `Nothing that ${state.as} would find` : "Nothing found in what you can read"),
    h("ul", {}, [
      h("li", {}, "Use fewer or other words, as the document would put it."),
      h("li", {}, "Check the spelling of names and numbers."),
      isNarrowed ? h("li", {}, "Filters are on; the match may be outside of them.") : null,
      h("li", {}, "Documents that are not shared with you do not appear."),
    ]),
    isNarrowed ? clear : h("a", { class: "button", href: `/?q=${encodeURIComponent(state.query)}` }, "Ask this as a question"),
  );
}

function showBlank() {
  fill(byId("results-status"));
  fill(byId("hits"));
  fill(byId("facets"));
  byId("hits").removeAttribute("aria-busy");
  fill(byId("results-empty"), h("div", { class: "blank" }, icon("search"), h("h2", {}, "Search by meaning and by word"), h("p", { class: "quiet" }, "Titles, headings, tables and text of every document you may read. Exact codes and names work too.")));
}

function showProblem(problem) {
  fill(byId("results-status"));
  fill(byId("hits"));
  const again = h("button", { class: "button", type: "button", onclick: run }, "Try again");
  const words = h("div", {}, h("p", { class: "notice-title" }, problem.message), h("p", {}, problem.hint), h("p", { class: "problem-facts" }, h("code", {}, problem.code)), again);
  fill(byId("results-empty"), h("div", { class: "notice bad", role: "alert" }, icon("alert"), words));
}

byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const state = stateOfAddress();
  const query = box.value.trim();
  const as = byId("preview-user").value.trim();
  if (query !== state.query || as !== state.as) go({ query, as, chosen: state.chosen, limit: LIMIT });
  else run();
});
addEventListener("popstate", run);
walkWithKeys(() => (isPassageOpen() ? [] : [...document.querySelectorAll(".hit-title")]));
startShell({ focusBox: () => box.select() });
run();
if (!box.value && matchMedia("(hover: hover)").matches) box.focus();
