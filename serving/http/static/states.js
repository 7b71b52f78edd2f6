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

const ADVICE = {
  encrypted: "Remove the password from the file, or keep an open copy beside it, then re-index.",
  unsupported_type: "Save it in a format that the desk reads (PDF, Office, OpenDocument, HTML, Markdown, text, e-mail), then re-index.",
  empty_file: "Put the content into the file, then re-index.",
  no_text: "It holds images only. Add a text layer (OCR) to it, then re-index.",
  corrupt: "Open the file in its own program, save it anew, then re-index.",
  too_large: "Split the document, or ask an operator to raise the limit.",
  expansion_limit: "It unpacks to far more than its size. Check where it comes from.",
  parser_timeout: "It took too long to read. Splitting or simplifying it helps.",
  parser_memory: "It needs too much memory to read. Splitting it helps.",
  parser_crashed: "Save it anew in its own program. If that does not help, tell an operator.",
  fetch_failed: "The source did not hand the file over. It is tried again; check that the file is still there.",
  source_unavailable: "The source does not answer. It is tried again by itself.",
};

/** What the owner of a document can do about what went wrong. */
export function adviceFor(item) {
  const again = item.retryable && item.state === "failed" ? " The desk tries again by itself." : "";
  return (ADVICE[item.error_code] ?? "Correct the document at its source, then re-index.") + again;
}

/** Has a document read again. Resolves to the finished job; `onProgress` hears every change before that. */
export async function reindex(documentId, onProgress) {
  let { job } = await post(`/documents/${encodeURIComponent(documentId)}/reindex`, {});
  for (let wait = 150; !["done", "failed", "cancelled"].includes(job.state); wait = Math.min(wait * 1.4, 1500)) {
    onProgress(job);
    await new Promise((resolve) => setTimeout(resolve, wait));
    job = await get(`/jobs/${encodeURIComponent(job.id)}`);
  }
  return job;
}
