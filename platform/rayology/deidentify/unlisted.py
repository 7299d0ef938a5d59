"""What becomes of standard attributes that the profile's table does not list: an allow-list by kind and by keyword.

Numbers and code strings stay if they are valid. Texts and bytes stay in the attributes of ``kept.txt``, which scanners
fill with terms of their own; elsewhere text is treated as a description, and bytes become zeros. Dates are treated as
those of the table are.
"""

import functools
import re
from pathlib import Path

from rayology.deidentify.profile import Action, ProfileConfig

__all__ = ["CHECKED", "conforms", "unlisted_action"]

NUMBERS = frozenset({"FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "AT", "OF", "OD", "OL", "OV", "DS", "IS"})
DATES = frozenset({"DA", "DT", "TM"})
DESCRIPTIONS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
CHECKED = frozenset({"DS", "IS", "CS", "AS", "UI"})
"""VRs written as text that may hold only a few characters."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
MAX_DIGITS = 32
"""Twice what DICOM PS3.5 6.2 allows of a DS, which many scanners overrun."""
CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
UID = re.compile(r"[0-9.]{1,64}")
AGE = re.compile(r"\d{3}[DWMY]")


def unlisted_action(vr: str, keyword: str, config: ProfileConfig) -> Action:
    """Return what becomes of an attribute by its VR in the dictionary; what stays must still conform to it."""
    if vr in NUMBERS | {"CS", "SQ"} or keyword in _kept():
        return Action.KEEP
    if vr == "UI":
        return Action.KEEP if config.retain_uids else Action.MAP
    if vr in DATES and config.dates == "shifted":
        return Action.SHIFT
    if vr in DESCRIPTIONS and config.descriptors == "cleaned":
        return Action.CLEAN
    return Action.REPLACE


def conforms(text: str, vr: str) -> bool:
    """Tell whether a value is valid for its VR, one of ``CHECKED``: no other text may pass as a number or a code."""
    match vr:
        case "DS" | "IS":
            return not text or (len(text) <= MAX_DIGITS and bool(NUMBER.fullmatch(text)))
        case "CS":
            return not text or bool(CODE_STRING.fullmatch(text))
        case "AS":
            return bool(AGE.fullmatch(text))
        case _:
            return bool(UID.fullmatch(text))


@functools.cache
def _kept() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("kept.txt").read_text(encoding="ascii").split())
