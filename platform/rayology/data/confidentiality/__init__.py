"""De-identification: the basic confidentiality profile of DICOM PS3.15 annex E with its options."""

from rayology.data.confidentiality.deidentify import Deidentified, deidentify, encoded
from rayology.data.confidentiality.folder import Progress, deidentify_folder
from rayology.data.confidentiality.profile import Profile, ProfileConfig, SafePrivate
from rayology.data.confidentiality.report import Report
from rayology.data.confidentiality.rules import Rectangle, Rule

__all__ = [
    "Deidentified",
    "Profile",
    "ProfileConfig",
    "Progress",
    "Rectangle",
    "Report",
    "Rule",
    "SafePrivate",
    "deidentify",
    "deidentify_folder",
    "encoded",
]
