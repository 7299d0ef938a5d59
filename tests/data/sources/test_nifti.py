"""NIfTI volumes: slices as DICOM would lay them, their place, and their masks."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.data.sources.examples import example_of

from rayology.data import NiftiConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.sources import nifti as nifti_module
from rayology.data.sources.named import UNFIT
from rayology.data.sources.nifti import Plane
from rayology.data.sources.source import Example
from rayology.errors import SourceError, UnreadableImage

VOXELS = np.random.default_rng(0).integers(0, 1000, (6, 8, 10)).astype(np.int16)
"""Along the axes right, anterior, superior."""


def save(file: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    return file


def examples(config: NiftiConfig, root: Path) -> list[Example]:
    source = config.build(root)
    return [example for item in source.items() if not item.reason for example in source.read(item)]


@pytest.mark.parametrize(
    ("plane", "expected"),
    [
        ("axial", [VOXELS[::-1, ::-1, 9 - place].T for place in range(10)]),
        ("coronal", [VOXELS[::-1, 7 - place, ::-1].T for place in range(8)]),
        ("sagittal", [VOXELS[5 - place, ::-1, ::-1].T for place in range(6)]),
    ],
)
def test_rows_and_columns_run_as_in_dicom(tmp_path: Path, plane: Plane, expected: list[NDArray[np.int16]]) -> None:
    save(tmp_path / "a.nii.gz", VOXELS, np.eye(4))

    found = examples(NiftiConfig(path=str(tmp_path), plane=plane), tmp_path / "root")

    np.testing.assert_array_equal([each.instance.pixels[0] for each in found], expected)


def test_the_order_in_which_a_file_stores_its_axes_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", VOXELS, np.diag([2.0, 3, 4, 1]))
    turned = np.zeros((4, 4))
    turned[[2, 0, 1, 3], [0, 1, 2, 3]] = [4.0, -2, 3, 1]
    turned[0, 3] = 2 * 5
    save(tmp_path / "b.nii.gz", VOXELS.transpose(2, 0, 1)[:, ::-1], turned)

    one, other = (examples(NiftiConfig(path=str(tmp_path), image=f"{name}{{name}}"), tmp_path) for name in "ab")

    for here, there in zip(one, other, strict=True):
        np.testing.assert_array_equal(here.instance.pixels, there.instance.pixels)
        assert here.instance.geometry == there.instance.geometry


def test_slices_know_their_spacing_and_place(tmp_path: Path) -> None:
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = [10, 20, 30]
    save(tmp_path / "a.nii.gz", VOXELS, affine)

    geometries = [each.instance.geometry for each in examples(NiftiConfig(path=str(tmp_path)), tmp_path)]

    assert {each.spacing_mm for each in geometries} == {(3.0, 2.0)}
    assert {each.normal for each in geometries} == {(0.0, 0.0, 1.0)}
    assert [each.position_mm for each in geometries] == [30 + 4 * place for place in reversed(range(10))]


@pytest.mark.parametrize(("unit", "to_mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_lengths_are_in_mm_whatever_unit_a_file_has(
    tmp_path: Path, version: type[nibabel.Nifti1Image], unit: str, to_mm: float
) -> None:
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = [10, 20, 30]
    image = version(VOXELS, affine)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "a.nii.gz")

    geometries = [each.instance.geometry for each in examples(NiftiConfig(path=str(tmp_path)), tmp_path)]

    assert [each.spacing_mm for each in geometries] == [pytest.approx((3 * to_mm, 2 * to_mm))] * 10
    assert [each.position_mm for each in geometries] == pytest.approx(
        [(30 + 4 * place) * to_mm for place in reversed(range(10))]
    )


def test_a_unit_that_the_format_does_not_know_is_mm(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.header["xyzt_units"] = 7
    nibabel.save(image, tmp_path / "a.nii.gz")

    (first, *_) = examples(NiftiConfig(path=str(tmp_path)), tmp_path)

    assert first.instance.geometry.spacing_mm == (1.0, 1.0)


def test_a_format_that_has_no_units_is_in_mm(tmp_path: Path) -> None:
    nibabel.save(nibabel.MGHImage(VOXELS, np.diag([2.0, 2, 2, 1])), tmp_path / "a.mgz")

    (first, *_) = examples(NiftiConfig(path=str(tmp_path), image="{name}.mgz"), tmp_path)

    assert first.instance.geometry.spacing_mm == (2.0, 2.0)


def test_a_mask_lies_where_its_volume_lies_to_a_tenth_of_a_voxel_however_small(tmp_path: Path) -> None:
    def place(name: str, shift_um: float) -> None:
        affine = np.diag([10.0, 10, 10, 1])
        affine[0, 3] = shift_um
        image = nibabel.Nifti1Image(np.ones((12, 14, 3), np.int16), affine)
        image.header.set_xyzt_units("micron")
        nibabel.save(image, tmp_path / name / "0.nii.gz")

    config = example_of(NiftiConfig, tmp_path)
    place("images", 0.0)
    place("masks", 0.5)
    assert len(examples(config, tmp_path)) == 12

    place("masks", 10.0)

    with pytest.raises(UnreadableImage, match="its mask lies elsewhere in space, or has other units"):
        examples(config, tmp_path)


def test_hounsfield_units_are_declared(tmp_path: Path) -> None:
    for number in range(3):
        voxels = np.random.default_rng(number).integers(-1000, 1000, (16, 16, 2)).astype(np.int16)
        save(tmp_path / f"{number}.nii.gz", voxels, np.eye(4))

    info = prepare(NiftiConfig(path=str(tmp_path), modality="CT"), PreparationConfig(size=16), tmp_path / "root").info

    assert (info.modality, info.image.values.unit, info.image.values.low) == ("CT", "HU", -1000)


def test_values_that_are_none_are_no_part_of_the_image(tmp_path: Path) -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    save(tmp_path / "a.nii.gz", voxels, np.eye(4))

    corner = examples(NiftiConfig(path=str(tmp_path)), tmp_path)[-1].instance

    assert np.argwhere(~corner.valid).tolist() == [[7, 5]]
    assert corner.pixels[0, 7, 5] == corner.pixels[0][corner.valid].min()


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 5), "<i2", "is one slice, not a volume"),
        ((4, 5, 6, 2), "<i2", r"holds 2 volumes \(times, .*\) along axis 4"),
        ((4, 5, 6, 1, 3), "<f4", r"holds 3 volumes .* along axis 5"),
        ((4, 5, 6, 1, 1, 2), "<f4", "holds 2 volumes .* along axis 6"),
        ((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), r"has colours \(RGB\)"),
        ((4, 5, 6), "<c8", "has complex values"),
    ],
)
def test_what_is_not_one_volume_of_grey_values_says_what_it_is(
    tmp_path: Path, shape: tuple[int, ...], dtype: str | np.dtype[np.void], message: str
) -> None:
    save(tmp_path / "a.nii.gz", np.zeros(shape, dtype), np.eye(4))

    with pytest.raises(UnreadableImage, match=message):
        examples(NiftiConfig(path=str(tmp_path)), tmp_path)


def test_axes_of_length_1_beyond_space_are_none(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", VOXELS[..., None, None], np.eye(4))

    assert len(examples(NiftiConfig(path=str(tmp_path)), tmp_path)) == 10


def test_volumes_beside_the_pattern_are_counted(tmp_path: Path) -> None:
    for number in range(4):
        voxels = np.random.default_rng(number).integers(0, 999, (20, 20, 4)).astype(np.int16)
        save(tmp_path / f"{number}.nii.gz", voxels, np.eye(4))
        for suffix in ("nii", "NII.GZ", "txt"):
            (tmp_path / f"{number}.{suffix}").touch()

    info = prepare(NiftiConfig(path=str(tmp_path)), PreparationConfig(size=16), tmp_path / "root").info

    assert (info.counts.files, info.counts.skipped) == (12, 8)
    assert list(info.reasons) == [UNFIT]


@pytest.mark.parametrize("wrong", ["shape", "place", "numbers"])
def test_a_mask_that_does_not_fit_is_our_own_error(tmp_path: Path, wrong: str) -> None:
    config = example_of(NiftiConfig, tmp_path)
    shape = (12, 14, 4) if wrong == "shape" else (12, 14, 3)
    affine = np.diag([1.0, 1, 3 if wrong == "place" else 2, 1])
    save(tmp_path / "masks" / "0.nii.gz", np.full(shape, 300 if wrong == "numbers" else 1, np.int16), affine)

    with pytest.raises(UnreadableImage, match="its mask"):
        examples(config, tmp_path)


def test_hippocampi_come_with_both_their_regions(shared_data: Path, tmp_path: Path) -> None:
    config = NiftiConfig(
        path=str(shared_data / "seg_hippocampus_nifti"), image="images/{name}.nii.gz", mask="labels/{name}.nii.gz"
    )
    source = config.build(tmp_path)
    items = source.items()
    voxels = np.asarray(nibabel.load(items[0].path).dataobj)
    labels = np.asarray(nibabel.load(items[0].beside[0]).dataobj)

    found = list(source.read(items[0]))

    assert len(items) == 100
    assert [each.instance.pixels.shape for each in found] == [(1, *voxels.shape[1::-1])] * voxels.shape[2]
    assert sum(float(each.instance.pixels.sum()) for each in found) == voxels.sum()
    masks = np.stack([each.mask for each in found if each.mask is not None])
    assert np.bincount(masks.ravel()).tolist() == np.bincount(labels.astype(int).ravel()).tolist()
    assert len(np.bincount(masks.ravel())) == 3


def test_fractions_of_anisotropy_keep_their_fractions(shared_data: Path, tmp_path: Path) -> None:
    config = NiftiConfig(path=str(shared_data / "nifti_volumes"), image="{name}_FA.nii.gz")

    found = examples(config, tmp_path)

    pixels = np.stack([each.instance.pixels for each in found])
    assert pixels.shape == (53, 1, 128, 128)
    assert (pixels.min(), pixels.max()) == (0, pytest.approx(1.2247449))
    assert found[0].instance.geometry.spacing_mm == pytest.approx((1.71875, 1.71875))
    assert found[0].values is None


@pytest.mark.slow
def test_a_whole_volume_is_cut_into_blocks_like_a_patient(shared_data: Path, tmp_path: Path) -> None:
    config = NiftiConfig(path=str(shared_data / "nifti_volumes"), image="{name}_FA.nii.gz")

    dataset = prepare(config, PreparationConfig(), tmp_path)

    positions = [np.asarray(dataset.split(name).index["position_mm"]) for name in ("train", "validation", "test")]
    assert min(np.abs(positions[0][:, None] - other).min() for other in positions[1:]) >= 4.99
    assert "not patient-safe" in dataset.info.note


def test_a_volume_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.nii.gz", VOXELS, np.eye(4))
    # A volume of so many values would take long to write.
    monkeypatch.setattr(nifti_module, "MAX_VALUES", 100)

    with pytest.raises(UnreadableImage, match="more than 100 values"):
        examples(NiftiConfig(path=str(tmp_path)), tmp_path)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_volume_that_lies_nowhere_is_refused(tmp_path: Path, value: float) -> None:
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[280:296] = np.full(4, value, "<f4").tobytes()  # srow_x of the NIfTI-1 header
    (tmp_path / "a.nii").write_bytes(content)

    with pytest.raises(UnreadableImage, match=r"nowhere in space|is not a NIfTI volume"):
        examples(NiftiConfig(path=str(tmp_path), image="{name}.nii"), tmp_path)


def test_masks_are_not_taken_for_images(shared_data: Path, tmp_path: Path) -> None:
    source = NiftiConfig(path=str(shared_data / "seg_hippocampus_nifti")).build(tmp_path)

    with pytest.raises(SourceError, match=r"100 of 200 volumes are named as masks or labels; set source\.image"):
        source.items()


def test_a_single_slice_that_is_cut_across_is_refused_and_read_along_its_plane(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        voxels = np.random.default_rng(number).integers(0, 1000, (1, 40, 40)).astype(np.int16)
        save(tmp_path / "in" / f"{number}.nii.gz", voxels, np.eye(4))
    config, preparation = NiftiConfig(path=str(tmp_path / "in")), PreparationConfig(size=16)

    with pytest.raises(SourceError, match=r"is 40 x 1 pixels, too thin for an image; of NIfTI, set source\.plane"):
        prepare(config, preparation, tmp_path / "across")
    along = prepare(config.patched({"plane": "sagittal"}), preparation, tmp_path / "along")

    assert along.info.counts.images == 6
