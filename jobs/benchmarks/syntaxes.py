"""Images as DICOM in every transfer syntax that is read, for benchmarks and for the tests of what they measure."""

from collections.abc import Callable, Mapping
from io import BytesIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

__all__ = ["ENCODERS", "LOSSLESS", "NATIVE", "head", "written"]

Image = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16]

NATIVE: Mapping[str, uid.UID] = {
    "raw": uid.ExplicitVRLittleEndian,
    "implicit": uid.ImplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}
ENCODERS: Mapping[str, tuple[uid.UID, Callable[[Image], bytes | bytearray]]] = {
    "JPEG 8 bit": (uid.JPEGBaseline8Bit, lambda image: imagecodecs.jpeg8_encode(image, level=90, subsampling="444")),
    "JPEG 12 bit": (uid.JPEGExtended12Bit, lambda image: imagecodecs.jpeg8_encode(image, level=90, bitspersample=12)),
    "JPEG lossless": (
        uid.JPEGLosslessSV1,
        lambda image: imagecodecs.jpeg8_encode(
            image, lossless=True, predictor=1, bitspersample=8 * image.itemsize, colorspace=None
        ),
    ),
    "JPEG-LS": (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG-LS near": (uid.JPEGLSNearLossless, lambda image: imagecodecs.jpegls_encode(image, level=2)),
    "JPEG 2000": (
        uid.JPEG2000Lossless,
        lambda image: imagecodecs.jpeg2k_encode(image, reversible=True, codecformat="j2k"),
    ),
    "JPEG 2000 lossy": (uid.JPEG2000, lambda image: imagecodecs.jpeg2k_encode(image, level=80, codecformat="j2k")),
    "HTJ2K": (uid.HTJ2KLossless, lambda image: imagecodecs.htj2k_encode(image, reversible=True)),
}
LOSSLESS = [*NATIVE, "RLE", "JPEG lossless", "JPEG-LS", "JPEG 2000", "HTJ2K"]
"""The syntaxes, by name, from which the very values come back."""


def head(size: int, *, levels: int = 4096, seed: int = 0) -> NDArray[np.uint16]:
    """Draw a skull with texture and noise in it, about as hard to compress as a slice of CT."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(rows / 0.9, columns / 0.7)
    tissue = 0.25 + 0.05 * np.sin(9 * rows + generator.uniform(0, 6)) * np.cos(7 * columns)
    bone = 0.6 * (np.abs(radius - 0.9) < 0.06)
    noise = generator.normal(0.02, 0.004, (size, size))
    return np.clip(((tissue + bone) * (radius < 1) + noise) * levels, 0, levels - 1).astype(np.uint16)


def written(image: Image, name: str, *, frames: int = 1, attributes: Mapping[str, object] | None = None) -> bytes:
    """Return a file that holds an image, (rows, columns) or (rows, columns, 3), as often as there are frames.

    Args:
        image: Grey of 8 or 16 bits, or RGB of 8.
        name: Of the transfer syntax: of ``NATIVE``, of ``ENCODERS``, or RLE.
        frames: How often the image is repeated.
        attributes: Values of further attributes, by keyword.
    """
    dataset = _described(image, frames)
    if name in ENCODERS:
        syntax, encode = ENCODERS[name]
        unsigned = image.view(f"u{image.itemsize}")  # the sign stands in the header alone
        dataset.PixelData = encapsulate([bytes(encode(unsigned))] * frames)
        dataset["PixelData"].VR = "OB"
        if name == "JPEG 8 bit" and image.ndim == 3:
            dataset.PhotometricInterpretation = "YBR_FULL"  # what the encoder makes of RGB
    else:
        syntax = NATIVE.get(name, uid.ExplicitVRLittleEndian)
        stored = image.byteswap() if syntax == uid.ExplicitVRBigEndian else image
        dataset.PixelData = stored.tobytes() * frames
        dataset["PixelData"].VR = "OB" if image.itemsize == 1 else "OW"
    dataset.file_meta.TransferSyntaxUID = syntax
    if name == "RLE":
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    for keyword, value in (attributes or {}).items():
        setattr(dataset, keyword, value)
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _described(image: Image, frames: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.3", "2.25.1", "2.25.2"
    dataset.PatientID, dataset.Modality = "anyone", "CT"
    dataset.Rows, dataset.Columns = image.shape[:2]
    dataset.SamplesPerPixel = image.shape[2] if image.ndim == 3 else 1
    if image.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = "RGB" if image.ndim == 3 else "MONOCHROME2"
    dataset.NumberOfFrames = frames
    dataset.BitsAllocated = dataset.BitsStored = 8 * image.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(image.dtype.kind == "i")
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.5], 2.0
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-120, -120, 40]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    return dataset
