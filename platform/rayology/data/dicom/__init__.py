"""Files of DICOM, read by pydicom and decoded by imagecodecs, as images in modality units."""

from rayology.data.dicom.reader import Instance, decode, instances, read, stored

__all__ = ["Instance", "decode", "instances", "read", "stored"]
