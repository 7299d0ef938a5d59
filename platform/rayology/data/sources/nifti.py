"""NIfTI volumes, slice by slice, with masks if there are any."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from pydantic import Field

from rayology.data.dicom import Instance
from rayology.data.dicom.geometry import Geometry, placed
from rayology.data.dicom.values import ModalityCode
from rayology.data.identity import Identity
from rayology.data.sources.image_mask_pairs import Pattern, paired
from rayology.data.sources.named import NamedFilesConfig, NamedFilesSource
from rayology.data.sources.raster import fitting
from rayology.data.sources.source import Example, Item
from rayology.data.unreadable import as_unreadable
from rayology.errors import SourceError, UnreadableImage

__all__ = ["NiftiConfig", "NiftiSource"]

Plane = Literal["axial", "coronal", "sagittal"]

MAX_VALUES = 2**27
"""Most values of a volume."""
AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
TO_MM = {1: 1000.0, 3: 0.001}
"""Factors from metres and micrometres, by the code of the unit of space (NIfTI-1, xyzt_units)."""
MASKS = re.compile(r"(^|[/_.-])(labels?|masks?|seg(mentations?)?|labelsT[rs])([/_.-]|$)", re.IGNORECASE)
TOWARDS = ("L", "P", "I")
"""Directions of the three axes, left, back and down, so that rows and columns run as in DICOM."""


class NiftiConfig(NamedFilesConfig):
    """Slices of NIfTI volumes, whose axes are turned to the patient's."""

    kind: Literal["nifti"] = "nifti"
    """This source."""
    image: Pattern = "{name}.nii.gz"
    """Names of the volumes below the path; {name} is the part that the mask's name shares."""
    mask: Annotated[str, Field(pattern=r"^([^{}]*\{name\}[^{}]*)?$", title="a name with {name} in it")] = ""
    """Names of the masks below the path, such as labels/{name}.nii.gz; empty without masks."""
    plane: Plane = "axial"
    """Plane of the slices, as near as the volume's own axes come."""
    modality: ModalityCode = ""
    """DICOM modality; values of CT are Hounsfield units, others keep percentiles of each volume."""

    def build(self, root: Path) -> "NiftiSource":
        """Return the source, which keeps what it unpacks or fetches below a root."""
        return NiftiSource(self, root)


@dataclass(frozen=True)
class _Volume:
    """Voxels whose axes lead to the left, to the back and downwards, with the affine to LPS coordinates in mm."""

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class NiftiSource(NamedFilesSource[NiftiConfig]):
    """List volumes and read their slices."""

    def find(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """Find all volumes with their masks, and raise SourceError if there are none or masks would count as images."""
        found = paired(names, self.config.image, self.config.mask)
        masks = [name for name in found if MASKS.search(name)] if not self.config.mask else []
        if masks and len(masks) < len(found):
            raise SourceError(
                f"{len(masks)} of {len(found)} volumes are named as masks or labels; set source.image "
                "to how images alone are named, such as images/{name}.nii.gz, and source.mask to how masks are"
            )
        return found

    def images(self, item: Item, identity: Identity) -> Iterator[Example]:
        """Read the slices of a volume, with their masks."""
        identity = replace(identity, frame_of_reference=item.part)
        volume = _read(item.path)
        regions = _read_regions(item.beside[0], volume) if self.config.mask else None
        axis = AXES[self.config.plane]
        for place in range(volume.voxels.shape[axis]):
            yield Example(
                self._slice(volume, axis, place, identity),
                mask=None if regions is None else np.ascontiguousarray(regions.take(place, axis).T),
            )

    def _slice(self, volume: _Volume, axis: int, place: int, identity: Identity) -> Instance:
        pixels = np.ascontiguousarray(volume.voxels.take(place, axis).T)
        valid = np.isfinite(pixels)
        if not valid.all():
            pixels[~valid] = pixels[valid].min() if valid.any() else 0.0
        return Instance(
            pixels=pixels[None],
            valid=valid,
            geometry=_geometry(volume.affine, axis, place),
            modality=self.config.modality,
            syntax="",
            identity=identity,
        )


def _read(file: Path) -> _Volume:
    with as_unreadable("is not a NIfTI volume that can be read"):
        image = nibabel.load(file)
        _check_is_one_volume(image.shape, image.get_data_dtype())
        if not abs(np.linalg.det(image.affine)) > 0:
            raise UnreadableImage("its affine places it nowhere in space; correct the header")
        if np.prod(image.shape, dtype=np.float64) > MAX_VALUES:
            raise UnreadableImage(f"has more than {MAX_VALUES} values; split it")
        turned = image.slicer[..., *([0] * (len(image.shape) - 3))] if len(image.shape) > 3 else image
        turned = turned.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(TOWARDS)))
        to_mm = _to_mm(image.header)
        lps = np.diag([-to_mm, -to_mm, to_mm, 1.0]) @ turned.affine
        return _Volume(np.asarray(turned.dataobj, np.float32), lps)


def _check_is_one_volume(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Raise UnreadableImage unless an image has three axes of grey values, and any further ones have length 1."""
    if dtype.names:
        raise UnreadableImage("has colours (RGB); write grey values, or its slices as pictures for an image_folder")
    if dtype.kind == "c":
        raise UnreadableImage("has complex values; write their magnitude")
    if len(shape) < len(TOWARDS):
        raise UnreadableImage("is one slice, not a volume; write a third axis of length 1, or a picture")
    for axis, length in enumerate(shape[3:], 4):
        if length != 1:
            what = f"{length} volumes (times, directions, channels or vectors) along axis {axis}"
            raise UnreadableImage(f"holds {what}; write each, or the one to learn from, into a file of its own")


def _to_mm(header: object) -> float:
    """Return the length in mm of the unit of space, which is mm if a file, such as one of an older format, has none."""
    return TO_MM.get(int(header["xyzt_units"]) & 7, 1.0) if isinstance(header, Nifti1Header) else 1.0


def _read_regions(file: Path, volume: _Volume) -> NDArray[np.uint8]:
    try:
        mask = _read(file)
    except UnreadableImage as error:
        raise UnreadableImage(f"its mask {error}") from None
    numbers = np.rint(mask.voxels)
    if not (np.isfinite(numbers).all() and numbers.min() >= 0 and numbers.max() <= 255):
        raise UnreadableImage("its mask numbers regions beyond 0 to 255; renumber them")
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.allclose(mask.affine, volume.affine, atol=0.1 * spacing.min()):
        raise UnreadableImage("its mask lies elsewhere in space, or has other units; resample it to the volume")
    return fitting(numbers.astype(np.uint8), volume.voxels.shape)


def _geometry(affine: NDArray[np.float64], axis: int, place: int) -> Geometry:
    """Return where a slice lies: rows run along the second of the other axes, columns along the first."""
    along, down = (other for other in range(3) if other != axis)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    corner = affine[:3, 3] + place * affine[:3, axis]
    return placed([*directions[:, along], *directions[:, down]], corner.tolist(), spacing[[down, along]].tolist())
