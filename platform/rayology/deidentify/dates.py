"""Dates that move by whole days, so that what lies between two of them stays."""

import datetime as dt
import hashlib
import hmac
import re

__all__ = ["offset_days", "shifted"]

MIN_DAYS, MAX_DAYS = 366, 3652
DATE = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})")  # with the dots of ACR-NEMA, DICOM PS3.5 6.2
DATE_TIME = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?")
TIME = re.compile(r"\d{2}:?(\d{2}:?(\d{2}(\.\d{1,6})?)?)?")
ZONE = re.compile(r"[+-]\d{4}")


def offset_days(patient: str, key: bytes) -> int:
    """Return the number of days by which a patient's dates move: one to ten years back."""
    digest = hmac.new(key, b"days\0" + patient.encode(), hashlib.sha256).digest()
    return -(MIN_DAYS + int.from_bytes(digest[:8], "big") % (MAX_DAYS - MIN_DAYS + 1))


def shifted(value: str, vr: str, days: int) -> str | None:
    """Return a DA or DT moved by days, a TM or a time zone as it is, and None for anything else.

    >>> shifted("20200301", "DA", -1), shifted("20200301120000.5+0100", "DT", -1), shifted("120000", "TM", -1)
    ('20200229', '20200229120000.5+0100', '120000')
    """
    value = value.strip(" \0")
    match vr:
        case "DA" if found := DATE.fullmatch(value):
            return _moved(found, days)
        case "DT" if found := DATE_TIME.fullmatch(value):
            moved = _moved(found, days)
            length = 4 + 2 * sum(part is not None for part in found.group(2, 3))  # as precise as it was
            return None if moved is None else moved[:length] + (found[4] or "") + (found[5] or "")
        case "TM" if TIME.fullmatch(value):
            return value
        case "SH" if ZONE.fullmatch(value):
            return value
        case _:
            return None


def _moved(found: re.Match[str], days: int) -> str | None:
    year, month, day = (int(part or 1) for part in found.group(1, 2, 3))
    try:
        return f"{dt.date(year, month, day) + dt.timedelta(days):%Y%m%d}".zfill(8)
    except (ValueError, OverflowError):
        return None
