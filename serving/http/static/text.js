// Words for dates, types and sizes, offsets into text, and text with parts marked.

import { append, h, neutralise } from "./dom.js";

/**
 * A text addressed as the API does it: by Unicode code points. JavaScript counts UTF-16 units, which differ
 * after the first emoji.
 */
export class CodePoints {
  constructor(text) {
    this.points = /[\ud800-\udfff]/.test(text) ? Array.from(text) : text;
    this.length = this.points.length;
  }

  slice(start, end) {
    const part = this.points.slice(start, end);
    return typeof part === "string" ? part : part.join("");
  }

  /** Offset of the first occurrence of `wanted` nearest to `near`, -1 when there is none. */
  find(wanted, near = 0) {
    const text = typeof this.points === "string" ? this.points : this.points.join("");
    const offsets = [];
    for (let at = text.indexOf(wanted); at >= 0 && wanted; at = text.indexOf(wanted, at + 1)) offsets.push(at);
    if (!offsets.length) return -1;
    const units = offsets.map((at) => (typeof this.points === "string" ? at : Array.from(text.slice(0, at)).length));
    return units.reduce((best, at) => (Math.abs(at - near) < Math.abs(best - near) ? at : best));
  }
}

/**
 * Appends `text` to `parent` with the parts within `spans` in <mark>.
 * `base` is the offset of the text's first character in the terms of the spans.
 */
export function markInto(parent, text, spans, base = 0) {
  const points = new CodePoints(text);
  let at = 0;
  for (const [start, end] of mergeSpans(spans, base, base + points.length)) {
    append(parent, [points.slice(at, start - base)]);
    append(parent, [h("mark", {}, points.slice(start - base, end - base))]);
    at = end - base;
  }
  append(parent, [points.slice(at, points.length)]);
  return parent;
}

/** The spans that reach into [from, to), cut to it, sorted, without overlap. */
export function mergeSpans(spans, from, to) {
  const inside = spans
    .map(([start, end]) => [Math.max(start, from), Math.min(end, to)])
    .filter(([start, end]) => start < end)
    .sort((a, b) => a[0] - b[0]);
  const merged = [];
  for (const [start, end] of inside) {
    const last = merged.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  return merged;
}

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A date as a <time>, with the exact moment as its tooltip. */
export function day(iso) {
  const date = new Date(iso);
  if (!iso || Number.isNaN(date.getTime())) return "";
  return h("time", { datetime: iso, title: MOMENT.format(date) }, DAY.format(date));
}

/** A date as plain words. */
export function dayText(iso) {
  const date = new Date(iso);
  return !iso || Number.isNaN(date.getTime()) ? "" : DAY.format(date);
}

/** Date and time as a <time>. */
export function moment(iso) {
  const date = new Date(iso);
  if (!iso || Number.isNaN(date.getTime())) return "";
  return h("time", { datetime: iso }, MOMENT.format(date));
}

const TYPES = {
  "application/pdf": ["PDF", "page"],
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ["Word", "page"],
  "application/msword": ["Word", "page"],
  "application/vnd.oasis.opendocument.text": ["OpenDocument text", "page"],
  "application/rtf": ["RTF", "page"],
  "text/rtf": ["RTF", "page"],
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ["Excel", "table"],
  "application/vnd.ms-excel": ["Excel", "table"],
  "application/vnd.oasis.opendocument.spreadsheet": ["OpenDocument sheet", "table"],
  "text/csv": ["CSV", "table"],
  "text/tab-separated-values": ["TSV", "table"],
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": ["PowerPoint", "slides"],
  "application/vnd.oasis.opendocument.presentation": ["OpenDocument slides", "slides"],
  "message/rfc822": ["E-mail", "mail"],
  "application/vnd.ms-outlook": ["Outlook e-mail", "mail"],
  "text/html": ["Web page", "web"],
  "application/xhtml+xml": ["Web page", "web"],
  "application/epub+zip": ["E-book", "book"],
  "text/markdown": ["Markdown", "page"],
  "text/plain": ["Text", "page"],
};

/** A media type in a reader's words. */
export function typeName(mediaType) {
  return TYPES[mediaType]?.[0] ?? mediaType?.split("/").at(-1) ?? "Document";
}

/** Name of the icon for a media type. */
export function typeIcon(mediaType) {
  return TYPES[mediaType]?.[1] ?? "page";
}

/** "page 3", "slide 3" or "sheet 3", or "". */
export function pageName(page, mediaType) {
  if (page === undefined || page === null) return "";
  const word = { slides: "slide", table: "sheet" }[typeIcon(mediaType)] ?? "page";
  return `${word} ${page}`;
}

/** The heading path without repeats of the title, as one line. */
export function pathText(headingPath, title) {
  return (headingPath ?? []).filter((part, at) => !(at === 0 && part === title)).join(" › ");
}

const LANGUAGES = new Intl.DisplayNames(undefined, { type: "language" });

/** A language's name for its code. */
export function languageName(code) {
  if (!code || code === "und") return "Unknown";
  try {
    return LANGUAGES.of(code) ?? code;
  } catch {
    return code;
  }
}

/** "1 document", "2 documents". */
export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}

/** A duration in words a person reads: "0.4 s", "12 s". */
export function duration(ms) {
  return ms < 950 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
}

/** The size of a file. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["kB", "MB", "GB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < 2) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** The address of a document in this page, at a passage when its chunk is known. */
export function documentAddress(documentId, chunkId) {
  const fragment = chunkId ? `#c-${encodeURIComponent(chunkId)}` : "";
  return `/documents/${encodeURIComponent(documentId)}${fragment}`;
}

/** A person's initials, for the round badge. */
export function initials(name) {
  const parts = neutralise(name).split(/[\s._-]+/).filter(Boolean);
  return ((parts[0]?.[0] ?? "?") + (parts.length > 1 ? parts.at(-1)[0] : "")).toUpperCase();
}
