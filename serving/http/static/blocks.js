// Shows a document's extracted text: headings, paragraphs, lists, tables and code, from its blocks.

import { h } from "./dom.js";
import { CodePoints, markInto, pageName } from "./text.js";

const AT_ONCE = 150;

/**
 * A document's text, ready to be shown in parts.
 * Offsets are those of the API: code points in `text`.
 */
export class DocumentText {
  constructor({ text, blocks }, mediaType) {
    this.points = new CodePoints(text);
    this.blocks = blocks?.length ? blocks : [{ kind: "paragraph", start: 0, end: this.points.length, page: null }];
    this.mediaType = mediaType;
    this.topLevel = Math.min(...this.blocks.filter((block) => block.kind === "heading").map((block) => block.level));
  }

  /** Index of the block at an offset, or of the one after it. */
  blockAt(offset) {
    const at = this.blocks.findIndex((block) => block.end > offset);
    return at < 0 ? this.blocks.length - 1 : at;
  }

  /** Headings as `{index, level, text}`; a level of 1 is the outermost that occurs. */
  headings() {
    return this.blocks.flatMap((block, index) =>
      block.kind === "heading"
        ? [{ index, level: block.level - this.topLevel + 1, text: this.points.slice(block.start, block.end) }]
        : [],
    );
  }

  /** The span of a quote: where it is said to be if the text agrees, else where it is found, else null. */
  locate(quote, start, end) {
    if (start !== undefined && start !== null && (!quote || this.points.slice(start, end) === quote)) return [start, end];
    const found = quote ? this.points.find(quote, start ?? 0) : -1;
    return found < 0 ? null : [found, found + new CodePoints(quote).length];
  }

  /** Elements of the blocks [from, to), with `spans` marked and what reaches into `extent` set off. */
  render(from, to, spans = [], extent = [0, 0]) {
    const fragment = document.createDocumentFragment();
    let list = null;
    let page = from > 0 ? this.blocks[from - 1].page : null;
    for (let index = from; index < Math.min(to, this.blocks.length); index += 1) {
      const block = this.blocks[index];
      if (block.page !== null && block.page !== undefined && block.page !== page) {
        fragment.append(h("p", { class: "page-mark" }, pageName(block.page, this.mediaType)));
        list = null;
      }
      page = block.page;
      const element = this.#element(block, spans, extent);
      element.dataset.block = index;
      if (block.kind === "list_item") {
        if (!list) fragment.append((list = h("ul", { class: "extracted" })));
        list.append(element);
      } else {
        list = null;
        fragment.append(element);
      }
    }
    return fragment;
  }

  #element(block, spans, extent) {
    const element = this.#bare(block, spans, extent);
    const isWithin = block.start < extent[1] && block.end > extent[0];
    if (isWithin && block.kind !== "table") element.classList.add("within");
    return element;
  }

  #bare(block, spans, extent) {
    const text = this.points.slice(block.start, block.end);
    if (block.kind === "heading") {
      const depth = Math.min(Math.max(block.level - this.topLevel + 2, 2), 6);
      return markInto(h(`h${depth}`, { dir: "auto" }), text, spans, block.start);
    }
    if (block.kind === "table") return table(block, text, spans, extent);
    if (block.kind === "code") {
      return h("pre", { tabindex: "0", role: "region", "aria-label": "Code" }, markInto(h("code"), text, spans, block.start));
    }
    if (block.kind === "list_item") return listItem(block, text, spans);
    return markInto(h("p", { dir: "auto" }), text, spans, block.start);
  }
}

/** A list's item; a bullet or number that stands in the text is kept, and not doubled. */
function listItem(block, text, spans) {
  const bullet = /^[-*•–·]\s+/.exec(text)?.[0] ?? "";
  const numbered = /^\(?[\da-zA-Z]{1,3}[.)]\s/.test(text);
  const item = h("li", { dir: "auto", class: numbered ? "numbered" : null });
  return markInto(item, text.slice(bullet.length), spans, block.start + bullet.length);
}

/** A table: rows are lines, cells are joined by " | ". */
function table(block, text, spans, extent) {
  const head = h("thead");
  const body = h("tbody");
  const lines = text.split("\n").map((line) => line.split(" | "));
  const width = Math.max(...lines.map((cells) => cells.length));
  let at = block.start;
  for (const cells of lines) {
    const isHeader = at === block.start && Boolean(block.header);
    const row = h("tr");
    const from = at;
    for (const [column, cell] of cells.entries()) {
      const rest = column === cells.length - 1 ? width - column : 1; // a short row's last cell fills it
      const props = { dir: "auto", scope: isHeader ? "col" : null, colspan: rest > 1 ? rest : null };
      row.append(markInto(h(isHeader ? "th" : "td", props), cell, spans, at));
      at += new CodePoints(cell).length + 3;
    }
    at += 1 - 3;
    if (from < extent[1] && at - 1 > extent[0]) row.classList.add("within");
    (isHeader ? head : body).append(row);
  }
  const grid = h("table", {}, head.childElementCount ? head : null, body);
  return h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Table" }, grid);
}

/**
 * Renders everything without holding up the page, and resolves as soon as the block `until` is there.
 * `isCurrent` says whether the work is still wanted.
 */
export function renderAll(container, text, { spans = [], extent = [0, 0], until = 0, isCurrent = () => true }) {
  return new Promise((resolve) => {
    let next = 0;
    const step = () => {
      if (!isCurrent()) return;
      const to = Math.max(next + AT_ONCE, next === 0 ? until + 20 : 0);
      container.append(text.render(next, to, spans, extent));
      next = to;
      resolve();
      if (next < text.blocks.length) setTimeout(step);
    };
    step();
  });
}
