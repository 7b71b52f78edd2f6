// Shows one answer: its text with citation markers, its sources, and what can be done with it.

import { post } from "./api.js";
import { append, fill, h, icon, toast } from "./dom.js";
import { openPassage } from "./passage.js";
import { count, day, dayText, documentAddress, duration, pageName, pathText, typeIcon, typeName } from "./text.js";

const INLINE = /\*\*(?=\S)([^*\n]+?)\*\*|`([^`\n]+)`|\[(\d{1,3})\]/g;

/**
 * An answer's text as elements. It is shown as text: what looks like HTML, a link or an image stays what it
 * is, letters. Only paragraphs, lists, bold and code are recognised, and our own markers, which `marker(n)`
 * turns into elements.
 */
export function answerBody(text, marker) {
  const fragment = document.createDocumentFragment();
  for (const part of text.replace(/\r\n?/g, "\n").trim().split(/\n{2,}/)) {
    let list = null;
    let paragraph = null;
    for (const line of part.split("\n")) {
      const item = /^\s*(?:([-*•])|(\d{1,3})[.)])\s+(.*)$/.exec(line);
      if (item) {
        const kind = item[1] ? "UL" : "OL";
        if (list?.tagName !== kind) fragment.append((list = h(kind, { start: item[2] })));
        list.append(inline(h("li", { dir: "auto" }), item[3], marker));
        paragraph = null;
      } else if (line.trim()) {
        list = null;
        if (paragraph) paragraph.append(document.createElement("br"));
        else fragment.append((paragraph = h("p", { dir: "auto" })));
        inline(paragraph, line.replace(/^#{1,6}\s+/, ""), marker);
      }
    }
  }
  return fragment;
}

function inline(parent, text, marker) {
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    append(parent, [text.slice(at, found.index)]);
    const [whole, bold, code, number] = found;
    if (bold) parent.append(inline(h("strong"), bold, marker));
    else if (code) parent.append(h("code", {}, code));
    else append(parent, [marker(Number(number)) ?? whole]);
    at = found.index + whole.length;
  }
  return append(parent, [text.slice(at)]);
}

/** A marker that is not a button yet, while the answer is still being written. */
export function quietMarker(number) {
  return h("span", { class: "cite quiet-cite" }, String(number));
}

/** What the side panel needs to know about a citation (or a hit), with the other quotes of its marker. */
export function passageOf(cited, hit, label, others = []) {
  const source = hit ?? cited;
  return {
    documentId: cited.document_id,
    chunkId: cited.chunk_id,
    title: cited.title,
    headingPath: cited.heading_path,
    page: cited.page,
    mediaType: source.media_type,
    modifiedAt: source.modified_at,
    superseded: Boolean(source.superseded_by),
    label,
    quote: cited.quote ?? cited.text,
    start: cited.start,
    end: cited.end,
    others,
    marks: cited.quote === undefined && cited.highlights?.length ? cited.highlights : undefined,
  };
}

/** Extracts stand apart from one another: each is a quotation of its own. */
export function apart(text) {
  return text.replace(/((?:\[\d+\])+)\s+(?=\S)/g, "$1\n\n");
}

/** Shows a finished answer in `body` and everything that belongs to it in `tail`. */
export function showAnswer(answer, question, body, tail) {
  const hits = new Map(answer.references.map((hit) => [hit.chunk_id, hit]));
  const cited = orderCitations(answer);
  const passages = cited.map((citation) => {
    const others = answer.citations.filter((other) => other.marker === citation.marker && other !== citation);
    return passageOf(citation, hits.get(citation.chunk_id), `Source ${citation.marker}`, others);
  });
  const buttons = [];
  const open = (index) => openPassage(passages, index, (shown) => {
    for (const [at, button] of buttons) button.classList.toggle("shown", at === shown);
  });
  const marker = (number) => {
    const index = cited.findIndex((citation) => citation.marker === number);
    if (index < 0) return null;
    const button = markerButton(cited[index], passages[index], () => open(index));
    buttons.push([index, button]);
    return button;
  };
  const text = answer.model.generator === "extractive" ? apart(answer.answer) : answer.answer;
  fill(body, answer.abstained ? [] : answerBody(text, marker));
  fill(tail, ...notices(answer));
  if (answer.abstained) {
    showNearest(answer, tail);
  } else {
    append(tail, [sources(answer, cited, passages, open)]);
  }
  append(tail, [actions(answer, question, cited)]);
}

/** Citations in the order in which their markers first occur, one for each marker. */
function orderCitations(answer) {
  const order = [...answer.answer.matchAll(/\[(\d{1,3})\]/g)].map((found) => Number(found[1]));
  const first = new Map();
  for (const citation of answer.citations) if (!first.has(citation.marker)) first.set(citation.marker, citation);
  const place = (citation) => (order.indexOf(citation.marker) + order.length + 1) % (order.length + 1);
  return [...first.values()].sort((a, b) => place(a) - place(b) || a.marker - b.marker);
}

function markerButton(citation, passage, open) {
  const where = [citation.title, pageName(citation.page, passage.mediaType)].filter(Boolean).join(", ");
  const label = `Source ${citation.marker}: ${where}`;
  return h("button", { class: "cite", type: "button", "aria-label": label, title: where, onclick: open }, String(citation.marker));
}

function notices(answer) {
  const shown = [];
  if (answer.abstained) {
    const words = h("p", {}, "Nothing you may read answers this well enough to cite. Other words may help, or the document may not be here yet.");
    shown.push(notice("nothing", "Not found in what you can read", words));
  }
  if (answer.fallback_reason) {
    const spent = answer.fallback_reason === "token_budget_spent";
    const when = spent ? "Written answers are there again tomorrow (UTC)." : "Ask again later for a written answer.";
    const why = spent ? "today's allowance for written answers is used up" : "the model is unavailable";
    const words = h("p", {}, `These are extracts, word for word from the documents. ${when}`);
    shown.push(notice("alert", `Answered with extracts, because ${why}`, words, "warn"));
  }
  if (answer.withheld) {
    const words = h("p", {}, "They are labelled not for AI. Search finds them.");
    shown.push(notice("info", `${count(answer.withheld, "passage")} that you may read left out`, words));
  }
  if (answer.conflicts?.length) {
    const list = h("ul", {}, answer.conflicts.map((conflict) => h("li", { dir: "auto" }, conflict)));
    shown.push(notice("alert", "The sources disagree", list, "warn"));
  }
  return shown;
}

function notice(iconName, title, content, kind = "") {
  return h("div", { class: `notice ${kind}` }, icon(iconName), h("div", {}, h("p", { class: "notice-title" }, title), content));
}

/* ---- sources ---- */

let tabGroups = 0;

function sources(answer, cited, passages, open) {
  const citedChunks = new Set(cited.map((citation) => citation.chunk_id));
  const others = answer.references.filter((hit) => !citedChunks.has(hit.chunk_id));
  const citedCards = cards(passages.map((passage, index) => [passage, cited[index].marker, () => open(index)]));
  const alsoRead = others.map((hit) => passageOf(hit, hit, "Also read"));
  const otherCards = cards(alsoRead.map((passage, index) => [passage, null, () => openPassage(alsoRead, index)]));
  const tabs = [[`Sources`, cited.length, citedCards]];
  if (others.length) tabs.push(["Also read", others.length, otherCards]);
  return tabbed(tabs, "Sources of the answer");
}

function showNearest(answer, tail) {
  const seen = new Set();
  const nearest = answer.references.filter((hit) => !seen.has(hit.document_id) && seen.add(hit.document_id)).slice(0, 4);
  if (!nearest.length) return;
  const passages = nearest.map((hit) => passageOf(hit, hit, "Nearest document"));
  append(tail, [
    h("h3", { class: "section-title" }, "The nearest documents"),
    cards(passages.map((passage, index) => [passage, null, () => openPassage(passages, index)])),
  ]);
}

function cards(entries) {
  return h("ul", { class: "cards" }, entries.map(([passage, number, open]) => h("li", {}, card(passage, number, open))));
}

function card(passage, number, open) {
  const onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  };
  const facts = [pageName(passage.page, passage.mediaType), day(passage.modifiedAt)].filter(Boolean);
  const path = pathText(passage.headingPath, passage.title);
  return h(
    "a",
    { class: "card", href: documentAddress(passage.documentId, passage.chunkId), onclick },
    h("span", { class: number ? "card-number" : "card-icon" }, number ? String(number) : icon(typeIcon(passage.mediaType), true)),
    h(
      "span",
      { class: "card-body" },
      h("span", { class: "card-title", dir: "auto" }, passage.title),
      path ? h("span", { class: "card-path", dir: "auto" }, path) : null,
      h("span", { class: "card-quote", dir: "auto" }, [passage, ...passage.others].map(({ quote }) => quote).join(" … ")),
      h(
        "span",
        { class: "card-facts" },
        passage.mediaType ? h("span", { class: "fact" }, typeName(passage.mediaType)) : null,
        facts.map((fact) => h("span", { class: "fact" }, fact)),
        passage.superseded ? h("span", { class: "badge warn" }, "Superseded") : null,
      ),
    ),
  );
}

/** Tabs by the ARIA pattern: arrow keys move between them, Tab goes on into the panel. */
export function tabbed(entries, label) {
  const group = (tabGroups += 1);
  const tabs = [];
  const panels = [];
  const select = (index, focus) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
      panels[at].hidden = at !== index;
    });
    if (focus) tabs[index].focus();
  };
  entries.forEach(([name, number, content], index) => {
    const ids = { tab: `tab-${group}-${index}`, panel: `panel-${group}-${index}` };
    const amount = number === null ? null : h("span", { class: "amount" }, String(number));
    tabs.push(h("button", { class: "tab", role: "tab", type: "button", id: ids.tab, "aria-controls": ids.panel, onclick: () => select(index, false) }, name, amount));
    panels.push(h("div", { role: "tabpanel", id: ids.panel, "aria-labelledby": ids.tab }, content));
  });
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label }, tabs);
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    event.stopPropagation();
    select((to + tabs.length) % tabs.length, true);
  });
  select(0, false);
  return h("section", { class: "tabbed", "aria-label": label }, list, panels);
}

/* ---- what can be done with an answer ---- */

function actions(answer, question, cited) {
  const total = (answer.activity ?? []).reduce((sum, step) => sum + (step.ms || 0), 0);
  const copy = h("button", { class: "icon-button", type: "button", "aria-label": "Copy the answer with its citations", title: "Copy with citations" }, icon("copy"));
  copy.addEventListener("click", async () => {
    await copyText(asText(answer, question, cited));
    fill(copy, icon("check"));
    toast("Copied, with its sources");
    setTimeout(() => fill(copy, icon("copy")), 2000);
  });
  return h(
    "div",
    { class: "answer-foot" },
    h("div", { class: "actions", role: "group", "aria-label": "Actions on this answer" }, answer.abstained ? null : copy, feedback(answer)),
    h("p", { class: "made-by" }, madeBy(answer)),
    details(answer, total),
  );
}

/** Says who wrote this (EU AI Act, Article 50). */
function madeBy(answer) {
  if (answer.abstained) return "Decided automatically. Nobody has checked it.";
  if (answer.model.generator === "extractive") return "Put together automatically: words quoted from your documents, none generated.";
  return `AI-generated by ${answer.model.name} from your documents. Check the sources before you rely on it.`;
}

function details(answer, total) {
  const rows = (answer.activity ?? []).map((step) =>
    h("div", {}, h("dt", {}, step.name), h("dd", {}, duration(step.ms), step.detail ? ` · ${step.detail}` : "")),
  );
  const model = [answer.model.name, answer.model.revision].filter(Boolean).join(" · ");
  rows.push(h("div", {}, h("dt", {}, "written by"), h("dd", {}, model)));
  rows.push(h("div", {}, h("dt", {}, "request"), h("dd", {}, h("code", {}, answer.request_id))));
  return h("details", { class: "how" }, h("summary", {}, `How it was answered${total ? `, ${duration(total)}` : ""}`), h("dl", {}, rows));
}

function feedback(answer) {
  const buttons = [["up", "Helpful", 1], ["down", "Not helpful", -1]].map(([name, label, rating]) => {
    const button = h("button", { class: "icon-button", type: "button", "aria-label": label, title: label, "aria-pressed": "false" }, icon(name));
    button.addEventListener("click", () => rate(answer, rating, button, buttons));
    return button;
  });
  return buttons;
}

async function rate(answer, rating, button, buttons) {
  try {
    await post("/feedback", { request_id: answer.request_id, rating });
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    toast("Thank you, noted");
  } catch (problem) {
    toast(problem.message);
  }
}

/** The answer as plain text with its numbered sources, for pasting. */
function asText(answer, question, cited) {
  const hits = new Map(answer.references.map((hit) => [hit.chunk_id, hit]));
  const lines = cited.map((citation) => {
    const hit = hits.get(citation.chunk_id);
    const facts = [
      citation.title,
      pathText(citation.heading_path, citation.title),
      pageName(citation.page, hit?.media_type),
      dayText(hit?.modified_at),
      location.origin + documentAddress(citation.document_id, citation.chunk_id),
    ];
    return `[${citation.marker}] ${facts.filter(Boolean).join(" · ")}`;
  });
  return `${question}\n\n${answer.answer}\n\nSources (${count(lines.length, "passage")}):\n${lines.join("\n")}\n\n${madeBy(answer)}\n`;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
