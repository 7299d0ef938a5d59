"""What becomes of each attribute: the basic profile of DICOM PS3.15 annex E, and the options that a config adds."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rayology.config import Config
from rayology.deidentify.rules import Rule
from rayology.deidentify.values import NUMBERS, vocabulary

__all__ = ["TABLE", "Action", "Entry", "Profile", "ProfileConfig", "SafePrivate"]

TABLE = Path(__file__).with_name("profile.tsv")
"""DICOM PS3.15 table E.1-1, edition of January 2025: tag, code of the basic profile, codes of the options."""


class Action(StrEnum):
    """What is done to an attribute; the words are those of the report."""

    REMOVE = "removed"
    EMPTY = "emptied"
    REPLACE = "replaced"
    KEEP = "kept"
    CLEAN = "cleaned"
    SHIFT = "shifted"
    MAP = "mapped"


OPTIONAL = {0x00081110: Action.REMOVE}
"""Attributes under X/Z that are of type 3 and must not be empty: Referenced Study Sequence (DICOM PS3.3 C.7.2.1)."""
BASIC = {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.REPLACE, "U": Action.MAP, "U*": Action.MAP}


class SafePrivate(Config):
    """A private attribute that is known to hold no identity."""

    group: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{3}[13579bdfBDF]$")]
    """Group of the attribute: four hexadecimal digits, odd."""
    creator: Annotated[str, Field(min_length=1)]
    """Private creator of the attribute."""
    element: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{2}$")]
    """Last two hexadecimal digits of the element."""


class ProfileConfig(Config):
    """The basic profile, and what is retained beyond it."""

    dates: Literal["removed", "shifted"] = "removed"
    """Dates: removed, or shifted by a number of days per patient; times of day then stay."""
    descriptors: Literal["removed", "cleaned"] = "removed"
    """Descriptions: removed, or cleaned of all words that are not in a list of radiology's words."""
    words: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] = ()
    """More words that cleaned descriptions may keep, in upper or lower case."""
    retain_uids: bool = False
    """Whether UIDs stay as they are; otherwise each is mapped to the same new one everywhere."""
    retain_device: bool = False
    """Whether the scanner's identity stays, such as its serial number and its station's name."""
    retain_institution: bool = False
    """Whether the institution's name and address stay."""
    retain_patient: bool = False
    """Whether age (up to 89), sex, size and weight stay."""
    safe_private: tuple[SafePrivate, ...] = ()
    """Private attributes that stay, such as
    ``[{"group": "7053", "creator": "Philips PET Private Group", "element": "00"}]``."""
    rules: tuple[Rule, ...] = ()
    """Rules that hold files back, mask them or let them pass; the first that fits decides, built-in ones last. Such
    as ``[{"reason": "our scanner's banner", "when": {"Modality": "US", "Rows": "768"}, "action": "mask", "rectangles":
    [{"top": 0, "left": 0, "rows": 60, "columns": 1024}]}]``."""

    def build(self) -> "Profile":
        """Return what becomes of each attribute."""
        return Profile(self, {tag: _entry(tag, *codes, self) for tag, codes in _table().items()})


@dataclass(frozen=True)
class Entry:
    """What becomes of one attribute."""

    action: Action
    otherwise: Action
    """Fallback if the action cannot be done, such as for an invalid date or a description without a word to keep."""
    is_searched: bool
    """Whether its value names a person or an act, so that no output may hold it."""


@dataclass(frozen=True)
class Profile:
    """Say what becomes of each attribute."""

    config: ProfileConfig
    listed: Mapping[int, Entry]
    """What the standard's table says, by tag."""

    def unlisted(self, vr: str, keyword: str) -> Entry:
        """Return what becomes of a standard attribute that the table does not list, by its VR in the dictionary.

        Numbers and code strings stay if they are valid. Texts and bytes stay in the attributes of ``kept.txt``, which
        scanners fill with terms of their own; elsewhere text is treated as a description, and bytes become zeros.
        """
        action = Action.REPLACE
        if vr in NUMBERS | {"OF", "OD", "OL", "OV", "CS", "SQ"} or keyword in vocabulary("kept.txt"):
            action = Action.KEEP
        elif vr == "UI":
            action = Action.KEEP if self.config.retain_uids else Action.MAP
        elif vr in {"DA", "DT", "TM"} and self.config.dates == "shifted":
            action = Action.SHIFT
        elif vr in {"LO", "SH", "ST", "LT", "UT", "UC"} and self.config.descriptors == "cleaned":
            action = Action.CLEAN
        # An invalid number must not become another number.
        return Entry(action, Action.REMOVE if action is Action.KEEP else Action.REPLACE, is_searched=False)

    def codes(self) -> tuple[str, ...]:
        """Return the codes of the profile and of the options in use (DICOM PS3.16 CID 7050)."""
        config = self.config
        used = {
            "113100": True,  # Basic Application Confidentiality Profile
            "113105": config.descriptors == "cleaned",
            "113107": config.dates == "shifted",
            "113108": config.retain_patient,
            "113109": config.retain_device,
            "113110": config.retain_uids,
            "113111": bool(config.safe_private),
            "113112": config.retain_institution,
        }
        return tuple(code for code, is_used in used.items() if is_used)


def _entry(tag: int, basic: str, options: Mapping[str, str], config: ProfileConfig) -> Entry:
    """Resolve one row; a compound code such as X/Z/D counts as its last, which is valid for any type of attribute.

    PS3.15 table E.1-1a lets the type of the attribute in its IOD choose between the letters. Nothing here knows the
    IODs, an attribute that is there may be of type 1, and a dummy is as empty of identity as nothing.
    """
    otherwise = OPTIONAL.get(tag) or BASIC[basic.rsplit("/", maxsplit=1)[-1]]
    retained = {
        "uids": config.retain_uids,
        "device": config.retain_device,
        "institution": config.retain_institution,
        "patient": config.retain_patient,
    }
    action = otherwise
    if "shifted_dates" in options and config.dates == "shifted":
        action = Action.SHIFT
    elif any(is_retained and options.get(option) == "K" for option, is_retained in retained.items()):
        action = Action.KEEP
    elif "descriptors" in options and config.descriptors == "cleaned":
        action = Action.CLEAN
    names_nobody = {"device", "institution", "patient", "descriptors"} & options.keys()
    return Entry(action, otherwise, is_searched=action is not Action.KEEP and not names_nobody)


@functools.cache
def _table() -> Mapping[int, tuple[str, Mapping[str, str]]]:
    """Read the rows of single attributes; the Deidentifier itself treats whole groups."""
    rows = (line.split("\t") for line in TABLE.read_text(encoding="ascii").splitlines())
    return {
        int(tag, 16): (basic, dict(option.split("=") for option in options.split()))
        for tag, basic, options in rows
        if not set("GX") & set(tag)
    }
