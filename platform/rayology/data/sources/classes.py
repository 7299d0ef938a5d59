"""Refuse names that may be patients' as names of classes, because those are published."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from rayology.errors import SourceError

__all__ = ["check_are_classes", "check_class_names", "check_not_patients", "identifies"]

MANY = 12
"""Most classes that may be told apart by numbers alone, like vertebrae and months, or have few images each."""
FEW = 20
"""Least images that teach a class."""
IDENTIFYING = re.compile(
    r"""
      \^                                                                        # Doe^Jane (DICOM PS3.5 6.2.1)
    | [^\W\d_],[ _]?[^\W\d_]                                                    # Doe, Jane
    | \d{5}                                                                     # a number of a patient or examination
    | ^\d+(\.\d+){3,}$                                                          # a UID (DICOM PS3.5 9.1)
    | (?<!\d)(19|20)\d\d[-_. ]\d\d?[-_. ]\d\d?(?!\d)                            # a date
    | (?<!\d)\d\d?[-_. ]\d\d?[-_. ](19|20)\d\d(?!\d)                            # a date
    | (?<!\d)(?<!\d[-_. ])\d\d(?P<mark>[-_. ])\d\d(?P=mark)\d\d(?![-_. ]?\d)    # a date
    | (?<!\d)\d\d?[-_. ]?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[-_. ]?(19|20)\d\d(?!\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)
NUMBERED_PATIENT = re.compile(
    r"^(pat(ient)?|subj?(ect)?|case|person|participant|proband|volunteer|mrn|pid|id|anon(ym\w*)?)[\s_-]*\d",
    re.IGNORECASE,
)
FILLED_NUMBER = re.compile(r"(?<![\d.])0\d\d")
"""An assigned number padded with zeros, as some classes have too."""
WORDS = re.compile(r"^[^\W\d_]{2,}([ _.-]+[^\W\d_]+\.?){1,2}$")
"""Jane Smith, john_smith; and Viral Pneumonia."""
REMEDY = (
    "so they look like patients, not classes; write source.labels: none (and source.patient: '^([^/]+)/' if files "
    "are not DICOM), or say in source.table what or whom images show"
)


def identifies(name: str) -> bool:
    """Return whether a name has signs of a patient's name, number or date that no class has."""
    return bool(IDENTIFYING.search(name))


def check_class_names(names: Collection[str]) -> None:
    """Raise SourceError, which quotes no name, if any name of a class identifies a patient."""
    if number := sum(map(identifies, names)):
        raise SourceError(
            f"the source: {number} of {len(names)} classes are named with ^, a comma between words, a date, a UID or "
            f"five digits in a row, {REMEDY}; names of classes are published"
        )


def check_not_patients(names: Collection[str]) -> None:
    """Raise SourceError, which quotes no name, if any folder identifies a patient or is named like patient_12."""
    check_class_names(names)
    if number := _matching(NUMBERED_PATIENT, names):
        raise SourceError(
            f"the source: {number} of {len(names)} folders are named with words and numbers as patients' folders are, "
            f"{REMEDY}"
        )


def check_are_classes(patients: Mapping[str, Sequence[str]]) -> None:
    """Raise SourceError, which quotes no name, if folders look like patients.

    For each folder it takes the patient of each image, empty if unknown. A folder of several patients is not a patient
    unless its name identifies one. One folder named like patient_12 suffices; classes show other signs too, so most
    folders must show them.
    """
    check_class_names(patients)
    counts = {name: len(whose) for name, whose in patients.items() if len({*whose} - {""}) < 2}
    check_not_patients(counts)
    most = len(counts) // 2 + 1
    few = [name for name, count in counts.items() if count < FEW]
    signs = [
        ("are named with numbers that zeros fill up", _matching(FILLED_NUMBER, counts), most),
        (f"are named with two words or three and hold fewer than {FEW} images", _matching(WORDS, few), most),
    ]
    if len(counts) > MANY:
        forms = Counter(re.sub(r"\d+", "0", name) for name in counts if re.search(r"\d", name))
        signs += [
            ("are told apart by numbers alone", max(forms.values(), default=0), most),
            (f"hold fewer than {FEW} images", len(few), most),
        ]
    for sign, number, least in signs:
        if number >= least:
            raise SourceError(f"the source: {number} of {len(counts)} folders {sign}, {REMEDY}")


def _matching(pattern: re.Pattern[str], names: Iterable[str]) -> int:
    return sum(bool(pattern.search(name)) for name in names)
