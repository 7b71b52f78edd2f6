"""Dates as files write them, always with a zone: a file that names none is taken to mean UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_PDF_DATE = re.compile(
    r"(?:D:)?(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:([+\-Z])(\d{2})?'?(\d{2})?)?"
)


def parse_iso_date(text: str) -> datetime | None:
    """An ISO 8601 date and time, None when it is none."""
    try:
        return in_utc(datetime.fromisoformat(text.strip()[:35]))
    except (ValueError, OverflowError):
        return None


def parse_mail_date(text: str) -> datetime | None:
    """The Date header of a message, None when it cannot be read."""
    try:
        return in_utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_pdf_date(text: str) -> datetime | None:
    """A PDF date such as `D:20240131120000+01'00'`, None when it is none."""
    match = _PDF_DATE.match(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) if part else 0 for part in match.groups()[:6])
    sign, zone_hours, zone_minutes = match.group(7) or "Z", match.group(8) or "00", match.group(9) or "00"
    zone = "+00:00" if sign == "Z" else f"{sign}{zone_hours}:{zone_minutes}"
    return parse_iso_date(f"{year:04}-{month or 1:02}-{day or 1:02}T{hour:02}:{minute:02}:{second:02}{zone}")


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
