"""Coded concepts: codes of public schemes stay with the meaning that is published, local ones go."""

import functools
import re
from collections.abc import Mapping

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from rayology.deidentify.values import REMOVED

__all__ = ["PARTS", "clean_concept", "published_meaning"]

PARTS = (
    *("CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning"),
    *("CodingSchemeDesignator", "CodingSchemeVersion"),
)
"""Attributes of a concept (DICOM PS3.3 table 8.8-1)."""
SCHEMES = {
    "DCM": r"\d{4,6}",
    "FMA": r"\d{1,6}",
    "LN": r"\d{1,6}-\d",
    "NCIt": r"C\d{1,7}",
    "RADLEX": r"RID\d{1,6}",
    "SCT": r"\d{6,18}",
    **dict.fromkeys(("SNM3", "SRT", "99SDM"), r"[A-Z]\d?-[0-9A-F]{4,5}"),
    "UCUM": r"1|%|mm|cm|mm2|cm2|mm3|cm3|ml|mL|ms|s|min|h|g|kg|mg|MBq|Bq/ml|Bq/mL|g/ml|\[hnsf'U\]",
}
"""Public schemes (DICOM PS3.16 table 8-1), and how their codes look, so that nothing else can pass for one."""
VERSION = re.compile(r"[0-9][0-9.]{0,15}")


def clean_concept(item: Dataset) -> Mapping[str, str | None]:
    """Return a new value for each of ``PARTS``, None for one that has to go."""
    scheme, value = (str(item.get(keyword) or "").strip() for keyword in ("CodingSchemeDesignator", "CodeValue"))
    meaning = published_meaning(scheme, value)
    is_public = meaning is not None or bool(re.fullmatch(SCHEMES.get(scheme, r"(?!)"), value))
    version = str(item.get("CodingSchemeVersion") or "").strip()
    return {
        "CodeValue": value if is_public else REMOVED,
        "LongCodeValue": REMOVED,
        "URNCodeValue": "urn:removed",
        "CodeMeaning": meaning or REMOVED,
        "CodingSchemeDesignator": scheme if is_public or scheme in SCHEMES else f"99{REMOVED}",
        "CodingSchemeVersion": version if VERSION.fullmatch(version) else None,
    }


def published_meaning(scheme: str, value: str) -> str | None:
    """Return what DICOM PS3.16 says that a code means, as far as an LO holds it; None for other codes."""
    meaning = _meanings().get((scheme, value))
    return meaning and meaning[:64]


@functools.cache
def _meanings() -> Mapping[tuple[str, str], str]:
    """Return the meanings of the concepts that pydicom carries from PS3.16, by scheme and value."""
    schemes = (getattr(codes, scheme) for scheme in ("DCM", "SCT", "UCUM"))
    return {
        (code.scheme_designator, code.value): code.meaning for scheme in schemes for code in scheme.concepts.values()
    }
