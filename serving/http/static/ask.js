// The page Ask: questions, streamed answers, follow-ups.

import { get, stream, viewAs } from "./api.js";
import { answerBody, apart, quietMarker, showAnswer } from "./answer.js";
import { fill, h, icon } from "./dom.js";
import { closePassage, isPassageOpen } from "./passage.js";
import { startShell } from "./shell.js";
import { count, day, documentAddress, duration, typeIcon } from "./text.js";

const byId = (id) => document.getElementById(id);
const box = byId("question");
const thread = byId("thread");

let conversation = "";
let running = null;
let finished = [];
let hasModel = true;

/* ---- the box ---- */

function fitBox() {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 220)}px`;
}

function submit(event) {
  event?.preventDefault();
  const question = box.value.trim();
  if (!question || running) return;
  box.value = "";
  fitBox();
  ask(question);
}

box.addEventListener("input", fitBox);
box.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
byId("composer").addEventListener("submit", submit);
byId("stop").addEventListener("click", () => running?.abort());
byId("restart").addEventListener("click", restart);

function restart() {
  running?.abort();
  closePassage();
  conversation = "";
  finished = [];
  keep();
  thread.replaceChildren();
  document.body.classList.remove("in-thread");
  byId("restart").hidden = true;
  box.placeholder = "Ask a question";
  box.focus();
}

/* ---- one question ---- */

async function ask(question) {
  const turn = newTurn(question);
  await run(turn);
}

function newTurn(question) {
  for (const earlier of thread.querySelectorAll(".turn.latest")) earlier.classList.remove("latest");
  const turn = {
    question,
    state: h("p", { class: "state" }),
    body: h("div", { class: "answer", "aria-live": "polite", "aria-busy": "true" }),
    tail: h("div", { class: "tail" }),
    stage: 0,
    text: "",
  };
  turn.element = h(
    "article",
    { class: "turn latest", "aria-label": "Question and answer" },
    h("h2", { class: "question", dir: "auto" }, question),
    turn.state,
    turn.body,
    turn.tail,
  );
  document.body.classList.add("in-thread");
  byId("restart").hidden = false;
  box.placeholder = "Ask a follow-up question";
  thread.append(turn.element);
  turn.element.scrollIntoView({ block: "start", behavior: "instant" });
  return turn;
}

async function run(turn) {
  const control = new AbortController();
  setRunning(control);
  const began = performance.now();
  reset(turn);
  try {
    const body = { question: turn.question, conversation_id: conversation || undefined, stream: true };
    await stream("/answers", body, { signal: control.signal, on: (name, data) => receive(turn, name, data) });
    finish(turn, performance.now() - began);
  } catch (problem) {
    if (problem.name === "AbortError") showStopped(turn);
    else showProblem(turn, problem);
  } finally {
    turn.body.setAttribute("aria-busy", "false");
    setRunning(null);
  }
}

function reset(turn) {
  turn.text = "";
  turn.answer = null;
  turn.body.setAttribute("aria-busy", "true");
  fill(turn.body);
  fill(turn.tail);
  setState(turn, "Looking through your documents", true);
}

function receive(turn, name, data) {
  if (name === "references") {
    const hits = data.references ?? data;
    const documents = new Set(hits.map((hit) => hit.document_id)).size;
    const found = count(hits.length, "passage");
    if (documents) setState(turn, `Reading ${found} from ${count(documents, "document")}`, true);
  } else if (name === "delta") {
    if (!turn.text) setState(turn, "Writing the answer", true);
    turn.text += data.text;
    drawSoon(turn);
  } else if (name === "withdrawn") {
    turn.text = "";
    fill(turn.body);
    const words = data.reason === "not_found" ? "Checking once more" : "The model stopped answering, taking extracts instead";
    setState(turn, words, true);
  } else if (name === "citations") {
    setState(turn, "Checking the citations", true);
  } else if (name === "done") {
    turn.answer = data;
  }
}

function drawSoon(turn) {
  if (turn.frame) return;
  turn.frame = requestAnimationFrame(() => {
    turn.frame = 0;
    const text = hasModel ? turn.text : apart(turn.text);
    if (!turn.answer) fill(turn.body, answerBody(text.replace(/\[\d*$/, ""), quietMarker));
  });
}

function finish(turn, ms) {
  conversation = turn.answer.conversation_id;
  finished.push({ question: turn.question, answer: turn.answer, ms });
  keep();
  showFinished(turn, ms);
}

function showFinished(turn, ms) {
  const { answer } = turn;
  cancelAnimationFrame(turn.frame);
  showAnswer(answer, turn.question, turn.body, turn.tail);
  const sources = count(new Set(answer.citations.map((citation) => citation.marker)).size, "source");
  const words = answer.abstained ? `No answer found, ${duration(ms)}` : `Answered from ${sources} in ${duration(ms)}`;
  setState(turn, words, false, answer.abstained ? "nothing" : "check");
}

function showStopped(turn) {
  cancelAnimationFrame(turn.frame);
  if (turn.text) fill(turn.body, answerBody(turn.text, quietMarker));
  setState(turn, turn.text ? "Stopped. What you see is not the whole answer." : "Stopped", false, "stop");
  fill(turn.tail, retry(turn, "Ask again"));
}

function showProblem(turn, problem) {
  cancelAnimationFrame(turn.frame);
  setState(turn, "No answer", false, "alert");
  if (turn.text) fill(turn.body);
  const facts = [
    problem.code ? h("code", {}, problem.code) : null,
    problem.requestId ? h("span", {}, "request ", h("code", {}, problem.requestId)) : null,
  ];
  fill(
    turn.tail,
    h(
      "div",
      { class: "notice bad", role: "alert" },
      icon("alert"),
      h(
        "div",
        {},
        h("p", { class: "notice-title" }, problem.message),
        problem.hint ? h("p", {}, problem.hint) : null,
        h("p", { class: "problem-facts" }, facts),
        retry(turn, "Try again"),
      ),
    ),
  );
}

function retry(turn, label) {
  const again = () => {
    if (!running) run(turn);
  };
  return h("button", { class: "button", type: "button", onclick: again }, icon("refresh", true), label);
}

function setState(turn, words, busy, iconName) {
  fill(turn.state, busy ? h("span", { class: "spinner", "aria-hidden": "true" }) : icon(iconName, true), h("span", {}, words));
  fill(byId("announcer"), words);
}

function setRunning(control) {
  running = control;
  byId("send").hidden = Boolean(control);
  byId("stop").hidden = !control;
  document.body.classList.toggle("is-answering", Boolean(control));
}

/* ---- coming back from a document ---- */

const KEPT = "refdesk.thread";

/** Keeps the conversation for this tab, so that the way back from a document leads to it. */
function keep() {
  const kept = { viewer: viewAs.get()?.id ?? "", conversation, turns: finished.slice(-10) };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    sessionStorage.removeItem(KEPT); // too large to keep; going back then starts anew
  }
}

function restore() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  const [entry] = performance.getEntriesByType("navigation");
  const isBack = entry?.type === "back_forward" && kept?.viewer === (viewAs.get()?.id ?? "");
  if (!isBack || !kept.turns.length) {
    sessionStorage.removeItem(KEPT);
    return;
  }
  ({ conversation, turns: finished } = kept);
  for (const { question, answer, ms } of finished) {
    const turn = newTurn(question);
    turn.answer = answer;
    showFinished(turn, ms);
    turn.body.setAttribute("aria-busy", "false");
  }
}

/* ---- the keyboard among citations ---- */

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isPassageOpen()) return;
  const inBox = document.activeElement === box;
  const by = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
  const markers = [...thread.querySelectorAll(".turn.latest .cite")].filter((marker) => marker.tagName === "BUTTON");
  const at = markers.indexOf(document.activeElement);
  if (!by || inBox || !markers.length || (event.key.startsWith("Arrow") && at < 0)) return;
  event.preventDefault();
  markers[at < 0 ? (by > 0 ? 0 : markers.length - 1) : Math.min(Math.max(at + by, 0), markers.length - 1)].focus();
});

/* ---- the first view ---- */

async function showRecent() {
  const page = await get("/documents", { state: "live", limit: 100 });
  const newest = page.documents.sort((a, b) => (b.modified_at ?? "").localeCompare(a.modified_at ?? "")).slice(0, 4);
  const items = newest.map((item) =>
    h(
      "li",
      {},
      h("a", { class: "recent-link", href: documentAddress(item.id) }, icon(typeIcon(item.media_type), true), h("span", { class: "recent-title", dir: "auto" }, item.title), day(item.modified_at)),
    ),
  );
  fill(byId("recent-list"), items);
  byId("recent").hidden = !items.length;
  const live = page.counts.live;
  if (live) fill(byId("welcome-lede"), `Answers come only from the ${count(live, "document")} you may read, and every sentence shows where it is from.`);
}

async function showDesk() {
  hasModel = (await get("/status")).generator !== "extractive";
}

startShell({ focusBox: () => box.focus() })
  .then(() => Promise.all([showRecent(), showDesk()]))
  .catch(() => {}); // what it adds is nice to have; a desk that is down says so at the first question
box.value = new URLSearchParams(location.search).get("q") ?? "";
fitBox();
restore();
if (matchMedia("(hover: hover)").matches) box.focus();
