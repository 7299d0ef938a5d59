"""What becomes of one file: screened, masked, de-identified, and searched before it is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from rayology.data.unreadable import as_unreadable
from rayology.deidentify.dataset import deidentify, encoded
from rayology.deidentify.files import content
from rayology.deidentify.ledger import NOT_DICOM, FileOutcome
from rayology.deidentify.masking import masked
from rayology.deidentify.profile import Profile
from rayology.deidentify.residue import Search, identifiers, residues
from rayology.deidentify.rules import screened
from rayology.errors import DataError, NotDicom

__all__ = ["RESIDUE", "Treated", "treat"]

RESIDUE = "an identifying value of its own would have stayed"


@dataclass(frozen=True)
class Treated:
    """What becomes of a file, and its copy if it may leave."""

    outcome: FileOutcome
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values that identify somebody in the original, wherever they may be found, each with its attribute's keyword."""
    written: bytes = b""


def treat(path: Path, profile: Profile, key: bytes) -> Treated:
    """Return what becomes of a file; a bad one gives a reason, never an error."""
    values: Mapping[str, str] = {}
    try:
        original = content(path).dataset
        with as_unreadable("its header cannot be read"):
            rule = screened(original, profile.config.rules)
            held = identifiers(original, profile)
        values = held.whole
        if rule and rule.action == "quarantine":
            return Treated(FileOutcome(reason=rule.reason), values)
        with as_unreadable("its content cannot be read or written"):
            is_masked = bool(rule and rule.rectangles)
            shown = masked(original, rule.rectangles) if rule and rule.rectangles else original
            result = deidentify(shown, profile, key, masked=is_masked)
            written = encoded(result.dataset)
            searched = {**held.parts, **held.whole}
            if found := residues(content(written), Search(searched), profile):
                keywords = tuple(sorted({searched[value] for value in found}))
                return Treated(FileOutcome(reason=RESIDUE, found=keywords), values)
    except NotDicom:
        return Treated(FileOutcome(reason=NOT_DICOM, is_readable=False))
    except DataError as error:
        return Treated(FileOutcome(reason=f"{type(error).__name__}: {error}", is_readable=False), values)
    outcome = FileOutcome(
        output=_name(result.dataset, result.patient),
        is_masked=is_masked,
        let_pass=rule.reason if rule and rule.action == "pass" else "",
        done=result.done,
    )
    return Treated(outcome, values, written)


def _name(dataset: Dataset, patient: str) -> str:
    """Return patient/study/series/instance, all of them new."""
    uids = (str(dataset.get(f"{level}InstanceUID") or "none") for level in ("Study", "Series", "SOP"))
    return "/".join((patient[:16], *uids)) + ".dcm"
