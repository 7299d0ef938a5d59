"""A folder of files becomes one that can be handed on, whatever some of the files are, and a report without a name."""

import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.deidentify.folders import RAMP, WriteDicom, copies, everything_below, run

from rayology.data import FolderConfig, PreparationConfig
from rayology.data.dicom import read
from rayology.data.prepare import prepare
from rayology.data.sources.files.local import BROKEN, OUTSIDE, TO_FOLDER
from rayology.deidentify import ProfileConfig, Rule, deidentify_folder
from rayology.deidentify.folder import REPEATED
from rayology.deidentify.ledger import Original
from rayology.errors import ConfigError, SourceError

EVERYTHING = ProfileConfig(rules=(Rule(reason="every file of a zoo", when={}, action="pass"),))


def test_what_a_rule_let_pass_is_counted_by_its_reason(tmp_path: Path, source: Path) -> None:
    del source
    rule = Rule(reason="our screens are clean", when={"BurnedInAnnotation": "YES"}, action="pass")

    report = run(tmp_path, ProfileConfig(rules=(rule,)))

    assert (report.written, report.let_pass, report.held_back) == (4, {"our screens are clean": 1}, {})
    assert "1 let pass by a rule" in (tmp_path / "output" / "report.txt").read_text()


def test_what_may_leave_is_written_and_the_rest_is_counted(tmp_path: Path, source: Path) -> None:
    del source

    report = run(tmp_path)

    assert (report.files, report.written, report.masked) == (6, 3, 0)
    assert report.held_back == {"burned-in annotation": 1}
    assert (report.not_dicom, sum(report.unreadable.values())) == (1, 1)
    assert len(copies(tmp_path)) == 3
    assert report.done["replaced"]["PatientID"] == 3


def test_neither_names_nor_values_leave(tmp_path: Path, source: Path) -> None:
    del source

    run(tmp_path)

    everything = everything_below(tmp_path / "output")
    for secret in (b"Doe", b"Roe", b"Jane", b"JD-4711", b"1.2.3.1", b"letter", b"screen.dcm", b"wreck"):
        assert secret not in everything, secret


def test_files_of_a_series_lie_together(tmp_path: Path, source: Path) -> None:
    del source

    run(tmp_path)

    first, second, other = sorted(copies(tmp_path), key=lambda copy: len(list(copy.parent.iterdir())), reverse=True)
    assert first.parent == second.parent != other.parent
    assert dcmread(first).PatientID == first.relative_to(tmp_path / "output" / "dicom").parts[0]
    assert first.stem == dcmread(first).SOPInstanceUID


def test_what_names_files_is_kept_where_its_owner_alone_reads_it(tmp_path: Path, source: Path) -> None:
    del source

    run(tmp_path)

    (listed,) = (tmp_path / "private").glob("held-back-*.json")
    held = json.loads(listed.read_text())
    assert {"file": "Roe_John/screen.dcm", "reason": "burned-in annotation"} in held
    assert len(held) == 3
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in (tmp_path / "private").iterdir())


def test_the_report_is_there_for_programs_and_for_people(tmp_path: Path, source: Path) -> None:
    del source

    report = run(tmp_path)

    assert json.loads((tmp_path / "output" / "report.json").read_text())["written"] == report.written
    told = (tmp_path / "output" / "report.txt").read_text()
    assert "3 of 6 files were de-identified" in told
    assert "1 held back: burned-in annotation" in told
    assert "1 not DICOM, left out" in told


@pytest.mark.parametrize(
    ("output", "private"), [("source/output", "private"), ("output", "output/private"), (".", "private")]
)
def test_folders_within_each_other_are_refused(tmp_path: Path, source: Path, output: str, private: str) -> None:
    with pytest.raises(ConfigError, match="lies within"):
        deidentify_folder(source, tmp_path / output, tmp_path / private, ProfileConfig())


@pytest.mark.parametrize("name", ["missing", "empty", "packed.zip"])
def test_a_source_without_files_says_what_to_name_by_the_word_of_the_job(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed.zip").touch()

    with pytest.raises(SourceError, match=rf"^source: .*/{name}: no such folder, or no file in it; [^.]*$"):
        run(tmp_path, source=tmp_path / name)


def test_a_second_file_of_one_instance_is_held_back(tmp_path: Path, source: Path) -> None:
    shutil.copy(source / "Roe_John" / "1.dcm", source / "copy.dcm")

    report = run(tmp_path)

    assert report.written == 3
    assert report.held_back[REPEATED] == 1
    assert run(tmp_path) == report


@pytest.mark.slow
def test_a_real_series_keeps_its_pixels_geometry_and_order(tmp_path: Path, head_folder: Path) -> None:
    report = run(tmp_path, ProfileConfig(dates="shifted"), source=head_folder)

    originals = [dcmread(file) for file in sorted(head_folder.rglob("*")) if file.is_file()]
    results = {dcmread(copy).InstanceNumber: copy for copy in copies(tmp_path)}
    assert report.written == len(originals) == len(results) == 28
    for original in originals:
        copy = dcmread(results[original.InstanceNumber])
        assert copy.PixelData == original.PixelData
        assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert copy.ImagePositionPatient == original.ImagePositionPatient
        assert copy.SeriesInstanceUID == dcmread(results[1]).SeriesInstanceUID


@pytest.mark.slow
def test_a_de_identified_series_prepares_as_its_original_does(tmp_path: Path, head_folder: Path) -> None:
    run(tmp_path, source=head_folder)

    size = PreparationConfig(size=32)
    original = prepare(FolderConfig(path=head_folder), size, tmp_path / "original")
    copied = prepare(FolderConfig(path=tmp_path / "output" / "dicom"), size, tmp_path / "copied")

    assert copied.info.counts == original.info.counts
    pixels = (sum(int(instance.pixels.sum()) for instance in read(copy)) for copy in copies(tmp_path))
    files = (file for file in head_folder.rglob("*") if file.is_file())
    assert sum(pixels) == sum(sum(int(instance.pixels.sum()) for instance in read(file)) for file in files)


@pytest.mark.slow
def test_a_study_of_several_series_survives(tmp_path: Path, shared_data: Path) -> None:
    with tarfile.open(next((shared_data / "mr_pgbm003_study").glob("*.tar.xz"))) as opened:
        opened.extractall(tmp_path / "source", filter="data")

    report = run(tmp_path, ProfileConfig(dates="shifted", descriptors="cleaned"))

    found = [dcmread(copy, stop_before_pixels=True) for copy in copies(tmp_path)]
    assert report.written == report.files == len(found) == 88
    assert len({copy.SeriesInstanceUID for copy in found}) == 4
    assert len({(copy.PatientID, copy.StudyInstanceUID) for copy in found}) == 1
    assert len({copy.SOPInstanceUID for copy in found}) == 88


@pytest.mark.slow
def test_no_file_of_the_zoo_stops_the_rest(tmp_path: Path, shared_data: Path) -> None:
    report = run(tmp_path, EVERYTHING, source=shared_data / "dicom_zoo")

    assert report.files == 301
    assert report.written + report.held_back[REPEATED] >= 260
    assert report.written == len(copies(tmp_path))
    left_out = sum(report.unreadable.values()) + sum(report.held_back.values()) + report.not_dicom
    assert left_out + report.written == report.files


@pytest.mark.slow
def test_the_zoo_under_the_built_in_rules_is_mostly_held_back(tmp_path: Path, shared_data: Path) -> None:
    report = run(tmp_path, source=shared_data / "dicom_zoo")

    assert report.held_back["secondary capture"] > 20
    assert report.held_back["a directory of files"] >= 7
    assert report.written > 80


def test_a_file_that_cannot_be_looked_at_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^a file of the source: No such file or directory; see that each can be"):
        Original.at(tmp_path / "doe.dcm", tmp_path)


def test_links_are_held_back_unread_and_names_may_be_any_bytes(
    tmp_path: Path, write_dicom: WriteDicom, source: Path
) -> None:
    write_dicom(tmp_path / "secret" / "1.dcm", RAMP, PatientID="Canary-1")
    (source / "out.dcm").symlink_to(tmp_path / "secret" / "1.dcm")
    (source / "folder").symlink_to(tmp_path / "secret")
    (source / "lost.dcm").symlink_to("nowhere")
    (source / "Roe_John" / "1.dcm").rename(source / os.fsdecode(b"K\xf6ln.dcm"))

    first, again = run(tmp_path), run(tmp_path)

    assert first == again
    assert first.unreadable.items() >= {OUTSIDE: 1, TO_FOLDER: 1, BROKEN: 1}.items()
    assert len(copies(tmp_path)) == 3
    assert b"Canary-1" not in everything_below(tmp_path / "output")
