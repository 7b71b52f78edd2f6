"""Turns bytes of unknown encoding into text. Never fails: a wrong guess gives wrong letters, not an error."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

_SAMPLE_BYTES = 32_768
_FEW_HIGH_BYTES = 60
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")

# UTF-32 stands first: its little-endian mark begins with the one of UTF-16.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(
    rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?([\w.:-]{2,30})""", re.I
)


def decode_text(content: bytes) -> str:
    """The text of `content`: by byte order mark, as UTF-8, as UTF-16, as it declares itself, or by guess."""
    encoding = find_encoding(content)
    return content.decode(encoding, "replace")


def find_encoding(content: bytes) -> str:
    """The name of the encoding that fits best; decoding with it may still need replacement characters."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    sample = content[:_SAMPLE_BYTES]
    if wide := _wide_encoding(sample):
        return wide
    if _is_utf8(content):
        return "utf-8"
    return _declared_encoding(sample) or _guessed_encoding(content)


def _is_utf8(content: bytes) -> bool:
    try:
        # A character cut in half at the end does not count against UTF-8.
        codecs.getincrementaldecoder("utf-8")().decode(content, final=False)
    except UnicodeDecodeError:
        return False
    return True


def _wide_encoding(sample: bytes) -> str:
    """UTF-16 without a mark: Western text in it has a NUL in nearly every second byte."""
    half = len(sample) // 2
    if half < 2:
        return ""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return ""


def _declared_encoding(sample: bytes) -> str:
    declared = _DECLARED.search(sample[:4096])
    if declared is None:
        return ""
    try:
        encoding = codecs.lookup(declared.group(1).decode("ascii")).name
        sample.decode(encoding, "replace")
    except (LookupError, UnicodeError, ValueError):
        return ""
    return encoding if encoding not in ("utf-8", "utf-16", "utf-32") else ""


def _is_western(content: bytes) -> bool:
    """Whether the bytes beyond ASCII stand alone between ASCII letters, and are few.

    So do umlauts and accents; in every East Asian encoding they come in pairs. On a few dozen bytes
    the statistics of the guesser below are worse than this rule.
    """
    high = _HIGH_RUN.findall(content)
    n_high = sum(len(run) for run in high)
    n_single = sum(1 for run in high if len(run) == 1)
    return n_high < _FEW_HIGH_BYTES and n_single >= 0.7 * len(high)


def _guessed_encoding(content: bytes) -> str:
    if _is_western(content):
        return "cp1252"
    # The sample starts at the first byte that is not ASCII: a long English preface would hide it.
    first = next((at for at in range(0, len(content), 4096) if not content[at : at + 4096].isascii()), 0)
    best = from_bytes(content[first : first + _SAMPLE_BYTES]).best()
    if best is None or best.encoding in ("utf_8", "ascii", "utf_16", "utf_32"):
        return "cp1252"
    return best.encoding
