"""DICOM files, read by pydicom and decoded by imagecodecs, as images in modality units."""

from rayology.data.dicom.facts import Facts
from rayology.data.dicom.geometry import Geometry
from rayology.data.dicom.reader import Instance, decode, instances, read
from rayology.data.dicom.selection import Selection

__all__ = ["Facts", "Geometry", "Instance", "Selection", "decode", "instances", "read"]
