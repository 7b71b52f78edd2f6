"""Confluence's storage format (XHTML with macros) as plain HTML. Pure.

Headings, tables, lists, links and code survive; panels keep their text; a macro that nobody knows here is shown
as text with its name and parameters. Nothing is pulled in from other pages: their readers may be others.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lxml import etree

_AC, _RI = "{urn:ac}", "{urn:ri}"
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_TAG = re.compile(r"<[^<>]*>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

_KEPT = frozenset(
    {
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del"),
        *("div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li"),
        *("mark", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "table"),
        *("tbody", "td", "tfoot", "th", "thead", "time", "tr", "u", "ul"),
    }
)
_KEPT_ATTRIBUTES = frozenset({"href", "colspan", "rowspan", "start", "datetime"})
_DROPPED = frozenset({"script", "style", "iframe", "object", "embed", "noscript"})
_SAFE_LINK = re.compile(r"(?:https?:|mailto:|#|/)", re.IGNORECASE)
_PREFORMATTED = frozenset({"code", "noformat", "codeblock", "paste-code-macro"})
_PANELS = frozenset(
    {
        *("info", "note", "tip", "warning", "panel", "expand", "excerpt", "section", "column", "details"),
        *("ui-expand", "ui-tab", "ui-tabs", "section-container", "align", "div", "span", "multiexcerpt"),
        *("multiexcerpt-macro", "auitabs", "auitabspage"),
    }
)
# Macros that only Confluence can fill: navigation, and lists made anew at every view.
_EMPTY = frozenset(
    {
        *("toc", "toc-zone", "children", "pagetree", "pagetreesearch", "anchor", "recently-updated"),
        *("livesearch", "attachments", "contentbylabel", "blog-posts", "breadcrumb", "create-from-template"),
        *("popular-labels", "labels-list", "change-history"),
    }
)


@dataclass(frozen=True, slots=True)
class Links:
    """How links inside a page are written.

    Attributes:
        base_url: Where Confluence lives, without "/" at the end; empty shows the text alone.
        space_key: The page's own space, for links that name none.
        people: What people are called by key.
    """

    base_url: str = ""
    space_key: str = ""
    people: Mapping[str, str] = field(default_factory=dict)

    def page(self, title: str, space_key: str) -> str:
        """The address of a page, empty when nobody knows it."""
        space = space_key or self.space_key
        if not self.base_url or not title or not space:
            return ""
        return f"{self.base_url}/display/{quote(space, safe='~')}/{quote(title, safe='')}"


def storage_as_html(body: str, links: Links) -> str:
    """A page's body as HTML; a body that is not well-formed as its bare text, with nothing lost."""
    body = _CONTROL.sub(" ", body)
    root = _parsed(body)
    if root is None:
        return markup_as_html(_TAG.sub(" ", " ".join(_around_cdata(body))))
    # Children come before the elements around them, so that a macro finds its body converted.
    for element in reversed(list(root.iter(etree.Element))):
        if element is not root:
            _convert(element, links)
    etree.cleanup_namespaces(root)
    inner = html.escape(root.text or "", quote=False)
    return inner + "".join(etree.tostring(child, method="html", encoding="unicode") for child in root)


def markup_as_html(text: str) -> str:
    """Text without structure, such as wiki markup of old versions, as paragraphs."""
    text = html.unescape(text)
    parts = (part.strip() for part in re.split(r"\n\s*\n", text))
    return "\n".join(f"<p>{html.escape(part, quote=False)}</p>" for part in parts if part)


def _parsed(body: str) -> Any:
    """The body as a tree, None when it is not well-formed. It has no document type, so no entities either."""
    pieces = _around_cdata(body)
    # Every second piece stood in a CDATA section: there an "&nbsp;" is text and stays as it is.
    source = "".join(
        html.escape(piece, quote=False) if number % 2 else _ENTITY.sub(_entity, piece)
        for number, piece in enumerate(pieces)
    )
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(f'<body xmlns:ac="urn:ac" xmlns:ri="urn:ri">{source}</body>', parser)
    except (etree.XMLSyntaxError, ValueError):
        return None


def _around_cdata(body: str) -> list[str]:
    """The body cut at its CDATA sections: every second piece, from the second on, is what one of them holds."""
    pieces = []
    at = 0
    while (start := body.find("<![CDATA[", at)) >= 0 and (end := body.find("]]>", start)) >= 0:
        pieces += [body[at:start], body[start + len("<![CDATA[") : end]]
        at = end + len("]]>")
    return [*pieces, body[at:]]


def _entity(match: re.Match[str]) -> str:
    if match[1] in _XML_ENTITIES:
        return match[0]
    text = html.unescape(match[0])
    return html.escape(text) if text != match[0] else f"&amp;{match[1]};"


def _convert(element: Any, links: Links) -> None:
    """Turn one element into HTML in place."""
    tag = str(element.tag)
    if tag in _DROPPED:
        _replace(element, [])
    elif tag.startswith("{"):
        _convert_special(element, links)
    elif tag in _KEPT:
        _strip(element)
    else:
        _become(element, "div" if len(element) else "span")


def _convert_special(element: Any, links: Links) -> None:
    """Turn an element of Confluence's own into HTML in place."""
    tag = str(element.tag)
    name = tag.removeprefix(_AC)
    if name in _ALONE:
        _ALONE[name](element)
    elif name in _LEADING:
        _LEADING[name](element, links)
    elif not tag.startswith(_RI):  # these tell their parent where it leads
        _become(element, "div" if len(element) else "span")


def _strip(element: Any) -> None:
    """Leave only harmless attributes."""
    for name, value in list(element.attrib.items()):
        is_bad_link = name == "href" and not _SAFE_LINK.match(value.strip())
        if name not in _KEPT_ATTRIBUTES or is_bad_link:
            del element.attrib[name]
    if element.tag == "time" and not (element.text or "").strip():
        element.text = element.get("datetime", "")


def _become(element: Any, tag: str) -> None:
    element.tag = tag
    element.attrib.clear()


def _replace(element: Any, children: list[Any], text: str = "", tag: str = "div") -> None:
    """Give an element another content, and nothing of its own."""
    tail = element.tail
    element.clear()
    element.tag = tag
    element.text = text
    element.tail = tail
    element.extend(children)


def _block(tag: str, text: str) -> Any:
    element = etree.Element(tag)
    element.text = text
    return element


def _macro(element: Any) -> None:
    name = (element.get(f"{_AC}name") or "").lower()
    parameters = {
        child.get("data-name", ""): "".join(child.itertext()) for child in element.iterfind("ac-parameter")
    }
    plain = ["".join(child.itertext()) for child in element.iterfind("ac-plain")]
    rich = [child for child in element if child.tag == "div"]
    title = parameters.get("title", "").strip()
    content = [_block("p", title)] if title else []
    if name in _EMPTY:
        content = rich
    elif name in _PREFORMATTED:
        content += [_block("pre", text) for text in plain]
    elif name == "status":
        _replace(element, [], title, "span")
        return
    else:
        if name not in _PANELS:
            shown = ", ".join(
                f"{key}={value}" if key else value for key, value in parameters.items() if value.strip()
            )
            content = [_block("p", f"[{name}: {shown}]" if shown else f"[{name}]")]
        content += rich + [_block("pre", text) for text in plain]
    _replace(element, content)


def _parameter(element: Any, links: Links) -> None:
    name = element.get(f"{_AC}name", "")
    targets = [_target(child, links)[0] for child in element.iter() if str(child.tag).startswith(_RI)]
    text = "".join(element.itertext()) or ", ".join(target for target in targets if target)
    _replace(element, [], text, "ac-parameter")
    element.set("data-name", name)


def _plain_body(element: Any) -> None:
    _replace(element, [], "".join(element.itertext()), "ac-plain")


def _link(element: Any, links: Links) -> None:
    target = next((child for child in element if str(child.tag).startswith(_RI)), None)
    shown, address = _target(target, links) if target is not None else ("", "")
    if anchor := element.get(f"{_AC}anchor"):
        address, shown = (f"{address}#{quote(anchor)}" if address else ""), shown or anchor
    body = next((child for child in element if child.tag in ("ac-plain", "span", "div")), None)
    text = "".join(body.itertext()).strip() if body is not None else ""
    _replace(element, [], text or shown, "a" if address else "span")
    if address:
        element.set("href", address)


def _target(target: Any, links: Links) -> tuple[str, str]:
    """What a resource identifier is called, and its address when it has one."""
    kind = str(target.tag).removeprefix(_RI)
    if kind in ("page", "blog-post"):
        title = target.get(f"{_RI}content-title", "")
        return title, links.page(title, target.get(f"{_RI}space-key", "")) if kind == "page" else ""
    if kind == "user":
        key = (
            target.get(f"{_RI}userkey") or target.get(f"{_RI}account-id") or target.get(f"{_RI}username", "")
        )
        return f"@{links.people.get(key) or target.get(f'{_RI}username') or 'user'}", ""
    if kind == "url":
        address = target.get(f"{_RI}value", "")
        return address, address if _SAFE_LINK.match(address) else ""
    return target.get(f"{_RI}filename") or target.get(f"{_RI}space-key") or "", ""


def _image(element: Any, links: Links) -> None:
    target = next((child for child in element if str(child.tag).startswith(_RI)), None)
    shown = element.get(f"{_AC}alt") or (_target(target, links)[0] if target is not None else "")
    _replace(element, [], f"[image: {shown}]" if shown else "", "span")


def _task(element: Any) -> None:
    status = "".join("".join(child.itertext()) for child in element.iterfind("ac-status")).strip()
    bodies = [child for child in element if child.tag in ("span", "div") and (len(child) or child.text)]
    _replace(element, bodies, "[x] " if status == "complete" else "[ ] ", "li")


def _task_body(element: Any) -> None:
    _become(element, "span")


def _task_status(element: Any) -> None:
    element.tag = "ac-status"


def _task_list(element: Any) -> None:
    _become(element, "ul")


def _emoticon(element: Any) -> None:
    fallback = element.get(f"{_AC}emoji-fallback") or element.get(f"{_AC}emoji-shortname") or ""
    _replace(element, [], fallback, "span")


def _gone(element: Any) -> None:
    _replace(element, [], "", "span")


def _adf(element: Any) -> None:
    """A newer editor's element with a copy for older readers: the copy is enough."""
    fallback = [child for child in element if child.get("data-adf") == "fallback"]
    if fallback:
        _replace(element, fallback)
    else:
        _become(element, "div")


def _adf_fallback(element: Any) -> None:
    _become(element, "div")
    element.set("data-adf", "fallback")


def _rich_body(element: Any) -> None:
    _become(element, "div")


_ALONE: dict[str, Callable[[Any], None]] = {
    "structured-macro": _macro,
    "macro": _macro,
    "plain-text-body": _plain_body,
    "plain-text-link-body": _plain_body,
    "rich-text-body": _rich_body,
    "task": _task,
    "task-body": _task_body,
    "task-status": _task_status,
    "task-id": _gone,
    "task-uuid": _gone,
    "task-list": _task_list,
    "emoticon": _emoticon,
    "placeholder": _gone,
    "adf-extension": _adf,
    "adf-fallback": _adf_fallback,
    "adf-attribute": _gone,
}
_LEADING: dict[str, Callable[[Any, Links], None]] = {
    "parameter": _parameter,
    "default-parameter": _parameter,
    "link": _link,
    "image": _image,
}
