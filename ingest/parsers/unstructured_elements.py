"""`unstructured` without its language model: partitioners loaded light, their elements turned into parts.

Its text classifier wants spaCy, torch and numba (360 MB, seven seconds, and a model download) for two
labels we do not use: whether a paragraph reads like a sentence or like a title. A small stand-in for its
tokenizer module, put in place before the first import, keeps all of it out of the process.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from ingest.parsers.html_tables import table_rows
from ingest.parsers.part import Part, code, heading, list_item, paragraph, table

_TOKENIZER_MODULE = "unstructured.nlp.tokenize"
_SENTENCE_END = re.compile(r"(?<=[.!?。！？।؟])\s+")
_WORD = re.compile(r"\w+|[^\w\s]")
_SKIPPED = frozenset({"Header", "Footer", "PageBreak", "Image", "PageNumber"})


def load_partitioner(format_name: str) -> Callable[..., list[Any]]:
    """`unstructured.partition.<format>.partition_<format>`, with nothing heavy imported."""
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["UNSTRUCTURED_DISABLE_NOTICE"] = "1"
    sys.modules.setdefault(_TOKENIZER_MODULE, _light_tokenizer())
    module = importlib.import_module(f"unstructured.partition.{format_name}")
    partition: Callable[..., list[Any]] = getattr(module, f"partition_{format_name}")
    return partition


def _light_tokenizer() -> types.ModuleType:
    module = types.ModuleType(_TOKENIZER_MODULE)
    module.__dict__.update(sent_tokenize=_sentences, word_tokenize=_words, pos_tag=_tags)
    return module


def _sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text)


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _tags(text: str) -> list[tuple[str, str]]:
    """Calls every word of a long or closed phrase a verb: the caller only asks whether there is one."""
    words = _words(text)
    is_sentence = len(words) > 8 or text.rstrip().endswith((".", "!", "?", "。", ":", ";"))
    return [(word, "VB" if is_sentence else "NN") for word in words]


def to_parts(elements: Iterable[Any], *, level: Callable[[Any], int]) -> Iterator[Part]:
    """Parts for `unstructured` elements.

    Args:
        elements: In reading order.
        level: The heading level of a `Title` element, 0 when it is no heading: its classifier
            calls many a short line a title.
    """
    for element in elements:
        category, text, page = type(element).__name__, element.text or "", element.metadata.page_number
        if category in _SKIPPED or not text.strip():
            continue
        if category == "Title" and (depth := level(element)):
            yield heading(text, depth, page)
        elif category == "ListItem":
            yield list_item(text, page)
        elif category == "Table":
            yield _table_part(element, page)
        elif category == "CodeSnippet":
            yield code(text, page)
        else:
            yield paragraph(text, page)


def _table_part(element: Any, page: int | None) -> Part:
    markup = element.metadata.text_as_html
    found = LexborHTMLParser(markup).css_first("table") if markup else None
    part = table(table_rows(found) if found is not None else [], page)
    return part if part.text else paragraph(element.text, page)
