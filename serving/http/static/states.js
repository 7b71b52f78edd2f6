// States of documents and jobs in a reader's words, and having a document read again.

import { get, post } from "./api.js";
import { h } from "./dom.js";

/** States in the order in which filters show them. */
export const ORDER = ["live", "queued", "fetching", "parsing", "embedding", "indexing", "failed", "quarantined", "deleted"];

const STATES = {
  live: ["Live", "good"],
  queued: ["Waiting", "busy"],
  fetching: ["Fetching", "busy"],
  parsing: ["Reading", "busy"],
  embedding: ["Embedding", "busy"],
  indexing: ["Indexing", "busy"],
  failed: ["Failed", "bad"],
  quarantined: ["Quarantined", "bad"],
  deleted: ["Deleted", ""],
  running: ["Running", "busy"],
  done: ["Done", "good"],
  cancelled: ["Cancelled", ""],
};

const ON_ITS_WAY = new Set(["queued", "fetching", "parsing", "embedding", "indexing"]);

/** Whether a document in this state is still being worked on. */
export function isOnItsWay(state) {
  return ON_ITS_WAY.has(state);
}

/** A state as a badge. */
export function stateBadge(state) {
  const [words, kind] = STATES[state] ?? [state, ""];
  return h("span", { class: `badge ${kind}` }, words);
}

/** How far a job is, in a word or two. */
export function jobWords(job, item) {
  if (job.state === "running" && isOnItsWay(item.state)) return STATES[item.state][0];
  if (job.state === "running" && job.total > 1) return `Reading ${job.done} of ${job.total}`;
  return job.state === "running" ? "Reading again" : "Waiting";
}

/** What happened, what happens next and what helps, in the desk's own words; nothing where there is nothing to say. */
export function explanationLines(explanation) {
  if (!explanation) return [];
  return [
    h("p", { class: "notice-title" }, explanation.happened),
    h("p", {}, h("strong", {}, "Next: "), explanation.next),
    h("p", {}, h("strong", {}, "What helps: "), explanation.advice),
  ];
}

/** Has a document read again. Resolves to the finished job; `onProgress` hears every change before that. */
export async function reindex(documentId, onProgress) {
  const { job } = await post(`/documents/${encodeURIComponent(documentId)}/reindex`, {});
  return follow(job, onProgress);
}

/** Waits until a job and the documents that it queued are done. Resolves to it; `onProgress` hears every change. */
export async function follow(accepted, onProgress) {
  let job = accepted;
  for (let wait = 150; !job.is_over; wait = Math.min(wait * 1.4, 1500)) {
    onProgress(job);
    await new Promise((resolve) => setTimeout(resolve, wait));
    job = await get(`/jobs/${encodeURIComponent(job.id)}`);
  }
  return job;
}
