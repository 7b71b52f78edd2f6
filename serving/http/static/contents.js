// What one may read of a document's text: all of it, or its passages where only parts may be read.

import { get } from "./api.js";

const AT_ONCE = 500;

/** `{text, blocks, isWhole}`; offsets of passages and citations fit `text` in either case, what is hidden is blank. */
export async function contentOf(documentId) {
  const address = `/documents/${encodeURIComponent(documentId)}`;
  try {
    return { ...(await get(`${address}/text`)), isWhole: true };
  } catch (problem) {
    if (problem.code !== "parts_only") throw problem;
  }
  let text = "";
  let reached = 0;
  const blocks = [];
  for (let start = 0; start !== null; ) {
    const page = await get(`${address}/chunks`, { start, limit: AT_ONCE });
    for (const chunk of page.chunks) {
      text += " ".repeat(chunk.start - reached) + chunk.text;
      reached = chunk.end;
      blocks.push({ kind: "paragraph", start: chunk.start, end: chunk.end, page: chunk.page });
    }
    start = page.next_start;
  }
  return { text, blocks, isWhole: false };
}
