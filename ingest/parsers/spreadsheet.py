"""Excel and OpenDocument spreadsheets, read by calamine."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from ingest import media_types as types
from ingest.errors import CorruptError, EncryptedError
from ingest.parsers.archive import core_properties, open_archive
from ingest.parsers.embedded import embedded_files
from ingest.parsers.part import Draft, Part, Source, heading, table

Cell = int | float | str | bool | datetime.time | datetime.date | datetime.datetime | datetime.timedelta


def read(source: Source) -> Draft:
    """One heading and one table for each visible sheet that is not empty; page = sheet number.

    Formulas give the value they had when the file was saved.

    Raises:
        EncryptedError: The workbook needs a password.
        CorruptError: It cannot be opened.
    """
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(source.content))
    except PasswordError as error:
        raise EncryptedError("the workbook is encrypted with a password") from error
    except CalamineError as error:
        raise CorruptError("the workbook cannot be opened") from error
    title, author, modified_at = "", "", None
    if source.media_type in (types.XLSX, types.XLSB):
        with open_archive(source.content) as archive:
            title, author, modified_at = core_properties(archive)
    members = embedded_files(source.content)
    return Draft(_parts(workbook, source), title, modified_at, {"author": author}, members=members)


def _parts(workbook: CalamineWorkbook, source: Source) -> Iterator[Part]:
    failed = 0
    for number, sheet in enumerate(workbook.sheets_metadata, start=1):
        source.beat()
        if sheet.visible is not SheetVisibleEnum.Visible or sheet.typ is not SheetTypeEnum.WorkSheet:
            continue
        try:
            rows = workbook.get_sheet_by_name(sheet.name)
        except CalamineError:
            failed += 1
            continue
        part = table(_rows(rows), number)
        if part.text:
            yield heading(sheet.name, 1, number)
            yield part
    if failed and failed == len(workbook.sheets_metadata):
        raise CorruptError("no sheet of the workbook can be read")


def _rows(sheet: CalamineSheet) -> Iterator[list[str]]:
    for row in sheet.iter_rows():
        yield [_cell_text(cell) for cell in row]


def _cell_text(cell: Cell) -> str:
    """A cell as people write it: whole numbers without a point, dates and times in ISO form."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ", timespec="seconds").removesuffix(" 00:00:00")
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    return str(cell)
