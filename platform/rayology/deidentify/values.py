"""Single values: which of them are valid, and what stands in the place of the others."""

import datetime as dt
import functools
import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.uid import UID_dictionary

__all__ = [
    "CHECKED",
    "DUMMIES",
    "MEASURE",
    "NUMBERS",
    "REMOVED",
    "cleaned",
    "conforms",
    "dummy",
    "mapped_uid",
    "offset_days",
    "shifted",
    "texts",
    "vocabulary",
]

NUMBERS = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "AT"})
DECIMAL = r"(?!.{33})([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?)?"
"""Pattern of a number, of up to twice the length that DICOM PS3.5 6.2 allows of a DS, which many scanners overrun."""
CHECKED = {"DS": DECIMAL, "IS": DECIMAL, "CS": r"[A-Z0-9 _]{0,16}", "AS": r"\d{3}[DWMY]", "UI": r"[0-9.]{1,64}"}
"""Patterns of the VRs that are written as text and may hold only a few characters."""

REMOVED = "REMOVED"
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UR": "urn:removed"}

MIN_DAYS, MAX_DAYS = 366, 3652
TEMPORAL = {
    "DA": r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})",  # with the dots of ACR-NEMA, DICOM PS3.5 6.2
    "DT": r"(\d{4})(?:(\d{2})(?:(\d{2})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?",
    "TM": r"\d{2}:?(\d{2}:?(\d{2}(\.\d{1,6})?)?)?",
    "SH": r"[+-]\d{4}",
}
"""Patterns of dates, times of day and time zones, of which only dates move."""

MEASURE = re.compile(r"\d{1,3}(\.\d{1,3})?(mm|cm|ms|s|min|t|kv|hz|deg)|b\d{1,4}", re.IGNORECASE)
TOKEN = re.compile(r"w/o(?![^\W_])|[ctl]-spine(?![^\W_])|[^\W_]+(?:\.\d+\w*)?", re.IGNORECASE)
"""Words; a term stays whole if cutting it would reverse or lose its meaning."""


def texts(element: DataElement) -> list[str]:
    """Return every value of an element as text, without padding."""
    return [str(value).strip(" \0") for value in (element.value if element.VM > 1 else [element.value])]


def conforms(text: str, vr: str) -> bool:
    """Tell whether a value is valid for its VR, one of ``CHECKED``: no other text may pass as a number or a code."""
    return bool(re.fullmatch(CHECKED[vr], text))


def mapped_uid(uid: str, key: bytes) -> str:
    """Return the new UID for an old one, under the root of UUIDs (DICOM PS3.5 B.2); the standard's own stay.

    It is the same everywhere under one key, and cannot be predicted without it.
    """
    if not uid or uid in UID_dictionary:
        return uid
    digest = hmac.new(key, b"uid\0" + uid.encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def dummy(element: DataElement, vr: str) -> object:
    """Return a valid value that says nothing, or as many of them or as many bytes as the element has."""
    if vr.startswith("O") or vr == "UN":
        return bytes(len(element.value) if isinstance(element.value, bytes) else 2)
    one: object = DUMMIES.get(vr, REMOVED)
    if vr in NUMBERS:
        one = "0" if vr in {"DS", "IS"} else 0
    return [one] * element.VM if element.VM > 1 else one


def offset_days(patient: str, key: bytes) -> int:
    """Return the number of days by which a patient's dates move: one to ten years back."""
    digest = hmac.new(key, b"days\0" + patient.encode(), hashlib.sha256).digest()
    return -(MIN_DAYS + int.from_bytes(digest[:8], "big") % (MAX_DAYS - MIN_DAYS + 1))


def shifted(value: str, vr: str, days: int) -> str | None:
    """Return a DA or DT moved by days, so that what lies between two of them stays.

    A TM and a time zone are returned as they are, and None for anything else.

    >>> shifted("20200301", "DA", -1), shifted("20200301120000.5+0100", "DT", -1), shifted("120000", "TM", -1)
    ('20200229', '20200229120000.5+0100', '120000')
    """
    found = re.fullmatch(TEMPORAL[vr], value) if vr in TEMPORAL else None
    if not found or vr in {"TM", "SH"}:
        return value if found else None
    year, month, day = (int(part or 1) for part in found.group(1, 2, 3))
    try:
        moved = f"{dt.date(year, month, day) + dt.timedelta(days):%Y%m%d}".zfill(8)
    except (ValueError, OverflowError):
        return None
    if vr == "DA":
        return moved
    length = 4 + 2 * sum(part is not None for part in found.group(2, 3))  # as precise as it was
    return moved[:length] + (found[4] or "") + (found[5] or "")


def cleaned(text: str, more: Iterable[str] = ()) -> str:
    """Return the words of radiology and the measures, in order; a number alone may belong to a name.

    >>> cleaned("T1 AX post GD, Doe^Jane 4711 0.625mm", more=["bolus"])
    'T1 AX post GD 0.625mm'
    >>> cleaned("L-SPINE W/O contrast, Jane no Doe")
    'L-SPINE W/O contrast no'
    """
    known = vocabulary("words.txt") | {word.lower() for word in more}
    return " ".join(token for token in TOKEN.findall(text) if token.lower() in known or MEASURE.fullmatch(token))


@functools.cache
def vocabulary(name: str) -> frozenset[str]:
    """Return the words of a list that lies next to this module: kept.txt, terms.txt or words.txt."""
    return frozenset(Path(__file__).with_name(name).read_text(encoding="ascii").split())
