"""What becomes of one file: screened, masked, de-identified, and searched before it is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import Dataset

from rayology.data.unreadable import as_unreadable
from rayology.deidentify.dataset import Deidentified, deidentify, encoded
from rayology.deidentify.files import content
from rayology.deidentify.masking import masked
from rayology.deidentify.profile import Profile
from rayology.deidentify.residue import Search, identifiers
from rayology.deidentify.rules import Rule, screened
from rayology.errors import DataError

__all__ = ["RESIDUE", "Treated", "treat"]

RESIDUE = "an identifying value of its own would have stayed"


@dataclass(frozen=True)
class Treated:
    """A file that may leave, or the reason why not."""

    written: bytes = b""
    name: str = ""
    """Path of the copy below the output, in pseudonyms."""
    reason: str = ""
    """Reason why it is held back; empty if it may leave."""
    is_readable: bool = True
    is_masked: bool = False
    let_pass: str = ""
    """Reason of the rule that let it pass."""
    done: Mapping[tuple[str, str], int] = field(default_factory=dict)
    values: frozenset[str] = field(default=frozenset(), repr=False)
    """Values that identify somebody in the original, wherever they may be found."""


def treat(path: Path, profile: Profile, key: bytes) -> Treated:
    """Return what becomes of a file; a bad one gives a reason, never an error."""
    try:
        original = content(path)
        with as_unreadable("its header cannot be read"):
            rule = screened(original.dataset, profile.config.rules)
            held = identifiers(original.dataset, profile)
    except DataError as error:
        return _unreadable(error)
    if rule and rule.action == "quarantine":
        return Treated(reason=rule.reason, values=held.whole)
    try:
        with as_unreadable("its content cannot be read or written"):
            result = _deidentified(original.dataset, rule, profile, key)
            written = encoded(result.dataset)
            if Search(held.whole | held.parts).finds(content(written)):
                return Treated(reason=RESIDUE, values=held.whole)
    except DataError as error:
        return replace(_unreadable(error), values=held.whole)
    return Treated(
        written,
        _name(result.dataset, result.patient),
        is_masked=bool(rule and rule.rectangles),
        let_pass=rule.reason if rule and rule.action == "pass" else "",
        done=result.done,
        values=held.whole,
    )


def _deidentified(dataset: Dataset, rule: Rule | None, profile: Profile, key: bytes) -> Deidentified:
    if rule is None or rule.action == "pass":
        return deidentify(dataset, profile, key)
    return deidentify(masked(dataset, rule.rectangles), profile, key, masked=True)


def _unreadable(error: DataError) -> Treated:
    return Treated(reason=f"{type(error).__name__}: {error}", is_readable=False)


def _name(dataset: Dataset, patient: str) -> str:
    """Return patient/study/series/instance, all of them new."""
    uids = (str(dataset.get(f"{level}InstanceUID") or "none") for level in ("Study", "Series", "SOP"))
    return "/".join((patient[:16], *uids)) + ".dcm"
