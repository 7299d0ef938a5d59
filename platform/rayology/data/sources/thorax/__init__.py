"""Draws the chests of synthetic patients as CT shows them; right and left are the patient's throughout."""

from rayology.data.sources.thorax.lesions import LESIONS
from rayology.data.sources.thorax.patient import HEALTHY, Drawing, draw_patient
from rayology.data.sources.thorax.scanner import FIELD_OF_VIEW_MM, SLICE_SPACING_MM

__all__ = ["FIELD_OF_VIEW_MM", "HEALTHY", "LESIONS", "SLICE_SPACING_MM", "Drawing", "draw_patient"]
