"""Search the output for values that had to go."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from rayology.data.suppression import suppress_output
from rayology.deidentify.codes import OPTIONS, published_meaning
from rayology.deidentify.files import Content
from rayology.deidentify.profile import Action, Profile
from rayology.deidentify.values import DUMMIES, REMOVED, texts

__all__ = ["Identifiers", "Search", "identifiers"]

MIN_LENGTH, MIN_DIGITS = 4, 6
"""Least lengths of words and numbers; shorter ones occur anywhere by chance."""
MIN_VARIETY = 3
"""Least number of different letters and digits; lines and rows of zeros occur in pixels."""
LONG = 8
"""From this length on a value is found within others and among pixels too."""
PREFIX = 2
CHUNK = 2**20
"""How many bytes are searched at once, so that memory stays bounded."""
PLACEHOLDERS = frozenset({"anonymous", "anonymized", "none", "other", "unknown", "unspecified"})
"""Placeholders of names that are common codes as well."""
ENCODINGS = ("utf-8", "latin-1", "iso8859_2", "iso8859_5", "iso8859_7", "shift_jis", "iso2022_jp", "euc_kr", "gb18030")
"""The common character sets of DICOM PS3.3 C.12.1.1.2."""
TEXTS = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UI", "DA", "DT")


@dataclass(frozen=True)
class Identifiers:
    """What names a person or an act in a file; its repr shows none of it."""

    whole: frozenset[str] = field(repr=False)
    """Names, numbers, addresses and UIDs, which no output at all may hold."""
    parts: frozenset[str] = field(repr=False)
    """Parts of names, and dates: others have them too, so only the copy of this file must not hold them."""


def identifiers(dataset: Dataset, profile: Profile) -> Identifiers:
    """Collect the values that the profile removes, at any depth; what an option keeps does not count."""
    whole, parts, kept = set[str](), set[str](), set[str]()
    with suppress_output():
        elements = list(_elements(dataset))
    for element in elements:
        entry = profile.listed.get(element.tag)
        if entry is None or element.VR not in TEXTS or element.is_empty:
            continue
        values = set(texts(element))
        if entry.action is Action.KEEP or (entry.action is Action.SHIFT and element.VR == "SH"):  # a time zone
            kept |= values
        elif entry.is_searched and element.VR in {"DA", "DT"}:
            parts |= {value[:8] for value in values}
        elif entry.is_searched:
            whole |= values
            if element.VR == "PN":
                parts |= {part for value in values for part in value.replace("^", " ").replace("=", " ").split()}
    passed = {value.lower() for value in kept} | _own_words()
    telling = {value for value in whole | parts if _is_telling(value) and value.lower() not in passed}
    return Identifiers(frozenset(whole & telling), frozenset(parts & telling))


class Search:
    """Find any of many values, in any case, wherever they begin a word; long ones anywhere."""

    def __init__(self, values: Iterable[str]) -> None:
        self._by_prefix = defaultdict[int, set[bytes]](set)
        for value in values:
            for coded in map(bytes.lower, _coded(value)):
                self._by_prefix[int.from_bytes(coded[:PREFIX], "big")].add(coded)
        self._begins = np.zeros(256**PREFIX, np.bool_)
        self._begins[list(self._by_prefix)] = True

    def finds(self, searched: Content) -> bool:
        """Tell whether the bytes of a file hold any of the values."""
        plain = searched.plain
        for begin in self._candidates(plain):
            for value in self._by_prefix[int.from_bytes(plain[begin : begin + PREFIX].lower(), "big")]:
                end = begin + len(value)
                is_telling = len(value) >= (MIN_LENGTH if begin < searched.pixels_at else LONG)
                if is_telling and plain[begin:end].lower() == value and _is_apart(plain, begin, end):
                    return True
        return False

    def _candidates(self, plain: bytes) -> Iterator[int]:
        """Yield where values may begin, judged by their first letters."""
        for start in range(0, len(plain), CHUNK):
            letters = np.frombuffer(plain[start : start + CHUNK + PREFIX - 1].lower(), np.uint8).astype(np.uint16)
            codes = (letters[:-1] << 8) | letters[1:]
            yield from (start + int(place) for place in np.flatnonzero(self._begins[codes]))


def _is_apart(plain: bytes, begin: int, end: int) -> bool:
    """Tell whether a value stands apart: digits do not end a longer word, and a short value is not part of any."""
    value = plain[begin:end]
    if len(value) >= LONG and not value.isdigit():
        return True
    # A letter or digit before a zero byte begins the tag of the next element.
    is_followed = plain[end : end + 1].isalnum() and plain[end + 1 : end + 2] != b"\0"
    return not plain[begin - 1 : begin].isalnum() and (len(value) >= LONG or not is_followed)


@functools.cache
def _own_words() -> frozenset[str]:
    """Return what every output says, whoever wrote it: dummies and the names of the options."""
    meanings = " ".join(published_meaning("DCM", code) or "" for code in OPTIONS)
    return PLACEHOLDERS.union(" ".join((REMOVED, *DUMMIES.values(), meanings)).lower().split())


def _coded(value: str) -> Iterator[bytes]:
    """Yield a value in each encoding in which DICOM may have written it."""
    for encoding in ("ascii",) if value.isascii() else ENCODINGS:
        with suppress(UnicodeEncodeError):
            yield value.encode(encoding)


def _is_telling(value: str) -> bool:
    is_varied = len(set(filter(str.isalnum, value))) >= MIN_VARIETY
    return is_varied and len(value) >= (MIN_DIGITS if value.isdigit() else MIN_LENGTH) and value not in UID_dictionary


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """Yield every element of the tree that can be read."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating over a Dataset converts each of its elements, or raises
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001, S112 - what cannot be read was removed
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element
