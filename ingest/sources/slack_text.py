"""Slack's own markup and messages as HTML. Pure.

Names of files are shown, their addresses are not: an export writes an access token into each.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from ingest.sources.slack_workspace import Workspace

_TOKEN = re.compile(r"```(?P<block>.*?)```|`(?P<code>[^`\n]+)`|<(?P<angle>[^<>\n]{1,4000})>", re.DOTALL)
_BOLD = re.compile(r"(?<![\w*])\*(?=\S)([^*\n]{1,500}?)(?<=\S)\*(?![\w*])")
_ITALIC = re.compile(r"(?<![\w_])_(?=\S)([^_\n]{1,500}?)(?<=\S)_(?![\w_])")
_STRIKE = re.compile(r"(?<![\w~])~(?=\S)([^~\n]{1,500}?)(?<=\S)~(?![\w~])")
_SAFE_LINK = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_ACCESS_TOKEN = re.compile(r"xox[a-z]-", re.IGNORECASE)
_MAX_BLOCK_DEPTH = 12


def text_as_html(text: str, workspace: Workspace) -> str:
    """One message's text: mentions by name, links, code, emphasis; everything else escaped."""
    parts: list[str] = []
    at = 0
    for match in _TOKEN.finditer(text):
        parts.append(_plain(text[at : match.start()]))
        at = match.end()
        if match["block"] is not None:
            parts.append(f"<pre>{_escaped(_unwrapped(match['block'], workspace).strip(chr(10)))}</pre>")
        elif match["code"] is not None:
            parts.append(f"<code>{_escaped(_unwrapped(match['code'], workspace))}</code>")
        else:
            parts.append(_angle(match["angle"], workspace))
    parts.append(_plain(text[at:]))
    return "".join(parts)


def message_as_html(message: dict[str, Any], workspace: Workspace) -> str:
    """A message's body: its text, what it is made of when it has none, attachments, names of files."""
    pieces = [text_as_html(piece, workspace) for piece in _texts(message)]
    pieces += [f"[file: {_escaped(name)}]" for name in file_names(message)]
    return "<br>\n".join(piece for piece in pieces if piece.strip())


def plain_text(message: dict[str, Any], workspace: Workspace) -> str:
    """The first words of a message without markup, for a title."""
    text = next(iter(_texts(message)), "") or ", ".join(file_names(message))
    return " ".join(_unwrapped(text.replace("```", " ").replace("`", ""), workspace).split())


def author_of(message: dict[str, Any], workspace: Workspace) -> str:
    """Who wrote a message; a bot by the name it posts under."""
    user = message.get("user")
    if isinstance(user, str) and user in workspace.members:
        return workspace.name_of(user)
    profile = message.get("bot_profile")
    names = (
        message.get("username"),
        profile.get("name") if isinstance(profile, dict) else "",
        user,
        message.get("bot_id"),
    )
    return next((str(name) for name in names if name), "somebody")


def file_names(message: dict[str, Any]) -> list[str]:
    """Names of the files that came with a message."""
    files = message.get("files") if isinstance(message.get("files"), list) else [message.get("file")]
    assert isinstance(files, list)
    names = (file.get("name") or file.get("title") for file in files if isinstance(file, dict))
    return [str(name) for name in names if name]


def _texts(message: dict[str, Any]) -> Iterator[str]:
    text = message.get("text")
    if isinstance(text, str) and text.strip():
        yield text
    elif blocks := list(_block_texts(message.get("blocks"), 0)):
        yield "\n".join(blocks)
    attachments = message.get("attachments")
    for attachment in attachments if isinstance(attachments, list) else []:
        if isinstance(attachment, dict):
            yield from _attachment_texts(attachment)


def _attachment_texts(attachment: dict[str, Any]) -> Iterator[str]:
    found = [attachment.get(key) for key in ("pretext", "title", "text")]
    fields = attachment.get("fields")
    found += [
        f"{field.get('title') or ''}: {field.get('value') or ''}".strip(": ")
        for field in (fields if isinstance(fields, list) else [])
        if isinstance(field, dict)
    ]
    texts = [text for text in found if isinstance(text, str) and text.strip()]
    fallback = attachment.get("fallback")
    yield from texts or ([fallback] if isinstance(fallback, str) else [])


def _block_texts(value: Any, depth: int) -> Iterator[str]:
    """Texts in Block Kit, in reading order."""
    if depth > _MAX_BLOCK_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _block_texts(item, depth + 1)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        elif value.get("type") == "user" and isinstance(value.get("user_id"), str):
            yield f"<@{value['user_id']}>"
        for key in ("text", "fields", "elements"):
            if not isinstance(value.get(key), str):
                yield from _block_texts(value.get(key), depth + 1)


def _plain(text: str) -> str:
    text = _escaped(html.unescape(text))
    for pattern, tag in ((_BOLD, "strong"), (_ITALIC, "em"), (_STRIKE, "s")):
        text = pattern.sub(rf"<{tag}>\1</{tag}>", text)
    return text.replace("\n", "<br>\n")


def _angle(inner: str, workspace: Workspace) -> str:
    """What stands between angle brackets: a mention, a channel, a command or a link."""
    shown = _shown(inner, workspace)
    target = html.unescape(inner.partition("|")[0])
    if inner[0] in "@#!" or not _SAFE_LINK.match(target) or _ACCESS_TOKEN.search(target):
        return _escaped(shown)
    return f'<a href="{_escaped(target)}">{_escaped(shown)}</a>'


def _shown(inner: str, workspace: Workspace) -> str:
    """The words that a reader of the channel sees for what stands between angle brackets."""
    target, _, label = (html.unescape(part) for part in inner.partition("|"))
    if target.startswith("@"):
        return (
            f"@{workspace.name_of(target[1:])}"
            if target[1:] in workspace.members or not label
            else f"@{label}"
        )
    if target.startswith("#"):
        name = workspace.public_names.get(target[1:])
        return f"#{name}" if name else "#private-channel"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    return label or ("a file" if _ACCESS_TOKEN.search(target) else target)


def _unwrapped(text: str, workspace: Workspace) -> str:
    """Text with what stands in angle brackets replaced by its words, and entities decoded."""
    return html.unescape(re.sub(r"<([^<>\n]{1,4000})>", lambda match: _shown(match[1], workspace), text))


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
