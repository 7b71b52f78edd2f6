"""PowerPoint presentations, partitioned by `unstructured`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from pptx import Presentation

from ingest.parsers.archive import core_properties, open_archive
from ingest.parsers.embedded import embedded_files
from ingest.parsers.office_package import repaired_package
from ingest.parsers.part import Draft, Part, Source, paragraph
from ingest.parsers.unstructured_elements import load_partitioner, to_parts


def read(source: Source) -> Draft:
    """Each slide's title as a heading, its text and tables from the top, its notes; page = slide number."""
    partition_pptx = load_partitioner("pptx")
    package = repaired_package(source.content)
    with open_archive(package) as archive:
        title, author, modified_at = core_properties(archive)
    source.beat()
    elements = partition_pptx(file=io.BytesIO(package), include_page_breaks=False, languages=[""])
    parts = _with_notes(to_parts(elements, level=_level), _notes(package))
    return Draft(
        parts, _real_title(title), modified_at, {"author": author}, members=embedded_files(source.content)
    )


def _with_notes(parts: Iterable[Part], notes: dict[int, str]) -> Iterator[Part]:
    """The slides' parts with each slide's notes after them; the partitioner would put them first."""
    for page, slide in groupby(parts, key=lambda part: part.page):
        yield from slide
        if page is not None and (text := notes.pop(page, "")):
            yield paragraph(text, page)
    # What is left belongs to slides without text of their own.
    yield from (paragraph(text, page) for page, text in notes.items())


def _notes(package: bytes) -> dict[int, str]:
    """Speaker notes by slide number."""
    with open_archive(package) as archive:
        if not any(name.startswith("ppt/notesSlides/") for name in archive.namelist()):
            return {}
    slides = Presentation(io.BytesIO(package)).slides
    frames = {
        number: slide.notes_slide.notes_text_frame
        for number, slide in enumerate(slides, start=1)
        if slide.has_notes_slide
    }
    texts = {number: frame.text for number, frame in frames.items() if frame is not None}
    return {number: text for number, text in texts.items() if text.strip()}


def _level(element: Any) -> int:
    """Only the title shape's first paragraph is a heading; short lines elsewhere are not."""
    return 1 if element.metadata.category_depth == 0 else 0


def _real_title(title: str) -> str:
    """The file's own title, unless it is what PowerPoint writes into every new file."""
    return "" if title in ("PowerPoint Presentation", "Slide 1", "PowerPoint-Präsentation") else title
