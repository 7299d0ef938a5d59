"""Series of DICOM files that show a ramp, and what reads them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom import Instance, read
from rayology.data.volumes.assembly import assemble
from rayology.data.volumes.series import Frame, SeriesConfig, split
from rayology.data.volumes.stack import Stack, stack
from rayology.data.volumes.volume import Volume

WriteDicom = Callable[..., Path]
Read = Mapping[Frame, Instance]

ROWS, COLUMNS = 6, 5
SPACING = (0.5, 0.8)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
TURN = np.radians(30)
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0.0, -np.sin(TURN) * 0.6, np.cos(TURN) * 0.6, 0.8)
SLOPE, INTERCEPT = 0.01, -300.0
SLOPES = np.array([2.0, -3.0, 1.5])


def ramp(positions_mm: NDArray[np.float64], slopes: NDArray[np.float64] = SLOPES) -> NDArray[np.float64]:
    """What the built slices show at a place in the patient."""
    return np.asarray(positions_mm @ slopes)


def write_series(
    write_dicom: WriteDicom,
    folder: Path,
    heights: Sequence[float] | NDArray[np.floating[Any]],
    *,
    cosines: Sequence[float] = AXIAL,
    shear: Sequence[float] = (0.0, 0.0, 0.0),
    shape: tuple[int, int] = (ROWS, COLUMNS),
    slopes: NDArray[np.float64] = SLOPES,
    attributes: Mapping[str, object] = MappingProxyType({}),
) -> list[Path]:
    """Write slices of a ramp at heights along their normal, files and Instance Number in an order of their own."""
    x, y = np.reshape(cosines, (2, 3))
    start = len(list(folder.glob("*"))) if folder.exists() else 0
    shuffled = np.random.default_rng(7).permutation(len(heights))
    files: list[Path] = []
    for place in shuffled:
        number = start + len(files)
        corner = (5.0, -7.0, 11.0) + heights[place] * (np.cross(x, y) + shear)
        rows, columns = np.indices(shape)
        shown = ramp(corner + rows[..., None] * y * SPACING[0] + columns[..., None] * x * SPACING[1], slopes)
        placed: dict[str, object] = {
            "ImagePositionPatient": [float(value) for value in corner.round(9)],
            "ImageOrientationPatient": [float(value) for value in np.round(cosines, 9)],
            "PixelSpacing": list(SPACING),
            "InstanceNumber": 1000 - number,
            "RescaleSlope": SLOPE,
            "RescaleIntercept": INTERCEPT,
        }
        pixels = np.rint((shown - INTERCEPT) / SLOPE).astype(np.uint16)
        files.append(write_dicom(folder / f"{number:03d}.dcm", pixels, **(placed | dict(attributes))))
    return files


def read_frames(folder: Path) -> dict[Frame, Instance]:
    """Read every frame of the files below a folder, and what their headers say of it."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for number, instance in enumerate(read(file)):
            frame = Frame.of(
                instance.pixels,
                instance.identity,
                file=file,
                number=number,
                geometry=instance.geometry,
                facts=instance.facts,
            )
            found[frame] = instance
    return found


def one_stack(frames: Iterable[Frame], rules: SeriesConfig | None = None) -> Stack:
    (only,) = split(list(frames), rules or SeriesConfig())
    return stack(only, rules or SeriesConfig())


def assembled(found: Read, made: Stack) -> Volume:
    return assemble(made, [found[each].pixels for each in made.frames], [found[each].valid for each in made.frames])


def indices(volume: Volume) -> NDArray[np.intp]:
    return np.moveaxis(np.indices(volume.size), 0, -1)


def assert_shows_the_ramp(volume: Volume) -> None:
    """Every valid voxel holds what lies at its place in the patient, to the step of the stored values."""
    shown = ramp(volume.positions_mm(indices(volume)))

    assert volume.valid.any()
    np.testing.assert_allclose(volume.pixels[0][volume.valid], shown[volume.valid], atol=2 * SLOPE)
