"""Values of a header straight from their bytes: pydicom converts one in the time that this takes for ten.

What is not in its standard form is left to pydicom, so both give the same.
"""

import functools

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

__all__ = ["decimals", "has", "integer", "text"]

PADDING = b" \0"
ESCAPE = b"\x1b"  # starts a switch of the character set (DICOM PS3.5 6.1.2.5)


def has(dataset: Dataset, keyword: str) -> bool:
    """Return whether an attribute is there, empty or not."""
    return _tag(keyword) in dataset


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the value of an attribute of VR US, or None where it is not there or is no whole number."""
    raw = _raw(dataset, keyword, "US")
    if raw is not None and len(raw.value) == 2:
        return int.from_bytes(raw.value, "little" if raw.is_little_endian else "big")
    value = dataset.get(keyword)
    return int(value) if isinstance(value, int) else None


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of an attribute of VR DS; none where it is not there, empty, or holds what is no number."""
    raw = _raw(dataset, keyword, "DS")
    if raw is None:
        values = dataset.get(keyword)
        values = [] if values is None else values if hasattr(values, "__iter__") else [values]
    else:
        values = raw.value.rstrip(PADDING).split(b"\\") if raw.value.rstrip(PADDING) else []
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return ()


def text(dataset: Dataset, keyword: str) -> str:
    """Return the value of an attribute of VR CS, UI, LO or UT; empty where it is not there."""
    raw = _raw(dataset, keyword, "CS", "UI", "LO", "UT")
    if raw is not None and raw.value.isascii() and ESCAPE not in raw.value:
        return raw.value.decode("ascii").strip(" \0")
    return str(dataset.get(keyword) or "").strip(" \0")


def _raw(dataset: Dataset, keyword: str, *representations: str) -> RawDataElement | None:
    """Return an element that was read and not yet converted, if it has one of the representations that it should."""
    tag = _tag(keyword)
    element = dataset.get_item(tag) if tag in dataset else None
    if isinstance(element, RawDataElement) and element.value is not None and element.VR in {None, *representations}:
        return element
    return None


@functools.cache
def _tag(keyword: str) -> BaseTag:
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return Tag(number)
