"""Copy a data set without what identifies, down to the last item of its last sequence."""

from collections import Counter, defaultdict
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from rayology.deidentify.codes import PARTS, clean_concept
from rayology.deidentify.profile import Action, Entry, Profile, SafePrivate
from rayology.deidentify.values import (
    CHECKED,
    REMOVED,
    cleaned,
    conforms,
    dummy,
    mapped_uid,
    offset_days,
    shifted,
    texts,
)

__all__ = ["Deidentifier"]

Held: TypeAlias = DataElement | RawDataElement
PRIVATE, UNKNOWN = "private attributes", "unknown attributes"
PSEUDONYMOUS = ("PatientID", "PatientName")
LONGEST_PSEUDONYM = 16
AGE_OF_MANY = "090Y"
"""Replacement of ages above 89, which few people reach (45 CFR 164.514)."""
FOREIGN_GROUPS = (0x0000, 0x0002, 0x0004, 0xFFFA, 0xFFFC)
"""Commands, file meta, directories, signatures and padding: none of them belongs in a changed data set."""


@dataclass(frozen=True)
class Deidentifier:
    """Copy data sets of one patient, and count what is done to which attribute."""

    profile: Profile
    key: bytes
    patient: str
    """The patient's pseudonym."""
    done: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Number of times that each action was done, by action and keyword; what stays without an option is not counted."""

    def copy(self, source: Dataset, *, hollow: bool = False) -> Dataset:
        """Return a copy; a hollow one has the structure of the source, but neither its texts nor its numbers."""
        copied = Dataset()
        concept = clean_concept(source) if "CodingSchemeDesignator" in source else {}
        for tag in sorted(source.keys()):
            keyword = PRIVATE if tag.is_private else _keyword(tag)
            if keyword == PRIVATE:
                held = self._private(source, tag)
            elif keyword in PARTS:
                text = concept.get(keyword)
                held = None if text is None else DataElement(tag, dictionary_VR(tag), text)
            else:
                held = None if keyword == UNKNOWN else self._standard(source, tag, hollow=hollow)
            if held is None:
                self.done[Action.REMOVE][keyword] += 1
            else:
                copied[tag] = held
        return copied

    def _standard(self, source: Dataset, tag: BaseTag, *, hollow: bool) -> Held | None:
        held, vrs = source.get_item(tag), dictionary_VR(tag).split(" or ")
        try:
            element = source[tag]
            is_empty = element.is_empty
        except Exception:  # noqa: BLE001 - one invalid value must not keep the others from being treated
            return None
        vr = element.VR if element.VR in vrs else vrs[0]
        entry = self._entry(element, vr, hollow=hollow)
        is_mistyped = not set(element.VR.split(" or ")) & set(vrs)
        if entry.action is Action.REMOVE or (is_mistyped and (vr == "SQ" or entry.action is Action.KEEP)):
            return None
        if is_empty:
            return DataElement(tag, vr, Sequence() if vr == "SQ" else None)
        if vr == "SQ":
            return self._sequence(element, entry.action, hollow=hollow)
        if entry.action is Action.KEEP and (vr not in CHECKED or all(conforms(text, vr) for text in texts(element))):
            return self._kept(element, held, vr)
        return self._changed(element, vr, entry)

    def _entry(self, element: DataElement, vr: str, *, hollow: bool) -> Entry:
        """Return the action on an attribute, and its fallback; within a hollow copy no text or number stays."""
        entry = self.profile.listed.get(element.tag) or self.profile.unlisted(vr, element.keyword)
        is_hollowed = hollow and vr not in {"CS", "SQ"} and entry.action in {Action.KEEP, Action.SHIFT, Action.CLEAN}
        return replace(entry, action=Action.REPLACE) if element.keyword in PSEUDONYMOUS or is_hollowed else entry

    def _kept(self, element: DataElement, held: Held, vr: str) -> Held:
        """Return an element as it was read, byte for byte, except for the ages of the very old."""
        if element.tag in self.profile.listed:
            self.done[Action.KEEP][element.keyword] += 1
        if vr == "AS" and any(text > "089Y" and text.endswith("Y") for text in texts(element)):
            return DataElement(element.tag, vr, AGE_OF_MANY)
        # An implicit element does not name its VR, and an explicit file may hold some.
        return held._replace(VR=element.VR) if isinstance(held, RawDataElement) else held

    def _changed(self, element: DataElement, vr: str, entry: Entry) -> DataElement | None:
        """Do the action, or its fallback if it leaves no value."""
        for action in (entry.action, entry.otherwise):
            value = None if action is Action.REMOVE else self._value(element, vr, action)
            if value is not None:
                if action is not Action.MAP or value != texts(element):  # the standard's own UIDs stay as they are
                    self.done[action][element.keyword] += 1
                return DataElement(element.tag, vr, value)
        return None

    def _value(self, element: DataElement, vr: str, action: Action) -> object:
        value: object = None
        match action:
            case Action.EMPTY:
                value = ""
            case Action.MAP | Action.REPLACE if action is Action.MAP or vr == "UI":
                value = [mapped_uid(text, self.key) for text in texts(element)]
            case Action.REPLACE if element.keyword in PSEUDONYMOUS:
                value = self.patient[:LONGEST_PSEUDONYM]
            case Action.REPLACE:
                value = dummy(element, vr)
            case Action.SHIFT:
                moved = [shifted(text, vr, offset_days(self.patient, self.key)) for text in texts(element)]
                value = None if None in moved else moved
            case Action.CLEAN:
                left = [cleaned(text, self.profile.config.words) for text in texts(element)]
                value = left if any(left) else None
            case Action.KEEP if vr == "CS":  # of several codes the valid ones stay
                value = [text if conforms(text, vr) else REMOVED for text in texts(element)]
        return value

    def _sequence(self, element: DataElement, action: Action, *, hollow: bool) -> DataElement:
        """Walk the items; a sequence that has to be replaced keeps the structure of its first item."""
        items: AbstractSequence[Dataset] = [] if action is Action.EMPTY else element.value
        if action is Action.REPLACE or hollow:
            items, hollow = items[:1], True
        if action in {Action.EMPTY, Action.REPLACE}:
            self.done[action][element.keyword] += 1
        return DataElement(element.tag, "SQ", Sequence([self.copy(item, hollow=hollow) for item in items]))

    def _private(self, source: Dataset, tag: BaseTag) -> Held | None:
        """Keep what the allow-list names, and its private creators."""
        allowed = [safe for safe in self.profile.config.safe_private if int(safe.group, 16) == tag.group]
        if not allowed:
            return None
        block = tag.element if tag.is_private_creator else tag.element >> 8
        creator = source.get((tag.group, block))
        allowed = [safe for safe in allowed if creator and safe.creator == str(creator.value).strip()]
        if tag.is_private_creator:
            return source.get_item(tag) if any(_tag(safe, block) in source for safe in allowed) else None
        if all(_tag(safe, block) != tag for safe in allowed) or source[tag].VR == "UN":
            return None
        self.done[Action.KEEP][PRIVATE] += 1
        held, element = source.get_item(tag), source[tag]
        return self._sequence(element, Action.KEEP, hollow=False) if element.VR == "SQ" else held


def _tag(safe: SafePrivate, block: int) -> int:
    return (int(safe.group, 16) << 16) + (block << 8) + int(safe.element, 16)


def _keyword(tag: BaseTag) -> str:
    """Return the keyword; ``UNKNOWN`` if the standard does not know it or its whole group goes."""
    is_plane = tag.group & 0xFF00 in {0x5000, 0x6000}  # curves and overlays
    if tag.element == 0 or tag.group in FOREIGN_GROUPS or is_plane:
        return UNKNOWN
    return keyword_for_tag(tag) or UNKNOWN
