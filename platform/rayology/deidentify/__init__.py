"""De-identification: the basic confidentiality profile of DICOM PS3.15 annex E with its options."""

from rayology.deidentify.dataset import Deidentified, deidentify, encoded
from rayology.deidentify.folder import Progress, deidentify_folder
from rayology.deidentify.profile import Profile, ProfileConfig, SafePrivate
from rayology.deidentify.report import Report
from rayology.deidentify.rules import Rectangle, Rule

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
