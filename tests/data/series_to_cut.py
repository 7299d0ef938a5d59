"""Series of noise and of phantoms, and what cuts them into patches."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread

from rayology.data import (
    FolderConfig,
    ImageFolderConfig,
    NiftiConfig,
    PhantomConfig,
    PreparationConfig,
    PreparedDataset,
)
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import prepare

WriteDicom = Callable[..., Path]
HEIGHTS = tuple(2.0 * number for number in range(20))


def cut(
    source: FolderConfig | NiftiConfig | PhantomConfig | ImageFolderConfig,
    root: Path,
    *,
    size: int = 16,
    gap_mm: float = 5.0,
    **rules: object,
) -> PreparedDataset:
    patches = PatchesConfig.model_validate(rules)
    return prepare(source, PreparationConfig(size=size, gap_mm=gap_mm, min_foreground=0.0, cut=patches), root)


def patients(write_dicom: WriteDicom, folder: Path, *, heights: Sequence[float] = HEIGHTS) -> None:
    """Write a series of noise for each of four patients, its files in an order of their own."""
    for patient in range(4):
        generator = np.random.default_rng(patient)
        for number, place in enumerate(generator.permutation(len(heights))):
            write_dicom(
                folder / f"{patient}" / f"{number:03d}.dcm",
                generator.integers(-900, 900, (24, 20 + patient)).astype(np.int16),
                PatientID=f"Doe{patient}",
                StudyInstanceUID=f"2.25.1{patient}",
                SeriesInstanceUID=f"2.25.2{patient}",
                ImagePositionPatient=[5, -7, heights[place]],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PixelSpacing=[1.0, 1.0],
            )


def phantoms(root: Path, patients: int) -> Path:
    """Draw phantoms of four slices of 32 x 32; return the folder that holds one of each patient, by lesion."""
    return PhantomConfig(patients=patients, slices=4, size=32).build(root).items()[0].path.parents[2]


def a_slice_inside(folder: Path) -> Path:
    """Return a slice that is neither the first nor the last of its series."""
    (found,) = (file for file in folder.iterdir() if dcmread(file).ImagePositionPatient[2] == HEIGHTS[9])
    return found
