"""Search the output for values that had to go."""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from jaxtyping import UInt
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from rayology.data.suppression import suppress_output
from rayology.deidentify.files import Content
from rayology.deidentify.profile import Action, Profile
from rayology.deidentify.values import MEASURE, texts, vocabulary

__all__ = ["Identifiers", "Search", "identifiers", "residues"]

MIN_LENGTH, MIN_DIGITS = 4, 6
"""Least lengths of words and numbers; shorter ones occur anywhere by chance."""
MIN_VARIETY = 3
"""Least number of different letters and digits; lines and rows of zeros occur in pixels."""
LONG = 8
"""From this length on a value is found within others and among pixels too."""
CHUNK = 2**20
"""How many bytes are searched at once, so that only the file itself takes memory."""
SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier of hashes: 2**64 over the golden ratio (Knuth, The Art of Computer Programming, volume 3, 6.4)."""
UTF = ("utf-8", "utf-16-le", "utf-16-be")
ENCODINGS = (*UTF, "latin-1", "iso8859_2", "iso8859_5", "iso8859_7", "shift_jis", "iso2022_jp", "euc_kr", "gb18030")
"""The common character sets of DICOM PS3.3 C.12.1.1.2, and that of text in what is not DICOM itself."""
PARTS, LONG_NUMBER = r"[\^= ]+", re.compile(r"\d{4,}")
TEXTS = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UI", "DA", "DT")
OUR_OWN = ("CodeMeaning", "DeidentificationMethod", "ImplementationClassUID", "ImplementationVersionName")
"""Attributes of a copy that hold nothing of its original: only published meanings stay, and we write the others."""


@dataclass(frozen=True)
class Identifiers:
    """What names a person or an act in a file, each value with its attribute's keyword; its repr shows none of it."""

    whole: Mapping[str, str] = field(repr=False)
    """Names, numbers, addresses and UIDs, which no output at all may hold."""
    parts: Mapping[str, str] = field(repr=False)
    """Parts of names, and dates: others have them too, so only the copy of this file must not hold them."""


def identifiers(dataset: Dataset, profile: Profile) -> Identifiers:
    """Collect the values that the profile removes, at any depth; what an option keeps or allows does not count."""
    whole, parts = dict[str, str](), dict[str, str]()
    fitting = [rule for rule in profile.config.rules if rule.action == "allow" and rule.fits(dataset)]
    when = {keyword for rule in fitting for keyword in rule.when if keyword in dataset}
    allowed = [value.lower() for keyword in when for value in texts(dataset[keyword])]
    kept = {word for value in allowed for word in (value, *re.split(PARTS, value))}
    with suppress_output():
        elements = list(_elements(dataset))
    for element in elements:
        entry, keyword = profile.listed.get(element.tag), element.keyword
        if entry is None or element.VR not in TEXTS or element.is_empty:
            continue
        values = set(texts(element))
        if entry.action is Action.KEEP or (entry.action is Action.SHIFT and element.VR == "SH"):  # a time zone
            kept |= {value.lower() for value in values}
        elif entry.is_searched and element.VR in {"DA", "DT"}:
            parts |= {value[:8]: keyword for value in values}
        elif entry.is_searched:
            whole |= dict.fromkeys(values, keyword)
            if element.VR == "PN":
                parts |= {part: keyword for value in values for part in re.split(PARTS, value)}
    for found in (whole, parts):
        for value in [value for value in found if not _is_telling(value) or value.lower() in kept]:
            del found[value]
    return Identifiers(whole, parts)


class Search:
    """Find any of many values, in any case, wherever they begin a word; long ones anywhere.

    The time does not depend on their number: a table of hashes says where the first letters of one may stand.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = {coded.lower(): value for value in values for coded in _coded(value)}
        self._lengths = defaultdict[bytes, set[int]](set)
        """Lengths of the values, by their first letters."""
        for coded in self._values:
            self._lengths[coded[: LONG if len(coded) >= LONG else MIN_LENGTH]].add(len(coded))
        self._bits = max(len(self._lengths).bit_length() + 6, 16)  # of the slots at most one in 64 is taken
        self._begins = np.zeros(2**self._bits, np.bool_)
        begins = [int.from_bytes(letters, "little") for letters in self._lengths]
        self._begins[self._slots(np.array(begins, np.uint64))] = True

    def found(self, searched: Content) -> Counter[str]:
        """Count the places at which the bytes of a file hold each of the values."""
        found, plain = Counter[str](), searched.plain
        for size, end in ((MIN_LENGTH, searched.pixels_at), (LONG, len(plain))):
            for begin in self._candidates(plain, size, end):
                for length in self._lengths.get(plain[begin : begin + size].lower(), ()):
                    coded = plain[begin : begin + length].lower()
                    is_telling = begin < searched.pixels_at or length - coded.count(0) >= LONG
                    is_there = len(coded) == length and coded in self._values  # not cut by the end
                    if is_there and is_telling and _is_apart(plain, begin, begin + length):
                        found[self._values[coded]] += 1
        return found

    def _candidates(self, plain: bytes, size: int, end: int) -> Iterator[int]:
        """Yield where values may begin, judged by their first letters."""
        end = min(end, len(plain) - size + 1)
        for start in range(0, end, CHUNK):
            # Every run of bytes as a number: they overlap.
            lower = plain[start : start + CHUNK + size - 1].lower()
            letters = np.ndarray((min(CHUNK, end - start),), f"<u{size}", lower, strides=(1,))
            places = np.flatnonzero(self._begins[self._slots(letters.astype(np.uint64))])
            yield from (start + places).tolist()

    def _slots(self, letters: UInt[np.ndarray, "n"]) -> UInt[np.ndarray, "n"]:
        return (letters * SPREAD) >> np.uint64(64 - self._bits)


def residues(searched: Content, search: Search, profile: Profile, *, of_others: bool = False) -> Counter[str]:
    """Count the places at which a copy holds values, without those in texts that consist of terms or are our own.

    Values of others may stand in the names of makers and models too, except for long numbers.
    """
    if found := search.found(searched):
        texts_of_terms = _texts_of_terms(searched.dataset, profile, of_others=of_others)
        terms = b"\0\0\0".join((b"DICM", *map(str.encode, texts_of_terms)))
        found -= search.found(Content(Dataset(), terms, len(terms)))
    return found


def _texts_of_terms(dataset: Dataset, profile: Profile, *, of_others: bool) -> Iterator[str]:
    """Yield the texts, of numbers only their decimals and of others all but measures."""
    terms = vocabulary("terms.txt") | vocabulary("words.txt") | set(map(str.lower, profile.config.words))
    for element in (*_elements(dataset.file_meta), *_elements(dataset)):
        for text in texts(element) if element.VR in {"CS", "DS", *TEXTS} else ():
            others = set(text.lower().replace("_", " ").split()) - terms
            if element.VR == "DS":
                yield text.partition(".")[2]
            elif element.keyword in OUR_OWN or text in UID_dictionary or element.tag.is_private_creator:
                yield text
            elif of_others and "Manufacturer" in element.keyword:
                yield LONG_NUMBER.sub("xx", text)
            elif all(map(MEASURE.fullmatch, others)):
                yield functools.reduce(lambda left, measure: left.replace(measure, "\0"), others, text.lower())


def _is_apart(plain: bytes, begin: int, end: int) -> bool:
    """Tell whether a value stands apart: digits do not end a longer word, and a short value is not part of any."""
    value = plain[begin:end]
    if len(value) >= LONG and not value.isdigit():
        return True
    # A letter or digit before a zero byte begins the tag of the next element.
    is_followed = plain[end : end + 1].isalnum() and plain[end + 1 : end + 2] != b"\0"
    return not plain[begin - 1 : begin].isalnum() and (len(value) >= LONG or not is_followed)


def _coded(value: str) -> Iterator[bytes]:
    """Yield a value in each encoding in which a file may hold it; case is folded later, of ASCII's letters alone."""
    for form, encoding in product({value, value.lower(), value.upper()}, UTF if value.isascii() else ENCODINGS):
        with suppress(UnicodeEncodeError):
            yield form.encode(encoding)


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
