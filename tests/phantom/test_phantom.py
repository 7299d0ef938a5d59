from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from tests.data.archives import left

from rayology.data.sources import phantom
from rayology.data.sources.phantom import PhantomConfig, PhantomSource
from rayology.errors import SourceError
from rayology.phantom import HEALTHY, LESIONS, draw_patient, write_patient

SMALL = PhantomConfig(patients=6, slices=3, size=64, seed=5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PhantomSource:
    source = SMALL.build(tmp_path_factory.mktemp("phantom"))
    source.items()
    return source


def contents(source: PhantomSource) -> dict[Path, bytes]:
    return {
        file.relative_to(source.path): file.read_bytes() for file in sorted(source.path.rglob("*")) if file.is_file()
    }


def headers(source: PhantomSource) -> list[FileDataset]:
    return [dcmread(item.path) for item in source.items()]


def hu_of(header: FileDataset) -> NDArray[np.float64]:
    return np.asarray(header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept), np.float64)


def test_the_same_config_gives_the_same_bytes(source: PhantomSource, tmp_path: Path) -> None:
    again = SMALL.build(tmp_path)
    again.items()

    assert contents(again) == contents(source)


def test_another_seed_gives_other_patients_and_other_uids(source: PhantomSource, tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"seed": 6, "patients": 1}).build(tmp_path)

    here, there = headers(source)[0], headers(other)[0]

    assert other.path.name != source.path.name
    assert not np.array_equal(here.pixel_array, there.pixel_array)
    assert here.SOPInstanceUID != there.SOPInstanceUID
    assert here.StudyInstanceUID != there.StudyInstanceUID


def test_fewer_patients_are_the_first_of_many(source: PhantomSource, tmp_path: Path) -> None:
    fewer = SMALL.model_copy(update={"patients": 4}).build(tmp_path)
    fewer.items()

    assert contents(fewer).items() < contents(source).items()


def test_nothing_is_written_twice(source: PhantomSource) -> None:
    before = {file: file.stat().st_mtime_ns for file in source.path.rglob("*")}

    source.items()

    assert {file: file.stat().st_mtime_ns for file in source.path.rglob("*")} == before


def test_every_slice_is_listed_with_its_class_and_its_mask(source: PhantomSource) -> None:
    items = source.items()

    assert [item.path for item in items] == sorted(source.path.glob("images/*/*/*.dcm"))
    assert {item.label for item in items} == set(LESIONS)
    for item in items:
        (beside,) = item.beside
        assert item.label == item.path.parts[-3] == beside.parts[-3]
        with Image.open(beside) as mask:
            assert mask.size == (SMALL.size, SMALL.size)
            assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_classes_are_balanced(source: PhantomSource) -> None:
    labels = [item.label for item in source.items()]

    assert {labels.count(label) for label in LESIONS} == {SMALL.patients * SMALL.slices // len(LESIONS)}


def test_a_file_is_a_ct_image_marked_as_synthetic(source: PhantomSource) -> None:
    header = headers(source)[0]

    assert header.SOPClassUID == header.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert header.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
    assert header.SyntheticData == "YES"
    assert header.PatientIdentityRemoved == "YES"
    assert list(header.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert header.Manufacturer == "Rayology"


def test_the_header_does_not_tell_the_class(source: PhantomSource) -> None:
    for item in source.items():
        assert item.label not in str(dcmread(item.path, stop_before_pixels=True)).casefold()


def test_uids_are_valid_and_an_instance_has_its_own(source: PhantomSource) -> None:
    read = headers(source)
    uids = [
        header[name].value for header in read for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ]

    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)
    assert len({header.SOPInstanceUID for header in read}) == len(read)
    assert len({header.SeriesInstanceUID for header in read}) == SMALL.patients


def test_slices_of_a_patient_lie_five_millimetres_apart_around_the_same_axis(source: PhantomSource) -> None:
    series = headers(source)[: SMALL.slices]

    positions = np.array([header.ImagePositionPatient for header in series], float)

    assert len({header.FrameOfReferenceUID for header in series}) == 1
    assert np.allclose(np.diff(positions[:, 2]), 5.0, atol=0.002)
    assert np.all(positions[:, :2] == positions[0, :2])
    for header in series:
        assert [float(cosine) for cosine in header.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        assert np.allclose(np.array(header.PixelSpacing, float) * header.Rows, 360.0)
        assert float(header.ImagePositionPatient[0]) == -float(header.PixelSpacing[0]) * (header.Columns - 1) / 2
    assert [header.InstanceNumber for header in series] == [1, 2, 3]


def test_every_tissue_has_its_share_of_the_image(source: PhantomSource) -> None:
    hu = np.stack([hu_of(header) for header in headers(source)])
    bands = {"air": (-1024, -950), "lung": (-930, -650), "fat": (-150, -60), "soft": (0, 90), "bone": (250, 1200)}

    share = {tissue: float(np.mean((hu >= low) & (hu <= high))) for tissue, (low, high) in bands.items()}

    assert hu.min() >= -1024
    assert hu.max() < 1500
    assert share["air"] > 0.2
    assert share["lung"] > 0.08
    assert share["fat"] > 0.02
    assert share["soft"] > 0.08
    assert share["bone"] > 0.01


@pytest.mark.slow
def test_a_healthy_chest_has_lungs_on_both_sides_of_a_soft_middle_and_a_spine_behind() -> None:
    for patient in range(6):
        drawing = draw_patient((1, patient), lesion=HEALTHY, size=128, slices=3)
        lung = (drawing.hu > -950) & (drawing.hu < -600)

        assert drawing.mask.sum() == 0
        assert drawing.hu[:, :8, :8].mean() == pytest.approx(-1000, abs=5)
        assert np.all(lung[:, :, :64].mean(axis=(1, 2)) > 0.05)
        assert np.all(lung[:, :, 64:].mean(axis=(1, 2)) > 0.05)
        assert np.all(drawing.hu[:, 50:60, 60:68].mean(axis=(1, 2)) > -450)
        assert np.all(np.mean(drawing.hu[:, 72:100, 56:72] > 150, axis=(1, 2)) > 0.15)


@pytest.mark.parametrize("lesion", LESIONS)
@pytest.mark.parametrize("patient", range(4))
def test_a_lesion_changes_the_image_inside_its_mask_and_next_to_it_only(lesion: str, patient: int) -> None:
    healthy = draw_patient((2, patient), lesion=HEALTHY, size=128, slices=4)
    sick = draw_patient((2, patient), lesion=lesion, size=128, slices=4)

    change = np.abs(sick.hu - healthy.hu)
    reach = sick.mask.copy()
    for shift in [(row, column) for row in range(-3, 4) for column in range(-3, 4)]:
        reach |= np.roll(sick.mask, shift, axis=(1, 2))

    assert sick.mask.any(axis=(1, 2)).all()
    assert np.median(change[sick.mask]) > 400
    assert change[sick.mask].sum() > 0.6 * change.sum()
    assert np.mean(change[~reach] > 1) < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("lesion", LESIONS)
def test_every_slice_shows_a_lesion_worth_seeing(lesion: str) -> None:
    square_mm = (360 / 128) ** 2

    areas = [
        draw_patient((3, patient), lesion=lesion, size=128, slices=8).mask.sum(axis=(1, 2)) for patient in range(6)
    ]

    assert np.min(areas) * square_mm > 60


def test_neighbouring_slices_are_more_alike_than_distant_ones_and_patients() -> None:
    first, other = (draw_patient((4, patient), lesion=HEALTHY, size=64, slices=8).hu for patient in range(2))

    def distance(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
        return float(np.abs(one - two).mean())

    near = np.mean([distance(first[index], first[index + 1]) for index in range(7)])
    assert near < distance(first[0], first[7]) < np.mean([distance(first[index], other[index]) for index in range(8)])


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 96])
def test_a_tall_stack_in_any_size_stays_a_chest(size: int) -> None:
    for lesion in LESIONS:
        drawing = draw_patient((6, 0), lesion=lesion, size=size, slices=16)

        assert np.isfinite(drawing.hu).all()
        assert drawing.mask.any(axis=(1, 2)).all()


def test_a_kill_while_drawing_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SMALL.build(tmp_path)

    def write_until_killed(folder: Path, patient: int, *, seed: int, size: int, slices: int, key: str) -> None:
        if patient == 2:
            raise KeyboardInterrupt
        write_patient(folder, patient, seed=seed, size=size, slices=slices, key=key)

    with monkeypatch.context() as patch:
        patch.setattr(phantom, "write_patient", write_until_killed)
        with pytest.raises(KeyboardInterrupt):
            source.items()

    assert left(tmp_path) == []
    assert len(source.items()) == SMALL.patients * SMALL.slices


def test_patients_that_two_ask_for_at_once_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = SMALL.model_copy(update={"patients": 2, "slices": 1})
    drawn: list[int] = []

    def write_counted(folder: Path, patient: int, *, seed: int, size: int, slices: int, key: str) -> None:
        drawn.append(patient)
        write_patient(folder, patient, seed=seed, size=size, slices=slices, key=key)

    monkeypatch.setattr(phantom, "write_patient", write_counted)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda source: source.items(), [tiny.build(tmp_path), tiny.build(tmp_path)])

    assert drawn == [0, 1]
    assert one == other


def test_a_folder_that_cannot_be_put_in_place_is_an_error(tmp_path: Path) -> None:
    source = SMALL.model_copy(update={"patients": 1, "slices": 1}).build(tmp_path)
    source.path.parent.mkdir()
    source.path.write_text("in the way")

    with pytest.raises(NotADirectoryError):
        source.items()


def test_missing_files_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    source = SMALL.model_copy(update={"patients": 1}).build(tmp_path)
    source.items()[0].path.unlink()

    with pytest.raises(SourceError, match="2 of 3 files; delete the folder"):
        source.items()


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"slices": 17}, {"size": 31}, {"seed": -1}, {"kind": "folder"}])
def test_a_value_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig.model_validate(wrong)
