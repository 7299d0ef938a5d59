"""Synthetic patients: chests drawn as CT shows them, and written as DICOM; right and left are the patient's."""

from rayology.phantom.dicom import EDITION, digest, write_patient
from rayology.phantom.lesions import LESIONS
from rayology.phantom.patient import HEALTHY, draw_patient

__all__ = ["EDITION", "HEALTHY", "LESIONS", "digest", "draw_patient", "write_patient"]
