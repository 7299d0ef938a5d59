"""Series into datasets of 3-D patches: what is cut, and what is held out."""

from itertools import combinations
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.data.built_series import AXIAL, CORONAL, OBLIQUE, SAGITTAL, ramp, write_series
from tests.data.series_to_cut import WriteDicom, cut, patients

from rayology.data import FolderConfig, NiftiConfig, PreparationConfig, PreparedDataset
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import Progress, prepare
from rayology.data.splits import SPLITS
from rayology.data.volumes import read_volumes
from rayology.data.volumes.resampling import resample
from rayology.data.volumes.series import SeriesConfig
from rayology.data.volumes.volume import Volume, orient, patches
from rayology.image import to_stored


def stored_everywhere(data: PreparedDataset) -> NDArray[np.uint16]:
    """Return the images of all splits, in an order that depends on what they hold alone."""
    images = np.concatenate([split.stored(np.arange(len(split))) for split in map(data.split, SPLITS)])
    return images[np.lexsort(images.reshape(len(images), -1).T)]


def expected(volumes: list[Volume], data: PreparedDataset, side: int, spacing_mm: float) -> NDArray[np.uint16]:
    """Cut volumes without the pipeline."""
    kept = data.info.image.values
    boxes = [
        to_stored(box.pixels, kept)
        for volume in volumes
        for box in patches(resample(orient(volume), (spacing_mm,) * 3), (side, side, side), overlap=0, fill=kept.low)
    ]
    images = np.stack(boxes)
    return images[np.lexsort(images.reshape(len(images), -1).T)]


def test_patches_are_the_volumes_cut_at_the_spacing(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", spacing_mm=1.0)

    found = read_volumes(file for file in sorted((tmp_path / "files").rglob("*.dcm")))
    assert data.info.image.size == (16, 16, 16)
    np.testing.assert_array_equal(stored_everywhere(data), expected(list(found.volumes), data, 16, 1.0))
    assert data.info.patients == 4
    assert data.info.patient_safe
    assert data.info.found["slices x rows x columns"].keys() == {f"20 x 24 x {20 + number}" for number in range(4)}


def test_the_names_of_the_files_decide_nothing(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    first = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root")
    for number, file in enumerate(sorted((tmp_path / "files").rglob("*.dcm"), key=lambda path: path.stem[::-1])):
        file.rename(file.with_name(f"x{number:04d}.dcm"))

    again = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root")

    assert again.path != first.path
    np.testing.assert_array_equal(stored_everywhere(first), stored_everywhere(again))


def test_centre_takes_one_patch_of_each_volume(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", extent="centre", spacing_mm=2.5)

    assert data.info.counts.images == 4


@pytest.mark.parametrize("stage", ["reading", "cutting"])
@pytest.mark.parametrize("done", [1, 3])
def test_an_interrupted_preparation_goes_on_with_the_same_bytes(
    tmp_path: Path, write_dicom: WriteDicom, stage: str, done: int
) -> None:
    patients(write_dicom, tmp_path / "files")
    source = FolderConfig(path=str(tmp_path / "files"))
    whole = cut(source, tmp_path / "whole")

    def stop(progress: Progress) -> None:
        if (progress.stage, progress.done) == (stage, done):
            raise KeyboardInterrupt

    preparation = PreparationConfig(size=16, min_foreground=0.0, cut=PatchesConfig())
    with pytest.raises(KeyboardInterrupt):
        prepare(source, preparation, tmp_path / "root", report=stop)
    told: list[Progress] = []
    resumed = prepare(source, preparation, tmp_path / "root", report=told.append)

    images = [file.sha256 for file in whole.info.files if file.name.startswith("images")]
    assert [file.sha256 for file in resumed.info.files if file.name.startswith("images")] == images
    assert resumed.info.counts == whole.info.counts


def test_the_index_says_where_a_patch_lies(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")

    split = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", spacing_mm=2.0).split("train")

    np.testing.assert_allclose(split.index["spacing_mm"].to_pylist(), 2.0)
    corners = np.array(split.index["corner_mm"].to_pylist())
    np.testing.assert_allclose(corners[:, 2], split.index["position_mm"])
    assert len(
        {
            (patient, *corner)
            for patient, corner in zip(split.index["patient"].to_pylist(), corners.tolist(), strict=True)
        }
    ) == len(split)


@pytest.mark.parametrize(
    "cosines", [AXIAL, CORONAL, SAGITTAL, OBLIQUE], ids=["axial", "coronal", "sagittal", "oblique"]
)
def test_patches_show_what_lies_where_the_index_says(
    tmp_path: Path, write_dicom: WriteDicom, cosines: tuple[float, ...]
) -> None:
    slopes = [np.roll((2.0, -3.0, 1.5), by) for by in range(3)]  # of three patients who show different things
    for number, own in enumerate(slopes):
        names = {"PatientID": f"Doe{number}", "SeriesInstanceUID": f"2.25.2{number}"}
        heights = np.arange(14) * 1.5
        folder = tmp_path / "files" / f"{number}"
        write_series(write_dicom, folder, heights, cosines=cosines, shape=(42, 26), slopes=own, attributes=names)

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", spacing_mm=1.0)

    (first, *_) = read_volumes((tmp_path / "files" / "0").iterdir()).volumes
    steps = orient(first).affine[:3, :3] / orient(first).spacing_mm
    inside = np.moveaxis(np.indices((16, 16, 16)), 0, -1)[2:-2, 2:-2, 2:-2]  # where no edge of a volume is near
    kept = data.info.image.values
    shows = []
    for split in map(data.split, SPLITS):
        for corner, stored in zip(
            split.index["corner_mm"].to_pylist(), split.stored(np.arange(len(split))), strict=True
        ):
            values = stored[0, 2:-2, 2:-2, 2:-2] * kept.step + kept.low
            off = [np.abs(values - ramp(inside @ steps.T + corner, own)).max() for own in slopes]
            shows.append(int(np.argmin(off)))
            assert min(off) < kept.step
    assert len(shows) == 3 * 8
    assert set(shows) == {0, 1, 2}


@pytest.mark.slow
def test_no_patch_of_one_patient_reaches_within_the_gap_of_another_split(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    write_series(write_dicom, tmp_path / "files", np.arange(200) * 1.0, shape=(20, 20))

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", overlap=8, gap_mm=3.0)

    assert data.info.note == "one patient"
    assert not data.info.patient_safe
    starts = {name: np.unique(data.split(name).index["position_mm"]) for name in SPLITS}
    for one, other in combinations(SPLITS, 2):
        between = np.abs(starts[one][:, None] - starts[other]).min() - 16 * 1.0
        assert between >= 3.0 - 1e-3


def test_progress_tells_of_the_cutting(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    told: list[Progress] = []

    prepare(
        FolderConfig(path=str(tmp_path / "files")),
        PreparationConfig(size=16, min_foreground=0.0, cut=PatchesConfig()),
        tmp_path / "root",
        report=told.append,
    )

    assert Progress("cutting", 4, 4) in told


def test_patches_are_scaled_for_a_model_as_slices_are(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    split = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root").split("train")

    batch = split.batch(np.arange(3), device=torch.device("cpu"))

    assert batch.images.shape == (3, 1, 16, 16, 16)
    assert -1.0 <= float(batch.images.min()) <= float(batch.images.max()) <= 1.0


@pytest.mark.slow
def test_hippocampi_come_with_masks_on_the_voxels_of_their_images(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "seg_hippocampus_nifti"
    source = NiftiConfig(path=str(folder), image="images/{name}.nii.gz", mask="labels/{name}.nii.gz", modality="MR")

    data = cut(source, tmp_path, extent="centre", spacing_mm=1.0, size=64)

    files = list((folder / "labels").glob("*.nii.gz"))
    sizes = sorted(int(np.count_nonzero(np.asarray(nibabel.load(file).dataobj))) for file in files)
    splits = [data.split(name) for name in SPLITS]
    masks = np.concatenate([split.masks(np.arange(len(split))) for split in splits])
    assert data.info.counts.images == len(files)
    assert sorted(np.count_nonzero(masks, axis=(1, 2, 3)).tolist()) == sizes


@pytest.mark.slow
def test_one_brain_is_cut_into_blocks_of_patches(brain_folder: Path, tmp_path: Path) -> None:
    (volume,) = read_volumes(file for file in sorted(brain_folder.rglob("*")) if file.is_file()).volumes
    turned = resample(orient(volume), (2.0, 2.0, 2.0))
    num_patches = len(list(patches(turned, (16, 16, 16), overlap=0, fill=0.0)))

    data = cut(FolderConfig(path=str(brain_folder)), tmp_path, spacing_mm=2.0, gap_mm=0.0)

    assert data.info.counts.images + data.info.counts.dropped_in_gaps == num_patches
    assert data.info.note == "one patient"
    assert data.info.found["slices x rows x columns"].keys() == {" x ".join(map(str, volume.size))}


def test_series_rules_come_from_the_configuration() -> None:
    config = PreparationConfig.model_validate({"cut": {"kind": "patches", "series": {"tilt": "correct"}}})

    assert config.cut == PatchesConfig(series=SeriesConfig(tilt="correct"))
