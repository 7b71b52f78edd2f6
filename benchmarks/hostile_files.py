"""Makes hostile files: damaged copies of good ones, and files whose right reason is known by construction.

Seeded: the same seed, sources and number give the same files.
"""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MIB = 1024 * 1024
_SMALL = 200_000
_PACKED = (".docx", ".xlsx", ".pptx", ".odt", ".epub")
_SUFFIXES = (
    ".pdf",
    ".docx",
    ".xlsx",
    ".pptx",
    ".html",
    ".eml",
    ".msg",
    ".rtf",
    ".csv",
    ".zip",
    ".txt",
    ".xml",
)

# Of the evaluation data's synthetic files, those whose description leaves one right reason.
_SYNTHETIC = {
    "bomb_400MB.docx": "expansion_limit",
    "nested_42_style.zip": "expansion_limit",
    "70000_entries.zip": "expansion_limit",
    "billion_laughs.xml": "expansion_limit",
    "path_traversal.zip": "live",
    "truncated_half.docx": "corrupt",
    "truncated_half.xlsx": "corrupt",
    "truncated_half.pptx": "corrupt",
    "truncated_half.doc": "unsupported_type",
    "xxe.svg": "unsupported_type",
    "html_named.pdf": "live",
    "pdf_named.docx": "live",
    "empty.docx": "empty_file",
    "spaces_only.txt": "no_text",
    "latin1_named_utf8.txt": "live",
    "utf16_bom.txt": "live",
    "deep_nesting.html": "corrupt",
    "prompt_injection.md": "live",
}


_LONG = ("wide.csv", "one_line_20MB.txt")
"""Well-formed texts of two million characters: minutes of embedding that say nothing about harm."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A hostile file.

    Attributes:
        label: The one right outcome (an error code, or `live`); empty when several are right.
        size_bytes: When larger than the content, the rest of the file is a hole.
    """

    name: str
    content: bytes
    label: str
    size_bytes: int = 0


def good_sources(*folders: Path) -> list[Path]:
    """Small files below the folders, to be damaged."""
    found = (path for folder in folders if folder.is_dir() for path in folder.rglob("*"))
    return sorted(
        path
        for path in found
        if path.is_file() and not path.name.startswith(".") and 0 < path.stat().st_size < _SMALL
    )


def hostile_files(
    sources: list[Path], synthetic: Path | None, *, count: int, too_large_bytes: int, seed: int
) -> Iterator[Hostile]:
    """Exactly `count` files: the synthetic ones first, then every way of damage in turn."""
    chance = random.Random(seed)
    made = 0
    if synthetic is not None and synthetic.is_dir():
        for path in sorted(path for path in synthetic.iterdir() if path.name not in _LONG)[:count]:
            yield Hostile(f"synthetic-{path.name}", path.read_bytes(), _SYNTHETIC.get(path.name, ""))
            made += 1
    ways: tuple[Callable[[], Hostile], ...] = (
        lambda: _truncated(chance, sources),
        lambda: _flipped(chance, sources),
        lambda: _spliced(chance, sources),
        lambda: _renamed(chance, sources),
        lambda: _cut_package(chance, sources),
        lambda: _locked(chance),
        lambda: _bomb(chance),
        lambda: _hollow(chance),
        lambda: _foreign(chance),
        lambda: Hostile("large.txt", b"x", "too_large", too_large_bytes),
    )
    for number in range(made, count):
        one = ways[number % len(ways)]()
        yield Hostile(f"{number:05d}-{one.name}", one.content, one.label, one.size_bytes)


def _truncated(chance: random.Random, sources: list[Path]) -> Hostile:
    path = chance.choice(sources)
    content = path.read_bytes()
    return Hostile(f"cut{path.suffix}", content[: chance.randrange(1, len(content) + 1)], "")


def _flipped(chance: random.Random, sources: list[Path]) -> Hostile:
    path = chance.choice(sources)
    content = bytearray(path.read_bytes())
    for _ in range(max(1, len(content) // chance.choice((50, 500, 5_000)))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return Hostile(f"flipped{path.suffix}", bytes(content), "")


def _spliced(chance: random.Random, sources: list[Path]) -> Hostile:
    first, second = chance.choice(sources), chance.choice(sources)
    head, tail = first.read_bytes(), second.read_bytes()
    content = head[: chance.randrange(len(head) + 1)] + tail[chance.randrange(len(tail)) :]
    return Hostile(f"spliced{first.suffix}", content, "")


def _renamed(chance: random.Random, sources: list[Path]) -> Hostile:
    path = chance.choice(sources)
    return Hostile(f"renamed{chance.choice(_SUFFIXES)}", path.read_bytes(), "")


def _cut_package(chance: random.Random, sources: list[Path]) -> Hostile:
    """A zip-based document without its table of contents: nothing can be read from it."""
    path = chance.choice([path for path in sources if path.suffix in _PACKED])
    content = path.read_bytes()
    end = content.rfind(b"PK\x01\x02", 0, content.find(b"PK\x01\x02") + 1)
    cut = content[: chance.randrange(end // 2, end)] if end > 1_000 else content[:500]
    return Hostile(f"cut-off{path.suffix}", cut, "corrupt")


def _locked(chance: random.Random) -> Hostile:
    mail = (
        b"From: a@example.org\nTo: b@example.org\nSubject: secret\nMIME-Version: 1.0\n"
        b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\n\n'
    )
    archive = bytearray(_zip({"a.txt": chance.randbytes(400), "b.txt": b"hello"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = archive.find(mark)
        while start >= 0:
            archive[start + at] |= 1
            start = archive.find(mark, start + 4)
    manifest = b'<manifest:manifest xmlns:manifest="m"><manifest:encryption-data/></manifest:manifest>'
    odt = _zip(
        {
            "mimetype": b"application/vnd.oasis.opendocument.text",
            "META-INF/manifest.xml": manifest,
            "content.xml": chance.randbytes(300),
        }
    )
    name, content = chance.choice((("m.eml", mail), ("locked.zip", bytes(archive)), ("locked.odt", odt)))
    return Hostile(name, content, "encrypted")


def _bomb(chance: random.Random) -> Hostile:
    kind = chance.randrange(4)
    if kind == 0:
        content = gzip.compress(bytes(chance.randrange(30, 50) * _MIB), 9)
        return Hostile("bomb.gz", content, "expansion_limit")
    if kind == 1:
        zeros = bytes(chance.randrange(25, 40) * _MIB)
        return Hostile("bomb.docx", _zip({"word/document.xml": zeros}), "expansion_limit")
    if kind == 2:
        inner = b"PK\x05\x06" + bytes(18)
        for _ in range(chance.randrange(4, 9)):
            inner = _zip({"inner.zip": inner})
        return Hostile("nested.zip", inner, "expansion_limit")
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 10))
    laughs = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><x>&e9;</x>'
    return Hostile("laughs.xml", laughs.encode(), "expansion_limit")


def _hollow(chance: random.Random) -> Hostile:
    suffix = chance.choice(_SUFFIXES)
    if chance.random() < 0.5:
        return Hostile(f"empty{suffix}", b"", "empty_file")
    return Hostile("blank.txt", b" \n\t" * chance.randrange(1, 500), "no_text")


def _foreign(chance: random.Random) -> Hostile:
    heads = (b"\x89PNG\r\n\x1a\n", b"\x7fELF\x02\x01\x01\x00", b"7z\xbc\xaf\x27\x1c", b"OggS\x00\x02", b"")
    content = chance.choice(heads) + b"\x00\x01\x02" + chance.randbytes(chance.randrange(500, 5_000))
    return Hostile(f"foreign{chance.choice(_SUFFIXES)}", content, "unsupported_type")


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
