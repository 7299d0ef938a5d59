"""Descriptions, reduced to words from a list."""

import functools
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

__all__ = ["cleaned"]

MEASURE = re.compile(r"\d{1,3}(\.\d{1,3})?(mm|cm|ms|s|min|t|kv|hz|deg)", re.IGNORECASE)
TOKEN = re.compile(r"w/o(?![^\W_])|[ctl]-spine(?![^\W_])|[^\W_]+(?:\.\d+\w*)?", re.IGNORECASE)
"""Words; a term stays whole if cutting it would reverse or lose its meaning."""
B_VALUE = re.compile(r"b\d{1,4}", re.IGNORECASE)


def cleaned(text: str, more: Iterable[str] = ()) -> str:
    """Return the words of radiology and the measures, in order; a number alone may belong to a name.

    >>> cleaned("T1 AX post GD, Doe^Jane 4711 0.625mm", more=["bolus"])
    'T1 AX post GD 0.625mm'
    >>> cleaned("L-SPINE W/O contrast, Jane no Doe")
    'L-SPINE W/O contrast no'
    """
    known = _words() | {word.lower() for word in more}
    return " ".join(token for token in TOKEN.findall(text) if _is_known(token, known))


def _is_known(token: str, known: AbstractSet[str]) -> bool:
    return token.lower() in known or bool(MEASURE.fullmatch(token) or B_VALUE.fullmatch(token))


@functools.cache
def _words() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("words.txt").read_text(encoding="ascii").split())
