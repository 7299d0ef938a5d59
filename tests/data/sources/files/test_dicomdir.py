"""A DICOMDIR names files as a CD-ROM does, and leads nowhere else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from rayology.data.sources.files.dicomdir import referenced_files
from rayology.errors import SourceError


@pytest.fixture(scope="session")
def medium(shared_data: Path) -> Path:
    return shared_data / "dicom_zoo" / "pydicom" / "dicomdirtests"


@pytest.fixture
def disc(medium: Path, tmp_path: Path) -> Path:
    """A copy of a disc that a test may change."""
    return Path(shutil.copytree(medium / "TINY_ALPHA", tmp_path / "disc", copy_function=shutil.copyfile))


def changed(disc: Path, record: int, **attributes: object) -> Path:
    """Change one record of a DICOMDIR."""
    directory = dcmread(disc / "DICOMDIR")
    with config.disable_value_validation():
        directory.DirectoryRecordSequence[record].update(attributes)
    directory.save_as(disc / "DICOMDIR")
    return disc / "DICOMDIR"


@pytest.mark.parametrize("form", ["", "-implicit", "-bigEnd", "-nooffset", "-nopatient", "-reordered"])
def test_every_form_of_a_directory_names_its_files(medium: Path, form: str) -> None:
    files = referenced_files(medium / f"DICOMDIR{form}")

    assert set(files) == set(medium.glob("[0-9]*/*/*"))
    assert len(files) == 31


def test_names_are_found_in_any_case_and_with_a_version(disc: Path) -> None:
    (disc / "PT000000").rename(disc / "pt000000")
    images = disc / "pt000000" / "ST000000" / "SE000000"
    (images / "IM000000").rename(images / "im000000.;1")
    (images / "IM000001").rename(images / "IM000001;1")

    files = referenced_files(disc / "DICOMDIR")

    assert len(files) == 50
    assert all(file.is_file() for file in files)


def test_the_very_name_beats_one_of_another_case(disc: Path) -> None:
    shutil.copytree(disc / "PT000000", disc / "pt000000")

    assert {file.parts[-4] for file in referenced_files(disc / "DICOMDIR")} == {"PT000000"}


def test_a_missing_file_is_named_all_the_same(disc: Path) -> None:
    missing = referenced_files(disc / "DICOMDIR")[7]
    missing.unlink()

    files = referenced_files(disc / "DICOMDIR")

    assert [file for file in files if not file.exists()] == [missing]


def test_a_record_out_of_use_and_a_second_one_of_a_file_do_not_count(disc: Path) -> None:
    files = referenced_files(disc / "DICOMDIR")

    changed(disc, -1, RecordInUseFlag=0)
    changed(disc, -2, ReferencedFileID=list(files[0].relative_to(disc).parts))

    assert referenced_files(disc / "DICOMDIR") == files[:-2]


@pytest.mark.parametrize("name", [["..", "secret"], ["PT000000", "..", "..", "secret"], "/etc/passwd", ["", "etc"]])
def test_a_record_that_leads_elsewhere_is_refused(disc: Path, name: list[str] | str) -> None:
    directory = changed(disc, -1, ReferencedFileID=name)

    with pytest.raises(SourceError, match="DICOMDIR: a name is absolute, leads upwards"):
        referenced_files(directory)


def test_nothing_of_a_record_is_logged(disc: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = changed(disc, -1, ReferencedFileID=["Doe^Jane"])

    referenced_files(directory)

    assert caplog.text == ""


def test_a_link_out_of_the_medium_is_refused(disc: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    file = referenced_files(disc / "DICOMDIR")[0]
    file.unlink()
    file.symlink_to(tmp_path / "secret")

    with pytest.raises(SourceError, match="outside its folder or is not a file"):
        referenced_files(disc / "DICOMDIR")


def test_a_pipe_in_the_place_of_a_file_is_refused(disc: Path) -> None:
    file = referenced_files(disc / "DICOMDIR")[0]
    file.unlink()
    os.mkfifo(file)

    with pytest.raises(SourceError, match="outside its folder or is not a file"):
        referenced_files(disc / "DICOMDIR")


def test_a_deflated_directory_is_refused_before_it_inflates(disc: Path) -> None:
    directory = dcmread(disc / "DICOMDIR")
    directory.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    directory.save_as(disc / "DICOMDIR")

    with pytest.raises(SourceError, match="not a DICOMDIR"):
        referenced_files(disc / "DICOMDIR")


def test_a_directory_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "DICOMDIR").open("wb") as opened:
        opened.truncate(2**25 + 1)

    with pytest.raises(SourceError, match="has more than 33554432 bytes"):
        referenced_files(tmp_path / "DICOMDIR")


@pytest.mark.parametrize("name", ["README.txt", "CT_small.dcm", "zipMR.gz"])
def test_a_file_that_is_no_directory_says_what_to_set(shared_data: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name}: .*not a .*DICOMDIR.*set source\.path"):
        referenced_files(shared_data / "dicom_zoo" / "pydicom" / name)


@pytest.mark.slow
def test_damage_is_our_error_or_none(medium: Path, tmp_path: Path) -> None:
    sound = (medium / "DICOMDIR").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(sound[: random.integers(200, len(sound))] if random.random() < 0.3 else sound)
        for at in random.integers(128, len(damaged), random.integers(0, 20)):
            damaged[at] = random.integers(256)
        (tmp_path / "DICOMDIR").write_bytes(damaged)
        try:
            referenced_files(tmp_path / "DICOMDIR")
        except SourceError:
            refused += 1

    assert refused > 30
